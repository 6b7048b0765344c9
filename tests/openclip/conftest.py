"""The OpenCLIP leg has an environment of its own: `make test-openclip`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("open_clip") else ["test_*.py"]

"""The Ray leg has an environment of its own: `make ray-test`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("ray") else ["test_*.py"]

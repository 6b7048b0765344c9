"""`python -m moderator` is the same as `moderator`."""

from moderator.cli.main import main

main()

"""The kinds of signals that ship with the project."""

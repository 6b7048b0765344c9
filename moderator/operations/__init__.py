"""Tools for operators to inspect a running service."""

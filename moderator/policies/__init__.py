"""Policies as data: the file format, reading and checking it, releases, pointers, and the catalogue."""

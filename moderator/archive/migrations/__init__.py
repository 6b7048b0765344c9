"""Migrations of the archive's schema, applied by `moderator.archive.database`."""

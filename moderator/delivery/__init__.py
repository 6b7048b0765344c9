"""Consumers of the outbox: each gets every verdict that is kept for it, at least once."""

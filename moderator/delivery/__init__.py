"""Consumers of the outbox: each gets every verdict kept for it at least once."""

"""What operators use to look into a running service."""

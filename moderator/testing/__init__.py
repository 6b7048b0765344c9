"""What stands in for the service's parts in tests: of this project, and of those who use it."""

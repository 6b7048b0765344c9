"""Stand-ins for the service's parts in tests, of this project and of its users."""

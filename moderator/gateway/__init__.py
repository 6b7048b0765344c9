"""The HTTP gateway: events and images in, verdicts out."""

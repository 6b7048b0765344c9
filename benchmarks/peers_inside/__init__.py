"""What runs inside the peers' own environments, and the pins of those. See `benchmarks/peers.py`."""

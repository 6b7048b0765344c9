"""Programs that run inside the peers' own environments, and the pins of these. See `benchmarks/peers.py`."""

"""Signals that need a large model: second opinions by vision-language models, and detectors."""

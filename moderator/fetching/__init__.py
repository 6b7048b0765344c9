"""From an image reference to bytes, whose content nothing here inspects."""

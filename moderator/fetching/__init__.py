"""From an image reference to bytes. Nothing here looks into them."""

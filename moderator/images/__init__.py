"""From the bytes of a file to pixels: decoded in confined processes, within bounds, and resized."""

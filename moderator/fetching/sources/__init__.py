"""Sources of images: one module per kind."""

"""Images: which addresses may be asked for them, getting their bytes, decoding, resizing."""

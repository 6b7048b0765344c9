"""From the bytes of an image to the parts of a verdict. Each of its objects is useful on its own."""

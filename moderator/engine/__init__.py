"""From the bytes of an image to the parts of a verdict. Its objects are of use each by itself."""

"""Judges large collections of images: through the queue, or in Ray, resumable at any moment."""

"""The bundle: an image and everything that was decided about it; what is added, checked and compared."""

"""What is not Python: shared libraries as the loader finds them, and files below /etc and /usr."""

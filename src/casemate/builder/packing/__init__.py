"""The image: files of the closure become layers, layers an OCI image; read again, extended, described."""

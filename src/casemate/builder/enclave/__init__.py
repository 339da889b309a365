"""What is measured: the manifest, the address space as Gramine lays it out, and how large it is to be."""

"""From an application to a bundle: closure, layers, image, manifest, measurement, signature.

Charter: RFC 9334's Reference Value Provider. The same inputs give the same bytes, on any machine, in
any folder, at any time. It reads files that it is told to read and runs nothing;
environments are installed by an adapter.
"""

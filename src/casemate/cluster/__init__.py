"""Kubernetes objects for a bundle.

Charter: the cluster is the adversary's machine; nothing secret is here. Objects are values; rendering is
deterministic.
"""

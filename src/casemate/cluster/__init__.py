"""Kubernetes objects for a bundle.

Charter: the cluster is the adversary's machine; nothing secret is here. Objects are values; rendering is
deterministic; no file is opened and no cluster is spoken to.

What an object says protects nobody from the cluster's owner, who can change it. It keeps the workload
running, keeps it from harming its neighbours, and states which measurement is meant to run, so that whoever
attests the service, or the broker that it asks for secrets, can hold it to that.
"""

"""Registries of images: pull one into a folder, push one from a bundle.

Specification: OCI Distribution 1.1; token authentication as Docker's registries do it; credentials from where
``docker login`` keeps them. The connections are urllib3's. Answers are bounded in time and size, nothing of
them is used before its digest is checked, and no credential goes to another host than the one it is for.
"""

from casemate.adapters.registry.credentials import Credentials, DockerCredentials
from casemate.adapters.registry.limits import RegistryLimits, RegistryMeans
from casemate.adapters.registry.pull import BlobCache, pull, resolve
from casemate.adapters.registry.push import PushedImage, push
from casemate.adapters.registry.session import Registry, Way

__all__ = [
    "BlobCache",
    "Credentials",
    "DockerCredentials",
    "PushedImage",
    "Registry",
    "RegistryLimits",
    "RegistryMeans",
    "Way",
    "pull",
    "push",
    "resolve",
]

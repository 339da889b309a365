"""Images that others made: which one is meant, that it is the one, and its files in a folder.

What is read is an OCI layout, a Docker archive, or what :mod:`casemate.adapters.registry` has fetched. Every
byte of it is a stranger's: digests are checked before anything is used, sizes are bounded, links are resolved
inside the image, and nothing is written outside of the one folder. No root, no daemon, no network here.
"""

from casemate.sources.image import Progress, SourceImage, SourceLayer
from casemate.sources.limits import UnpackLimits
from casemate.sources.local import DockerArchive, OciLayout, local_source, open_local
from casemate.sources.unpacking import LeftOut, LeftOutReason, UnpackedImage, unpack

__all__ = [
    "DockerArchive",
    "LeftOut",
    "LeftOutReason",
    "OciLayout",
    "Progress",
    "SourceImage",
    "SourceLayer",
    "UnpackLimits",
    "UnpackedImage",
    "local_source",
    "open_local",
    "unpack",
]

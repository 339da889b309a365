"""An application that lies in an image that others made: how it is started, and which files it consists of.

Everything here reads; nothing of the image is run. Paths of the image are texts that begin with a slash and
mean what they mean in a container; links lead nowhere else (:mod:`casemate.builder.foreign.root`).
"""

from casemate.builder.foreign.root import ImageRoot, seal

__all__ = ["ImageRoot", "seal"]

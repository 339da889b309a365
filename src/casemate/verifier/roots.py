"""Trust anchors: Intel's root by its public key, and simulated roots where somebody names them."""

from __future__ import annotations

from dataclasses import dataclass

from casemate.errors import FormatError, RefusedError
from casemate.formats.certificates import Certificate
from casemate.formats.pem import parse_certificates

#: Public key of "Intel SGX Root CA", uncompressed. The key is pinned and not the certificate, because there
#: are two genuine certificates of this key, which end in 2033 and in 2049.
INTEL_ROOT_KEY = bytes.fromhex(
    "04"
    "0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"
    "67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
)


def begin_of(point: bytes) -> str:
    """The first digits of a public key: enough to tell keys apart in a message that may be cut."""
    return f"{point.hex()[:18]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """One trust anchor.

    Attributes:
        point: Its public key on P-256, uncompressed, 65 bytes.
        simulated: It is the root of a simulated platform, and what it vouches for protects nothing.
    """

    point: bytes
    simulated: bool

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return f"a simulated root ({begin_of(self.point)})" if self.simulated else "Intel SGX Root CA"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoots:
    """The trust anchors of an appraisal. One appraisal uses one of them throughout."""

    roots: tuple[TrustRoot, ...]

    @classmethod
    def intel(cls) -> TrustRoots:
        """Intel's root and nothing else."""
        return cls(roots=(TrustRoot(point=INTEL_ROOT_KEY, simulated=False),))

    @classmethod
    def simulated(cls, *certificates: bytes) -> TrustRoots:
        """The roots of simulated platforms and nothing else.

        Args:
            certificates: PEM, one certificate each.

        Raises:
            FormatError: Not one certificate in strict PEM.
            RefusedError: Intel's own root, whose evidence must not be taken for simulated.
        """
        return cls(roots=tuple(_simulated_root(pem) for pem in certificates))

    def find(self, point: bytes) -> TrustRoot | None:
        """The anchor with this key."""
        return next((root for root in self.roots if root.point == point), None)


def _simulated_root(pem: bytes) -> TrustRoot:
    chain = parse_certificates(pem, where="simulated root")
    if len(chain) != 1:
        raise FormatError("simulated root", expected="one certificate", got=str(len(chain)))
    point = Certificate.parse(chain[0]).point
    if point == INTEL_ROOT_KEY:
        raise RefusedError(
            "simulated root",
            expected="the root of a simulated platform",
            got="Intel's root",
            hint="Intel's root is trusted without naming it; leave the simulated root away.",
        )
    return TrustRoot(point=point, simulated=True)

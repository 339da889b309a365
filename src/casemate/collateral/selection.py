"""Which PCK certificate of a platform is for the security versions that it runs at.

Intel SGX PCK certificate selection: certificates are ranked by the TCB levels that they reach, best level
first, within one level the higher first; the first of them that the platform reaches is the right one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from casemate.collateral.store import PckCertificate, RawTcb
from casemate.formats.sgx.collateral import TcbInfo, parse_signed

#: 16 security versions of components, and that of the provisioning certification enclave.
Svns: TypeAlias = tuple[int, ...]


def select(
    certificates: Iterable[PckCertificate], levels: Iterable[Svns], raw: RawTcb
) -> PckCertificate | None:
    """The certificate for a platform at ``raw``; ``None`` when each is for more than it reaches.

    Args:
        certificates: Those of the platform.
        levels: The TCB levels of its family.
        raw: At what it runs.
    """
    # Whatever reaches all of another TCB stands before it in this order, too.
    descending = sorted(levels, reverse=True)
    own = svns_of(raw.cpu_svn + raw.pce_svn)

    def rank(certificate: PckCertificate) -> tuple[int, Svns]:
        svns = svns_of(certificate.tcbm)
        reached = next((n for n, level in enumerate(descending) if reaches(svns, level)), len(descending))
        return -reached, svns

    ranked = sorted(certificates, key=rank, reverse=True)
    return next((one for one in ranked if reaches(own, svns_of(one.tcbm))), None)


def reaches(svns: Svns, level: Svns) -> bool:
    """Whether each version is at least that of ``level``."""
    return all(have >= need for have, need in zip(svns, level, strict=True))


def svns_of(tcbm: str) -> Svns:
    """The versions in CPUSVN and PCESVN, 36 hexadecimal digits, PCESVN little-endian."""
    data = bytes.fromhex(tcbm)
    return (*data[:16], int.from_bytes(data[16:18], "little"))


def levels_of(body: bytes) -> tuple[Svns, ...]:
    """The TCB levels in a TCB info of SGX that was vouched for."""
    info = TcbInfo.parse(parse_signed(body, "tcbInfo")[0])
    return tuple((*level.sgx_components, level.pce_svn) for level in info.levels)

"""What names a PCK certificate in quotes that bring none: certification data of types 1, 2 and 3.

Intel SGX ECDSA QuoteLibReference (DCAP API), appendix A "Quote format", table "QE certification data": PPID,
CPUSVN, PCESVN and PCEID, one after the other. Quotes of the first libraries end before PCEID; without it
nobody can say which certificate is meant, and they are refused. Not checked here: that there is such a
platform. The encrypted PPID can be read by Intel alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casemate.errors import FormatError

#: After the PPID: CPUSVN, PCESVN and PCEID.
_REST = 16 + 2 + 2


class PpidForm(Enum):
    """How the PPID stands in the quote; the value is the certification data type."""

    CLEAR = 1
    RSA_2048_OAEP = 2
    RSA_3072_OAEP = 3


_SIZES = {PpidForm.CLEAR: 16, PpidForm.RSA_2048_OAEP: 256, PpidForm.RSA_3072_OAEP: 384}


@dataclass(frozen=True, slots=True, kw_only=True)
class PckIdentifier:
    """Which platform, at which security versions.

    Attributes:
        form: How the PPID stands here.
        ppid: Platform provisioning id: 16 bytes, or encrypted for Intel 256 or 384.
        cpu_svn: Raw CPUSVN, 16 bytes.
        pce_svn: Security version of the provisioning certification enclave.
        pce_id: PCEID, 2 bytes as they lie.
    """

    form: PpidForm
    ppid: bytes
    cpu_svn: bytes
    pce_svn: int
    pce_id: bytes

    @classmethod
    def parse(cls, certification_type: int, data: bytes) -> PckIdentifier:
        """Read certification data.

        Raises:
            FormatError: Of another type than 1, 2 and 3, or not of the size of its type.
        """
        if not is_identifier(certification_type):
            raise FormatError("certification data type", expected="1, 2 or 3", got=str(certification_type))
        form = PpidForm(certification_type)
        size = _SIZES[form]
        if len(data) != size + _REST:
            raise FormatError(
                f"certification data of type {form.value}",
                expected=f"{size + _REST} bytes",
                got=f"{len(data)} bytes",
            )
        cpu_svn, pce_svn, pce_id = data[size : size + 16], data[size + 16 : size + 18], data[size + 18 :]
        return cls(
            form=form,
            ppid=data[:size],
            cpu_svn=cpu_svn,
            pce_svn=int.from_bytes(pce_svn, "little"),
            pce_id=pce_id,
        )

    def to_bytes(self) -> bytes:
        """The certification data."""
        return self.ppid + self.cpu_svn + self.pce_svn.to_bytes(2, "little") + self.pce_id


def is_identifier(certification_type: int) -> bool:
    """Whether certification data of this type name a certificate."""
    return 1 <= certification_type <= len(_SIZES)

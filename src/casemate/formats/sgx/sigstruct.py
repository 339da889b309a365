"""SIGSTRUCT, the signed statement of what an enclave is (Intel SDM volume 3D, section 37.14, table 37-20).

1808 bytes, integers little-endian. The signature covers bytes 0 to 127 and 900 to 1027; ``q1`` and ``q2`` are
quotients that let the processor check it without dividing.

Not checked here: the signature, and that ``q1`` and ``q2`` belong to it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from datetime import date
from typing import Final

from casemate.errors import FormatError
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner

#: Bytes of the structure.
SIZE: Final = 1808
#: Bytes of the modulus, and of every number that is as long.
MODULUS_SIZE: Final = 384
#: The only public exponent that the processor accepts.
EXPONENT: Final = 3

_HEADER: Final = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2: Final = bytes.fromhex("01010000600000006000000001000000")
# Every field in its order; the gaps are reserved, or belong to key separation and control-flow enforcement,
# which Gramine does not use, and are zero.
_FORMAT: Final = struct.Struct("<16s I BBH 16s I 84x 384s I 384s 4s 4s 20x 16s 16s 32s 32x H H 12x 384s 384s")
_HEAD: Final = slice(0, 128)
_BODY: Final = slice(900, 1028)
#: Where ATTRIBUTES with their mask, MRENCLAVE, and ISVPRODID with ISVSVN begin in the 256 bytes that are
#: signed; in the structure they are at the offsets 928, 960 and 1024.
ATTRIBUTES_IN_SIGNED_BYTES: Final = 128 + 928 - 900
MRENCLAVE_IN_SIGNED_BYTES: Final = 128 + 960 - 900
ISVPRODID_IN_SIGNED_BYTES: Final = 128 + 1024 - 900
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningDate:
    """The date in a SIGSTRUCT; the processor does not look at it.

    A day that exists, or 0000-00-00, which says that there is none.
    """

    year: int
    month: int
    day: int

    @classmethod
    def parse(cls, text: str, *, where: str = "SIGSTRUCT date") -> SigningDate:
        """Read ``YYYY-MM-DD``.

        Raises:
            FormatError: Another form, or a day that does not exist.
        """
        match = _DATE.fullmatch(text)
        if match is None:
            raise FormatError("date", expected="YYYY-MM-DD", got=repr(text), where=where)
        year, month, day = int(match[1]), int(match[2]), int(match[3])
        if (year, month, day) != (0, 0, 0):
            try:
                date(year, month, day)
            except ValueError as error:
                raise FormatError(
                    "date",
                    expected="a day that exists",
                    got=text,
                    where=where,
                    hint="0000-00-00 stands for no date",
                ) from error
        return cls(year=year, month=month, day=day)

    @classmethod
    def of(cls, day: date) -> SigningDate:
        """A day of the calendar."""
        return cls(year=day.year, month=day.month, day=day.day)

    def __str__(self) -> str:
        """``YYYY-MM-DD``."""
        return f"{self.year:04}-{self.month:02}-{self.day:02}"


#: No date: the same inputs give the same bytes on any day.
NO_DATE: Final = SigningDate(year=0, month=0, day=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveIdentity:
    """The part of a SIGSTRUCT that speaks of the enclave.

    Attributes:
        misc_select: MISCSELECT that the enclave must have, 4 bytes as they lie in memory.
        misc_mask: Which bits of it are enforced, 4 bytes.
        attributes: ATTRIBUTES that the enclave must have.
        attributes_mask: Which bits of them are enforced.
        mrenclave: The measurement.
        isvprodid: The product's number.
        isvsvn: The product's security version.
    """

    misc_select: bytes
    misc_mask: bytes
    attributes: Attributes
    attributes_mask: Attributes
    mrenclave: MrEnclave
    isvprodid: int
    isvsvn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SigStruct:
    """A SIGSTRUCT; numbers that are as long as the modulus are integers.

    Attributes:
        vendor: 0 for enclaves that are not Intel's.
        date: When it was signed.
        swdefined: Free for software.
        enclave: What is signed.
        modulus: Of the key.
        signature: RSASSA-PKCS1-v1_5 with SHA-256 over :attr:`signed_bytes`.
        q1: ``signature² // modulus``.
        q2: ``signature * (signature² mod modulus) // modulus``.
    """

    vendor: int = 0
    date: SigningDate
    swdefined: int = 0
    enclave: EnclaveIdentity
    modulus: int
    signature: int
    q1: int
    q2: int

    @classmethod
    def parse(cls, data: bytes) -> SigStruct:
        """Read the 1808 bytes.

        Raises:
            FormatError: Another length, a header or an exponent that is not the processor's, a date that does
                not exist, a byte outside of the fields that is not zero.
        """
        if len(data) != SIZE:
            raise FormatError("SIGSTRUCT size", expected=f"{SIZE} bytes", got=f"{len(data)}")
        (
            header, vendor, day, month, year, header2, swdefined, modulus, exponent, signature,
            misc_select, misc_mask, attributes, attributes_mask, mrenclave, isvprodid, isvsvn, q1, q2,
        ) = _FORMAT.unpack(data)  # fmt: skip
        for name, offset, expected, got in (
            ("header", 0, _HEADER.hex(), header.hex()),
            ("second header", 24, _HEADER2.hex(), header2.hex()),
            ("exponent", 512, str(EXPONENT), str(exponent)),
        ):
            if expected != got:
                raise FormatError(f"SIGSTRUCT {name}", expected=expected, got=got, where=f"offset {offset}")
        value = cls(
            vendor=vendor,
            date=SigningDate.parse(f"{year:04x}-{month:02x}-{day:02x}", where="SIGSTRUCT, offset 20"),
            swdefined=swdefined,
            enclave=EnclaveIdentity(
                misc_select=misc_select,
                misc_mask=misc_mask,
                attributes=Attributes.parse(attributes),
                attributes_mask=Attributes.parse(attributes_mask),
                mrenclave=MrEnclave(mrenclave),
                isvprodid=isvprodid,
                isvsvn=isvsvn,
            ),
            modulus=int.from_bytes(modulus, "little"),
            signature=int.from_bytes(signature, "little"),
            q1=int.from_bytes(q1, "little"),
            q2=int.from_bytes(q2, "little"),
        )
        _require_zero_gaps(data, value.to_bytes())
        return value

    def to_bytes(self) -> bytes:
        """The 1808 bytes."""
        enclave = self.enclave
        return _FORMAT.pack(
            _HEADER,
            self.vendor,
            *(int(f"{part}", 16) for part in (self.date.day, self.date.month, self.date.year)),  # BCD
            _HEADER2,
            self.swdefined,
            self.modulus.to_bytes(MODULUS_SIZE, "little"),
            EXPONENT,
            self.signature.to_bytes(MODULUS_SIZE, "little"),
            enclave.misc_select,
            enclave.misc_mask,
            enclave.attributes.to_bytes(),
            enclave.attributes_mask.to_bytes(),
            enclave.mrenclave,
            enclave.isvprodid,
            enclave.isvsvn,
            self.q1.to_bytes(MODULUS_SIZE, "little"),
            self.q2.to_bytes(MODULUS_SIZE, "little"),
        )

    @property
    def signed_bytes(self) -> bytes:
        """The 256 bytes that the signature covers."""
        data = self.to_bytes()
        return data[_HEAD] + data[_BODY]

    @property
    def mrsigner(self) -> MrSigner:
        """The identity of the signing key."""
        return mrsigner_of(self.modulus)


def mrsigner_of(modulus: int) -> MrSigner:
    """MRSIGNER of the key with this modulus of at most 3072 bits."""
    return MrSigner(hashlib.sha256(modulus.to_bytes(MODULUS_SIZE, "little")).digest())


def _require_zero_gaps(data: bytes, again: bytes) -> None:
    """Refuse bytes that the value does not hold."""
    for offset, (byte, kept) in enumerate(zip(data, again, strict=True)):
        if byte != kept:
            raise FormatError(
                "SIGSTRUCT reserved byte",
                expected="0",
                got=str(byte),
                where=f"offset {offset}",
                hint="key separation (KSS) and CET attributes are not supported",
            )

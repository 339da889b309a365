"""What documents are called: one value for each document that Intel publishes about platforms.

A name is what a store finds a document by and what an upstream service is asked for. Intel SGX and TDX
Provisioning Certification Service API, version 4; version 3 of the documents is known because caches still
hold it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeAlias

from casemate.errors import FormatError

#: Versions of Intel's API, and so of TCB info and identities: documents of one are not those of the other.
API_VERSIONS = (3, 4)


class Tee(Enum):
    """The technology that a document is about; the value is Intel's word in paths."""

    SGX = "sgx"
    TDX = "tdx"


class EnclaveRole(Enum):
    """The enclave of Intel's that an identity describes; the value is the ``id`` in the document."""

    QE = "QE"
    TD_QE = "TD_QE"
    QVE = "QVE"
    QAE = "QAE"


class CertificateAuthority(Enum):
    """Which of Intel's two authorities certifies a platform; the value is Intel's word in queries."""

    PROCESSOR = "processor"
    PLATFORM = "platform"


class Update(Enum):
    """Which of the current documents: what everybody shall have installed, or what is just out."""

    STANDARD = "standard"
    EARLY = "early"


#: A document by its place in time: the current one, or the one with a TCB evaluation data number.
Edition: TypeAlias = Update | int


class Kind(Enum):
    """A kind of document; the value is the word in stores, metrics and packages."""

    TCB_INFO = "tcb-info"
    IDENTITY = "identity"
    EVALUATION_NUMBERS = "evaluation-numbers"
    PCK_CRL = "pck-crl"
    ROOT_CRL = "root-crl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfoName:
    """TCB info of a family of platforms; ``fmspc`` is 12 hexadecimal digits, lower case."""

    kind: ClassVar[Kind] = Kind.TCB_INFO
    tee: Tee
    fmspc: str
    edition: Edition
    version: int = 4

    @property
    def key(self) -> tuple[str, ...]:
        """What a store knows it by, beside its kind."""
        return (str(self.version), self.tee.value, self.fmspc, _edition_text(self.edition))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityName:
    """The identity of one of Intel's enclaves."""

    kind: ClassVar[Kind] = Kind.IDENTITY
    role: EnclaveRole
    edition: Edition
    version: int = 4

    @property
    def key(self) -> tuple[str, ...]:
        """What a store knows it by, beside its kind."""
        return (str(self.version), self.role.value, _edition_text(self.edition))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationNumbersName:
    """The TCB evaluation data numbers that Intel supports."""

    kind: ClassVar[Kind] = Kind.EVALUATION_NUMBERS
    tee: Tee

    @property
    def key(self) -> tuple[str, ...]:
        """What a store knows it by, beside its kind."""
        return (self.tee.value,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PckCrlName:
    """The CRL of an authority that certifies platforms; the document is DER."""

    kind: ClassVar[Kind] = Kind.PCK_CRL
    authority: CertificateAuthority

    @property
    def key(self) -> tuple[str, ...]:
        """What a store knows it by, beside its kind."""
        return (self.authority.value,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCrlName:
    """The CRL of Intel's root; the document is DER."""

    kind: ClassVar[Kind] = Kind.ROOT_CRL

    @property
    def key(self) -> tuple[str, ...]:
        """What a store knows it by, beside its kind."""
        return ()


DocumentName: TypeAlias = TcbInfoName | IdentityName | EvaluationNumbersName | PckCrlName | RootCrlName


def parse_name(kind: str, key: tuple[str, ...]) -> DocumentName:
    """The name with this kind and key, as a store or a package spells them.

    Raises:
        FormatError: There is no such name.
    """
    try:
        name = _name(Kind(kind), key)
    except (ValueError, TypeError, IndexError, KeyError):
        name = None
    if name is None or name.key != key:
        raise FormatError("name of a document", expected="a kind and its key", got=ascii((kind, *key))[:200])
    return name


def _name(kind: Kind, key: tuple[str, ...]) -> DocumentName:
    name: DocumentName
    match kind:
        case Kind.TCB_INFO:
            name = _tcb_info_name(*key)
        case Kind.IDENTITY:
            version, role, edition = key
            name = IdentityName(
                version=_version(version), role=EnclaveRole(role), edition=parse_edition(edition)
            )
        case Kind.EVALUATION_NUMBERS:
            name = EvaluationNumbersName(tee=Tee(key[0]))
        case Kind.PCK_CRL:
            name = PckCrlName(authority=CertificateAuthority(key[0]))
        case Kind.ROOT_CRL:
            name = RootCrlName()
    return name


def _tcb_info_name(version: str, tee: str, fmspc: str, edition: str) -> TcbInfoName:
    if not re.fullmatch("[0-9a-f]{12}", fmspc):
        raise ValueError(fmspc)
    return TcbInfoName(version=_version(version), tee=Tee(tee), fmspc=fmspc, edition=parse_edition(edition))


def _version(text: str) -> int:
    return {str(number): number for number in API_VERSIONS}[text]


def parse_edition(text: str) -> Edition:
    """``standard``, ``early`` or a TCB evaluation data number.

    Raises:
        ValueError: None of them.
    """
    return int(text) if re.fullmatch("[1-9][0-9]{0,8}", text) else Update(text)


def _edition_text(edition: Edition) -> str:
    return edition.value if isinstance(edition, Update) else str(edition)

"""Packages: everything that a store holds, signed, to be carried into a network without a way out.

A package is lines of JSON. The first is a DSSE envelope whose payload has the hash of all that follows; each
further line is one document, one platform or one policy. Whoever reads a package checks the signature and
the hash before anything else, and then vouches for every document again: the key that signs packages says
where one is from, not that its content is genuine.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec

from casemate.collateral.admission import admit, admit_platform
from casemate.collateral.names import CertificateAuthority, Kind, parse_name
from casemate.collateral.store import (
    AppraisalPolicy,
    CollateralStore,
    Entry,
    PckCertificate,
    Platform,
    PlatformId,
    RawTcb,
)
from casemate.collateral.upstream import Answer
from casemate.errors import FormatError, RefusedError
from casemate.formats.documents import Document, read_document
from casemate.formats.dsse import Envelope
from casemate.keys import RsaPublicKey, Signer
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import Trust
from casemate_attester.strict_json import canonical_json

PACKAGE_TYPE: Final = "application/vnd.casemate.collateral-package.v1+json"
#: Bytes of a package, and of one line.
MAX_PACKAGE_SIZE: Final = 1 << 30
_MAX_LINE: Final = 16 << 20

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Hex6 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{12}\Z")]
_Line = TypeVar("_Line", bound=Document)


class _Head(Document, frozen=True, kw_only=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    made: str
    lines: Annotated[int, msgspec.Meta(ge=0)]
    sha256: _Hex32


class _DocumentLine(Document, frozen=True, kw_only=True, tag_field="type", tag="document"):
    kind: str
    key: tuple[str, ...]
    body: bytes
    issuer_chain: str


class _TcbLine(Document, frozen=True, kw_only=True):
    cpu_svn: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    pce_svn: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{4}\Z")]
    tcbm: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{36})?\Z")]


class _CertificateLine(Document, frozen=True, kw_only=True):
    tcbm: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{36}\Z")]
    pem: str


class _PlatformLine(Document, frozen=True, kw_only=True, tag_field="type", tag="platform"):
    qe_id: Annotated[str, msgspec.Meta(pattern=r"\A[!-@\[-~]{1,260}\Z")]
    pce_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{4}\Z")]
    encrypted_ppid: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{768})?\Z")]
    manifest: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{2})*\Z")]
    fmspc: _Hex6
    authority: CertificateAuthority
    issuer_chain: str
    certificates: tuple[_CertificateLine, ...]
    tcbs: tuple[_TcbLine, ...]


class _PolicyLine(Document, frozen=True, kw_only=True, tag_field="type", tag="policy"):
    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{96}\Z")]
    fmspc: _Hex6
    kind: str
    is_default: bool
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is in a package and was vouched for.

    Attributes:
        made: When it was made, as its signer says.
        entries: Its documents.
        platforms: Its platforms.
        policies: Its appraisal policies.
        refused: What was not vouched for and is left out: what, and why.
    """

    made: str
    entries: tuple[Entry, ...]
    platforms: tuple[Platform, ...]
    policies: tuple[AppraisalPolicy, ...]
    refused: tuple[str, ...]


def write_package(store: CollateralStore, signer: Signer, made: datetime) -> bytes:
    """A package of everything in ``store`` but registrations.

    Args:
        store: What goes in.
        signer: Signs the package.
        made: The time now.

    Raises:
        KeyUnfitError: The key cannot be reached, or its signature does not hold.
        ServiceError: The store cannot be used.
    """
    lines = [canonical_json(line) + b"\n" for line in _lines(store)]
    rest = b"".join(lines)
    head = {
        "version": 1,
        "made": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lines": len(lines),
        "sha256": hashlib.sha256(rest).hexdigest(),
    }
    return Envelope.sign(PACKAGE_TYPE, canonical_json(head), signer).to_bytes() + b"\n" + rest


def read_package(
    data: bytes, keys: Sequence[RsaPublicKey], roots: TrustRoots, at: datetime, *, where: str
) -> Content:
    """What is in a package.

    Args:
        data: The package.
        keys: One of them has to have signed it.
        roots: Whose signatures count for the documents.
        at: The instant at which they are judged. What has expired on the way is refused by itself.
        where: Name of the file, for errors.

    Raises:
        FormatError: It is not one.
        RefusedError: It is signed by nobody who is trusted, or was changed.
    """
    envelope, _, rest = data.partition(b"\n")
    payload = _head_of(envelope, keys, where)
    head = read_document(payload, _Head, name="head of a package", limit=4096, where=where)
    digest = hashlib.sha256(rest).hexdigest()
    if digest != head.sha256:
        raise RefusedError("package", expected=f"content with SHA-256 {head.sha256}", got=digest, where=where)
    lines = [line for line in rest.split(b"\n") if line]
    if len(lines) != head.lines:
        raise FormatError("package", expected=f"{head.lines} lines", got=str(len(lines)), where=where)
    return _content(lines, head.made, Trust(roots=roots, at=at), where)


def _head_of(envelope: bytes, keys: Sequence[RsaPublicKey], where: str) -> bytes:
    """The head, of which one of the keys has vouched."""
    try:
        signed = Envelope.parse(envelope, where)
    except FormatError as error:
        raise FormatError(
            "package",
            expected="a signed envelope on the first line",
            got="something else",
            where=where,
            hint="a package is made by casemate serve collateral --export",
        ) from error
    try:
        return signed.verified(PACKAGE_TYPE, keys, where)
    except RefusedError as error:
        raise RefusedError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=where,
            hint="if you know who signed it, name its key with --trust",
        ) from error


def _lines(store: CollateralStore) -> Iterator[dict[str, object]]:
    """The root's CRL comes first: with it the rest is judged."""
    for entry in sorted(store.entries(), key=lambda entry: entry.name.kind is not Kind.ROOT_CRL):
        yield {
            "type": "document",
            "kind": entry.name.kind.value,
            "key": list(entry.name.key),
            "body": base64.b64encode(entry.body).decode(),
            "issuer_chain": entry.issuer_chain.decode("ascii"),
        }
    for platform in store.platforms():
        yield {
            "type": "platform",
            "qe_id": platform.id.qe_id,
            "pce_id": platform.id.pce_id,
            "encrypted_ppid": platform.encrypted_ppid,
            "manifest": platform.manifest,
            "fmspc": platform.fmspc,
            "authority": platform.authority.value,
            "issuer_chain": platform.issuer_chain.decode("ascii"),
            "certificates": [
                {"tcbm": one.tcbm, "pem": one.pem.decode("ascii")} for one in platform.certificates
            ],
            "tcbs": [
                {"cpu_svn": one.cpu_svn, "pce_svn": one.pce_svn, "tcbm": one.tcbm} for one in platform.tcbs
            ],
        }
    for policy in store.all_policies():
        yield {
            "type": "policy",
            "id": policy.id,
            "fmspc": policy.fmspc,
            "kind": policy.type,
            "is_default": policy.is_default,
            "policy": policy.policy,
        }


def _content(lines: Sequence[bytes], made: str, trust: Trust, where: str) -> Content:
    entries: list[Entry] = []
    platforms: list[Platform] = []
    policies: list[AppraisalPolicy] = []
    refused: list[str] = []
    for number, data in enumerate(lines, start=2):
        line = _read_line(data, f"{where}, line {number}")
        try:
            match line:
                case _DocumentLine():
                    entry = _entry(line, trust)
                    entries.append(entry)
                    trust = _with_root_crl(trust, entry)
                case _PlatformLine():
                    platforms.append(admit_platform(_platform(line, trust.at), trust))
                case _PolicyLine():
                    policies.append(_policy(line))
        except RefusedError as error:
            refused.append(f"{_title(line)}: {error}")
    return Content(
        made=made,
        entries=tuple(entries),
        platforms=tuple(platforms),
        policies=tuple(policies),
        refused=tuple(refused),
    )


def _read_line(data: bytes, where: str) -> _DocumentLine | _PlatformLine | _PolicyLine:
    kinds: dict[str, Callable[[], _DocumentLine | _PlatformLine | _PolicyLine]] = {
        "document": lambda: _typed(data, _DocumentLine, where),
        "platform": lambda: _typed(data, _PlatformLine, where),
        "policy": lambda: _typed(data, _PolicyLine, where),
    }
    try:
        kind = json.loads(data)["type"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise FormatError(
            "package", expected="a line of JSON with a type", got=str(error), where=where
        ) from error
    if not isinstance(kind, str) or kind not in kinds:
        raise FormatError("line of a package", expected=", ".join(kinds), got=ascii(kind)[:40], where=where)
    return kinds[kind]()


def _typed(data: bytes, kind: type[_Line], where: str) -> _Line:
    return read_document(data, kind, name="line of a package", limit=_MAX_LINE, where=where)


def _entry(line: _DocumentLine, trust: Trust) -> Entry:
    name = parse_name(line.kind, line.key)
    return admit(name, Answer(body=line.body, issuer_chain=line.issuer_chain.encode()), trust)


def _with_root_crl(trust: Trust, entry: Entry) -> Trust:
    if entry.name.kind is not Kind.ROOT_CRL:
        return trust
    return Trust(roots=trust.roots, at=trust.at, root_crl=entry.body)


def _platform(line: _PlatformLine, at: datetime) -> Platform:
    return Platform(
        id=PlatformId(qe_id=line.qe_id, pce_id=line.pce_id),
        encrypted_ppid=line.encrypted_ppid,
        manifest=line.manifest,
        fmspc=line.fmspc,
        authority=line.authority,
        issuer_chain=line.issuer_chain.encode(),
        certificates=tuple(PckCertificate(tcbm=one.tcbm, pem=one.pem.encode()) for one in line.certificates),
        tcbs=tuple(RawTcb(cpu_svn=one.cpu_svn, pce_svn=one.pce_svn, tcbm=one.tcbm) for one in line.tcbs),
        fetched_at=at,
    )


def _policy(line: _PolicyLine) -> AppraisalPolicy:
    digest = hashlib.sha384(line.policy.encode()).hexdigest()
    if digest != line.id:
        raise RefusedError("appraisal policy", expected=f"one with SHA-384 {line.id}", got=digest)
    return AppraisalPolicy(
        id=line.id, fmspc=line.fmspc, type=line.kind, is_default=line.is_default, policy=line.policy
    )


def _title(line: _DocumentLine | _PlatformLine | _PolicyLine) -> str:
    match line:
        case _DocumentLine():
            return " ".join((line.kind, *line.key))
        case _PlatformLine():
            return f"platform {line.qe_id[:32]}"
        case _PolicyLine():
            return f"policy {line.id[:16]}…"

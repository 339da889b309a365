"""Is one endorsement what Intel signed, for what it is asked for, and in time? Judged before it is kept.

Appraisal of evidence judges all endorsements of a platform together; here each is judged alone, by the same
steps. What was vouched for here is judged again by every verifier that gets it. Nothing here looks at TCB
levels: a document that says that a platform is out of date is as good as any other.

Not checked here: whether a certificate is revoked, where no CRL of the root is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, NoReturn, TypeVar

import msgspec

from casemate.errors import FormatError, RefusedError
from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.pem import encode_certificates, parse_certificates
from casemate.formats.sgx import intel_json
from casemate.formats.sgx.collateral import EnclaveIdentity, TcbInfo, parse_signed
from casemate.formats.sgx.pck import PckExtension
from casemate.verifier.chains import (
    CRL_CHAIN,
    PCK_CHAIN,
    PCK_CRL,
    QE_CHAIN,
    TCB_CHAIN,
    ChainRule,
    verify_chain,
    verify_crl,
)
from casemate.verifier.checklist import Checklist, in_words
from casemate.verifier.roots import TrustRoots
from casemate.verifier.signatures import point_key, raw_signed_by, signed_by

#: Version of Intel's API -> version of the TCB info that it gives.
_TCB_INFO_VERSIONS = {3: 2, 4: 3}
_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """By what an endorsement is judged.

    Attributes:
        roots: Whose signatures count.
        at: The instant.
        root_crl: CRL of the root, DER, vouched for; ``None`` where none is at hand.
    """

    roots: TrustRoots
    at: datetime
    root_crl: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What is known of a genuine endorsement.

    Attributes:
        begins: From when all of it is valid, certificates included.
        ends: Until when.
        evaluation_number: TCB evaluation data number; of a list of them the highest; ``None`` where the kind
            has none.
    """

    begins: datetime
    ends: datetime
    evaluation_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VouchedPck:
    """What is known of a genuine PCK certificate.

    Attributes:
        begins: From when all of its chain is valid.
        ends: Until when.
        extension: What it says of the platform.
        authority: ``processor`` or ``platform``.
    """

    begins: datetime
    ends: datetime
    extension: PckExtension
    authority: str


def vouch_for_tcb_info(
    body: bytes,
    issuer_chain: bytes,
    trust: Trust,
    *,
    tee: str,
    fmspc: str,
    api_version: int = 4,
    number: int | None = None,
) -> Vouched:
    """TCB info as Intel's service gives it: ``{"tcbInfo":…,"signature":…}``.

    Args:
        body: Those bytes.
        issuer_chain: PEM of its signer and of the root.
        trust: By what it is judged.
        tee: ``SGX`` or ``TDX``, which it has to be about.
        fmspc: The family that it has to be about, hexadecimal.
        api_version: 3 or 4: in which version of Intel's API it was asked for.
        number: The TCB evaluation data number that it has to have, if one was asked for.

    Raises:
        RefusedError: The first reason why it is not vouched for.
    """
    what = "TCB info"
    document, begins, ends = _signed(body, "tcbInfo", issuer_chain, TCB_CHAIN, trust, what=what)
    info = _read(TcbInfo.parse, document, what)
    _require(what, "version", str(_TCB_INFO_VERSIONS[api_version]), str(info.version))
    _require(what, "id", tee, info.id.value)
    _require(what, "FMSPC", fmspc.lower(), info.fmspc.hex())
    _require_number(what, number, info.tcb_evaluation_data_number)
    window = (max(begins, info.issue_date), min(ends, info.next_update))
    return _in_time(what, *window, trust, info.tcb_evaluation_data_number)


def vouch_for_identity(
    body: bytes, issuer_chain: bytes, trust: Trust, *, role: str, number: int | None = None
) -> Vouched:
    """Enclave identity as Intel's service gives it: ``{"enclaveIdentity":…,"signature":…}``.

    Args:
        body: Those bytes.
        issuer_chain: PEM of its signer and of the root.
        trust: By what it is judged.
        role: The ``id`` that it has to have, for example ``QE``.
        number: The TCB evaluation data number that it has to have, if one was asked for.

    Raises:
        RefusedError: The first reason why it is not vouched for.
    """
    what = "enclave identity"
    document, begins, ends = _signed(body, "enclaveIdentity", issuer_chain, QE_CHAIN, trust, what=what)
    identity = _read(EnclaveIdentity.parse, document, what)
    _require(what, "id", role, identity.id.value)
    _require_number(what, number, identity.tcb_evaluation_data_number)
    window = (max(begins, identity.issue_date), min(ends, identity.next_update))
    return _in_time(what, *window, trust, identity.tcb_evaluation_data_number)


def vouch_for_evaluation_numbers(body: bytes, issuer_chain: bytes, trust: Trust, *, tee: str) -> Vouched:
    """TCB evaluation data numbers: ``{"tcbEvaluationDataNumbers":…,"signature":…}``.

    Args:
        body: Those bytes.
        issuer_chain: PEM of its signer and of the root.
        trust: By what it is judged.
        tee: ``SGX`` or ``TDX``, which it has to be about.

    Raises:
        RefusedError: The first reason why it is not vouched for.
    """
    what = "TCB evaluation data numbers"
    document, begins, ends = _signed(
        body, "tcbEvaluationDataNumbers", issuer_chain, TCB_CHAIN, trust, what=what
    )
    numbers, issued, next_update = _read(_read_numbers, document, what)
    _require(what, "version", "1", str(numbers.version))
    _require(what, "id", tee, numbers.id)
    highest = max((one.tcb_evaluation_data_number for one in numbers.tcb_eval_numbers), default=0)
    return _in_time(what, max(begins, issued), min(ends, next_update), trust, highest)


def vouch_for_pck_crl(crl: bytes, issuer_chain: bytes, trust: Trust, *, authority: str) -> Vouched:
    """CRL of an authority that certifies platforms.

    Args:
        crl: DER.
        issuer_chain: PEM of the authority and of the root.
        trust: By what it is judged.
        authority: ``processor`` or ``platform``, whose it has to be.

    Raises:
        RefusedError: The first reason why it is not vouched for.
    """
    what = "PCK CRL"
    checks = Checklist()
    chain = verify_chain(checks, CRL_CHAIN, issuer_chain, trust.roots)
    if chain is None:
        _refuse(checks)
    _require_unrevoked(what, chain, trust)
    _require(what, "issuer", f"Intel SGX PCK {authority.capitalize()} CA", chain[0].common_name)
    found = verify_crl(checks, PCK_CRL, crl, chain[0])
    if found is None:
        _refuse(checks)
    begins, ends = _window(chain)
    return _in_time(what, max(begins, found.this_update), min(ends, found.next_update), trust)


def vouch_for_root_crl(crl: bytes, trust: Trust) -> Vouched:
    """CRL of a trusted root, DER; it comes without a certificate, and the root's key suffices.

    Raises:
        RefusedError: The first reason why it is not vouched for.
    """
    what = "root CRL"
    found = _read(RevocationList.parse, crl, what)
    keys = [key for root in trust.roots.roots if (key := point_key(root.point[1:])) is not None]
    if not any(signed_by(key, found.signature, found.signed) for key in keys):
        names = " or ".join(root.name for root in trust.roots.roots)
        raise RefusedError(f"{what}, signature", expected=f"the signature of {names}", got="a wrong one")
    return _in_time(what, found.this_update, found.next_update, trust)


def vouch_for_pck_certificate(pem: bytes, issuer_chain: bytes, trust: Trust) -> VouchedPck:
    """PCK certificate.

    Args:
        pem: The certificate.
        issuer_chain: PEM of the authority that certifies it and of the root.
        trust: By what it is judged.

    Raises:
        RefusedError: The first reason why it is not vouched for.
    """
    what = "PCK certificate"
    whole = encode_certificates((*_certificates(pem, what), *_certificates(issuer_chain, what)))
    checks = Checklist()
    chain = verify_chain(checks, PCK_CHAIN, whole, trust.roots)
    if chain is None:
        _refuse(checks)
    _require_unrevoked(what, chain[1:], trust)
    extension = chain[0].sgx_extension
    if extension is None:
        raise RefusedError(f"{what}, SGX extension", expected="one", got="none")
    vouched = _in_time(what, *_window(chain), trust)
    return VouchedPck(
        begins=vouched.begins,
        ends=vouched.ends,
        extension=_read(PckExtension.parse, extension, what),
        authority=chain[1].common_name.removeprefix("Intel SGX PCK ").removesuffix(" CA").lower(),
    )


class _OneNumber(msgspec.Struct, frozen=True, rename="camel"):
    tcb_evaluation_data_number: _Number


class _Numbers(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    version: int
    issue_date: str
    next_update: str
    tcb_eval_numbers: tuple[_OneNumber, ...]


def _read_numbers(document: bytes) -> tuple[_Numbers, datetime, datetime]:
    """The numbers, when they were issued, and when the next ones are due."""
    where = "TCB evaluation data numbers"
    numbers = intel_json.as_shape(intel_json.read_json(document, where), _Numbers, where)
    dates = (intel_json.date_of(text, where) for text in (numbers.issue_date, numbers.next_update))
    issued, next_update = dates
    return numbers, issued, next_update


def _read(parse: Callable[[bytes], _Value], data: bytes, what: str) -> _Value:
    """What ``parse`` reads; what its format does not allow is refused like anything else."""
    try:
        return parse(data)
    except FormatError as error:
        raise RefusedError(what, expected="what its format allows", got=str(error)) from error


def _certificates(pem: bytes, what: str) -> tuple[bytes, ...]:
    return _read(lambda data: parse_certificates(data, where=what), pem, what)


def _signed(
    body: bytes, member: str, issuer_chain: bytes, rule: ChainRule, trust: Trust, *, what: str
) -> tuple[bytes, datetime, datetime]:
    """A document that the leaf of a chain has signed, and the window of the chain."""
    checks = Checklist()
    chain = verify_chain(checks, rule, issuer_chain, trust.roots)
    if chain is None:
        _refuse(checks)
    _require_unrevoked(what, chain, trust)
    document, signature = _read(lambda data: parse_signed(data, member), body, what)
    if not raw_signed_by(chain[0].public_key, signature, document):
        raise RefusedError(
            f"{what}, signature", expected=f"the signature of {chain[0].common_name}", got="a wrong one"
        )
    return (document, *_window(chain))


def _require_number(what: str, wanted: int | None, found: int) -> None:
    if wanted is not None:
        _require(what, "TCB evaluation data number", str(wanted), str(found))


def _in_time(what: str, begins: datetime, ends: datetime, trust: Trust, number: int | None = None) -> Vouched:
    """Both ends are inclusive."""
    if not begins <= trust.at <= ends:
        raise RefusedError(
            f"{what}, validity",
            expected=f"a window around {_moment(trust.at)}",
            got=f"{_moment(begins)} to {_moment(ends)}",
            hint="see that this machine's clock is right",
        )
    return Vouched(begins=begins, ends=ends, evaluation_number=number)


def _window(chain: Iterable[Certificate]) -> tuple[datetime, datetime]:
    certificates = tuple(chain)
    return max(one.not_before for one in certificates), min(one.not_after for one in certificates)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _require(what: str, field: str, expected: str, got: str) -> None:
    if got != expected:
        raise RefusedError(f"{what}, {field}", expected=expected, got=ascii(got[:100])[1:-1])


def _require_unrevoked(what: str, chain: Iterable[Certificate], trust: Trust) -> None:
    """None of the certificates that the root has issued is on its CRL."""
    if trust.root_crl is None:
        return
    revoked = _read(RevocationList.parse, trust.root_crl, "root CRL").revoked
    for certificate in chain:
        if certificate.serial in revoked:
            raise RefusedError(
                f"{what}, revocation",
                expected="certificates that are not on the root's CRL",
                got=f"{certificate.common_name}, {certificate.serial:x}",
            )


def _refuse(checks: Checklist) -> NoReturn:
    """Raise the first check that has not passed."""
    requirement, _, expected, got = next(record for record in checks.records if not record[1])
    raise RefusedError(requirement.title, expected=in_words(expected), got=in_words(got))

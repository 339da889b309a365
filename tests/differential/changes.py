"""Changes, each of one part, drawn by a seeded generator: blind ones, and signed ones as their makers could.

A change may give anything, good evidence included: nobody says here what is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from datetime import timedelta
from random import Random
from typing import Any, Final

from tests.differential.cases import NOW, Case, good_cases

from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral import Collateral, TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.simulator.endorsements import RevokedCertificates
from casemate.simulator.pki import (
    PCK_NAME,
    TCB_SIGNING_NAME,
    CertificateProfile,
    issue_certificate,
    raw_signature,
)

Change = Callable[[Random, Case], Case]

#: What a security version, a date or a word in a signed document may become.
_NUMBERS: Final = (0, 1, 2, 3, 5, 11, 13, 255, 256, 65535, 65536, -1, 2**31, 2**64)
_DATES: Final = (
    "2018-05-21T10:50:10Z",
    "2026-11-20T12:59:59Z",
    "2026-11-20T13:00:00Z",
    "2026-11-20T13:00:01Z",
    "2099-12-31T23:59:59Z",
    "2026-11-20",
    "",
)
_WORDS: Final = (
    *(status.value for status in TcbStatus),
    "SGX", "TDX", "QE", "TD_QE", "QVE", "TDX_01", "TDX_03", "00" * 6, "FF" * 16, "00" * 32, "",
)  # fmt: skip


# The quote.


def flip_bits(rng: Random, case: Case) -> Case:
    """One to three bits anywhere in the quote."""
    return replace(case, quote=_flipped(rng, case.quote))


def cut_or_extend(rng: Random, case: Case) -> Case:
    """Bytes missing at the end, or more of them."""
    if rng.random() < 0.5:
        return replace(case, quote=case.quote[: rng.randrange(len(case.quote))])
    return replace(case, quote=case.quote + rng.randbytes(rng.choice((1, 2, 4, 4096))))


def set_field(rng: Random, case: Case) -> Case:
    """A stretch of the quote with other bytes."""
    quote = bytearray(case.quote)
    at = rng.randrange(len(quote))
    size = rng.choice((1, 2, 4, 8, 16, 32, 64))
    quote[at : at + size] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return replace(case, quote=bytes(quote[: len(case.quote)]))


def splice_quotes(rng: Random, case: Case) -> Case:
    """A stretch, or one part, of another good quote."""
    other = rng.choice(good_cases()).quote
    if rng.random() < 0.5:
        start = rng.randrange(len(case.quote))
        end = rng.randrange(start, len(case.quote))
        return replace(case, quote=case.quote[:start] + other[start:end] + case.quote[end:])
    name = rng.choice([one.name for one in fields(Quote)])
    return replace(case, quote=_rebuilt(case, **{name: getattr(Quote.parse(other), name)}))


def sign_other_body(rng: Random, case: Case) -> Case:
    """Another header or body, signed by the attestation key."""
    signed = bytearray(Quote.parse(case.quote).signed)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(48, len(signed)) if rng.random() < 0.9 else rng.randrange(48)
        signed[at] = rng.choice((0, 1, signed[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))
    key = case.platform.quoting_enclave.attestation_key
    return replace(
        case, quote=_rebuilt(case, signed=bytes(signed), signature=raw_signature(key, bytes(signed)))
    )


def sign_other_quoting_enclave(rng: Random, case: Case) -> Case:
    """Another quoting enclave, certified by the PCK; the key is bound as it should be, or not."""
    quote = Quote.parse(case.quote)
    report = bytearray(quote.qe_report)
    for _ in range(rng.randint(1, 2)):
        report[rng.randrange(320 if rng.random() < 0.8 else 384)] = rng.randrange(256)
    auth = rng.choice((quote.qe_auth_data, rng.randbytes(rng.choice((0, 1, 31, 32, 33, 64)))))
    if rng.random() < 0.7:
        report[320:] = hashlib.sha256(quote.attestation_key + auth).digest() + bytes(32)
    signature = case.platform.quoting_enclave.pck.sign(bytes(report))
    return replace(
        case,
        quote=_rebuilt(case, qe_report=bytes(report), qe_report_signature=signature, qe_auth_data=auth),
    )


def malleate(rng: Random, case: Case) -> Case:
    """The other signature that is as valid."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    name = rng.choice(("signature", "qe_report_signature"))
    signature = getattr(Quote.parse(case.quote), name)
    other = (order - int.from_bytes(signature[32:], "big")) % (1 << 256)
    return replace(case, quote=_rebuilt(case, **{name: signature[:32] + other.to_bytes(32, "big")}))


def arrange_chain(rng: Random, case: Case) -> Case:
    """The PCK chain in another order, with one missing, twice, or of another platform."""
    enclave = case.platform.quoting_enclave
    other = rng.choice(good_cases()).platform.quoting_enclave
    chain = [enclave.pck.certificate, *enclave.pck_chain]
    for _ in range(rng.randint(1, 2)):
        match rng.randrange(4):
            case 0:
                rng.shuffle(chain)
            case 1 if len(chain) > 1:
                chain.pop(rng.randrange(len(chain)))
            case 2:
                chain.insert(rng.randrange(len(chain) + 1), rng.choice(chain))
            case _:
                chain[rng.randrange(len(chain))] = rng.choice([other.pck.certificate, *other.pck_chain])
    tail = rng.choice((b"\x00", b"", b"\n", b"\x00\x00", b"garbage"))
    return replace(case, quote=_rebuilt(case, certification_data=encode_certificates(tuple(chain)) + tail))


def issue_other_pck(rng: Random, case: Case) -> Case:
    """Another PCK certificate of the same authority: another name, other dates, other contents."""
    platform, enclave = case.platform, case.platform.quoting_enclave
    extension = platform.sgx_extension
    components = [rng.choice((0, 1, 3, 14, 14, 255)) for _ in range(16)]
    changes: list[dict[str, Any]] = [
        {"fmspc": rng.randbytes(6)},
        {"pce_id": rng.randbytes(2)},
        {"pce_svn": rng.choice((0, 5, 12, 13, 14, 65535))},
        {"components": tuple(components), "cpu_svn": bytes(components)},
        {},
    ]
    profile = CertificateProfile(
        common_name=rng.choice((PCK_NAME, PCK_NAME, PCK_NAME, TCB_SIGNING_NAME, "Nobody")),
        not_before=NOW + timedelta(days=rng.choice((-100, -100, -100, -1, 1))),
        life=timedelta(days=rng.choice((3000, 3000, 3000, 1, 100, 101))),
        crl_url="https://example.com/crl",
        sgx_extension=replace(extension, **rng.choice(changes)).to_der(),
    )
    issuer = rng.choice((platform.authorities.pck_ca,) * 4 + (platform.authorities.root,))
    pck = issue_certificate(key=enclave.pck.key, issuer=issuer, profile=profile)
    chain = encode_certificates((pck.certificate, *enclave.pck_chain)) + b"\x00"
    return replace(case, quote=_rebuilt(case, certification_data=chain))


# The collateral.


def flip_collateral(rng: Random, case: Case) -> Case:
    """Bits of one member."""
    name = rng.choice(_MEMBERS)
    return _with_collateral(case, **{name: _flipped(rng, getattr(case.collateral, name))})


def splice_collateral(rng: Random, case: Case) -> Case:
    """Members of another good set."""
    other = rng.choice(good_cases()).collateral
    chosen = rng.sample(_MEMBERS, rng.choice((1, 1, 2, 3)))
    return _with_collateral(case, **{name: getattr(other, name) for name in chosen})


def sign_other_tcb_info(rng: Random, case: Case) -> Case:
    """TCB info in which something else stands, signed."""
    data = _changed_json(rng, case.collateral.tcb_info)
    signature = case.platform.authorities.tcb_signer.sign(data)
    return _with_collateral(case, tcb_info=data, tcb_info_signature=signature)


def sign_other_identity(rng: Random, case: Case) -> Case:
    """The identity of the quoting enclave in which something else stands, signed."""
    data = _changed_json(rng, case.collateral.qe_identity)
    signature = case.platform.authorities.tcb_signer.sign(data)
    return _with_collateral(case, qe_identity=data, qe_identity_signature=signature)


def sign_other_crls(rng: Random, case: Case) -> Case:
    """CRLs with other windows and other certificates on them."""
    platform, authorities = case.platform, case.platform.authorities
    serials = (
        platform.quoting_enclave.pck.serial,
        authorities.pck_ca.serial,
        authorities.tcb_signer.serial,
        authorities.root.serial,
        rng.getrandbits(100) + 1,
    )

    def crl() -> RevokedCertificates:
        begins = NOW + timedelta(hours=rng.choice((-9, -9, 0, 2)))
        return RevokedCertificates(
            this_update=begins,
            next_update=begins + timedelta(hours=rng.choice((1, 10, 10, 900))),
            serials=tuple(rng.sample(serials, rng.choice((0, 0, 1, 2)))),
        )

    statements = replace(case.statements, root_crl=crl(), pck_crl=crl())
    return replace(case, statements=statements, collateral=platform.sign(statements))


def arrange_signer_chain(rng: Random, case: Case) -> Case:
    """A signer's chain with another order, with one missing, or another signer."""
    authorities = case.platform.authorities
    chain = [authorities.tcb_signer.certificate, authorities.root.certificate, authorities.pck_ca.certificate]
    rng.shuffle(chain)
    name = rng.choice(("tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain"))
    return _with_collateral(
        case, **{name: encode_certificates(tuple(chain[: rng.randint(1, 3)])) + rng.choice((b"", b"x"))}
    )


def another_time(rng: Random, case: Case) -> Case:
    """Another instant: at an edge of a window, or far away."""
    days = rng.choice((-40000, -400, -30, -1, 0, 1, 29, 30, 31, 365, 366, 2000, 20000))
    seconds = rng.choice((-1, 0, 1))
    return replace(case, at=NOW + timedelta(days=days, seconds=seconds))


#: The members that all collateral has.
_MEMBERS: Final = [one.name for one in fields(Collateral) if one.default is MISSING]

CHANGES: Final[tuple[Change, ...]] = (
    flip_bits, flip_bits, cut_or_extend, set_field, splice_quotes, sign_other_body, sign_other_body,
    sign_other_quoting_enclave, sign_other_quoting_enclave, malleate, arrange_chain, issue_other_pck,
    flip_collateral, splice_collateral, sign_other_tcb_info, sign_other_tcb_info, sign_other_identity,
    sign_other_identity, sign_other_crls, arrange_signer_chain, another_time,
)  # fmt: skip


def changed(seed: int) -> tuple[str, Case]:
    """The case of a number, and the name of its change."""
    rng = Random(seed)  # noqa: S311  # numbers that can be repeated
    case = rng.choice(good_cases())
    change = rng.choice(CHANGES)
    return change.__name__, change(rng, case)


def _with_collateral(case: Case, **members: bytes) -> Case:
    return replace(case, collateral=replace(case.collateral, **members))


def _rebuilt(case: Case, **members: Any) -> bytes:
    """The quote with other members; as it was, when they cannot be written."""
    try:
        return replace(Quote.parse(case.quote), **members).to_bytes()
    except FormatError:
        return case.quote


def _flipped(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _changed_json(rng: Random, data: bytes) -> bytes:
    """The document with one to three values replaced or left away, or in another spelling."""
    document = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        _change_one(rng, document)
    if rng.random() < 0.05:
        return json.dumps(document, indent=1).encode()
    return json.dumps(document, separators=(",", ":")).encode()


def _change_one(rng: Random, document: Any) -> None:
    """Walk to a random place and change what stands there."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(document[key], dict | list) and document[key] and rng.random() < 0.9:
            document = document[key]
            continue
        match rng.randrange(8):
            case 0:
                document.pop(key)
            case 1 if isinstance(document, list):
                document.append(document[key])
            case _:
                document[key] = _other_value(rng, document[key])
        return


def _other_value(rng: Random, value: Any) -> Any:
    match value:
        case int():
            return rng.choice((*_NUMBERS, value + 1, value - 1))
        case str() if value.endswith("Z"):
            return rng.choice(_DATES)
        case str():
            return rng.choice((*_WORDS, value.lower(), value + "0"))
        case _:
            return rng.choice((None, [], {}, "text", 1))

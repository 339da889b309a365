"""TCB info, QE identity, CRLs and certificate chains of a simulated platform, in Intel's form.

Intel SGX and TDX Provisioning Certification Service API version 4: "TCB info" (V3) and "Enclave identity"
(V2), members in the order in which Intel's service writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import msgspec

from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral import Collateral, TcbStatus
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.report import ReportBody
from casemate.simulator.pki import Authorities, Identity, issue_crl

#: How long Intel's TCB info, QE identity and PCK CRL are valid, and its root CRL.
DOCUMENT_LIFE = timedelta(days=30)
ROOT_CRL_LIFE = timedelta(days=365)
#: The advisory that a level that is not up to date names.
ADVISORY = "INTEL-SA-00615"

_TCB_EVALUATION_DATA_NUMBER = 21
_QE_ATTRIBUTES = "11000000000000000000000000000000"
_QE_ATTRIBUTES_MASK = "FBFFFFFFFFFFFFFF0000000000000000"


class Revocation(Enum):
    """Which certificate of a simulated platform is revoked."""

    PCK = "PCK certificate"
    PCK_AUTHORITY = "PCK authority"
    TCB_SIGNER = "TCB signing certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a simulated platform stands with its simulated manufacturer.

    Attributes:
        platform: Status of the platform's TCB level.
        quoting_enclave: Status of the quoting enclave's level: up to date, out of date or revoked.
        revoked: Certificates on the CRLs.
    """

    platform: TcbStatus = TcbStatus.UP_TO_DATE
    quoting_enclave: TcbStatus = TcbStatus.UP_TO_DATE
    revoked: frozenset[Revocation] = frozenset()


def endorse(
    authorities: Authorities,
    pck: Identity,
    sgx_extension: PckExtension,
    quoting_enclave: ReportBody,
    *,
    now: datetime,
    standing: Standing,
) -> Collateral:
    """All collateral of one platform, issued at ``now``."""
    tcb_info = encode_tcb_info(sgx_extension, now=now, status=standing.platform)
    qe_identity = encode_qe_identity(quoting_enclave, now=now, status=standing.quoting_enclave)
    signer_chain = encode_certificates((authorities.tcb_signer.certificate, authorities.root.certificate))
    subjects = {
        Revocation.PCK_AUTHORITY: authorities.pck_ca,
        Revocation.TCB_SIGNER: authorities.tcb_signer,
    }
    by_root = tuple(subjects[which].serial for which in subjects if which in standing.revoked)
    by_ca = (pck.serial,) if Revocation.PCK in standing.revoked else ()
    return Collateral(
        pck_crl_issuer_chain=encode_certificates(
            (authorities.pck_ca.certificate, authorities.root.certificate)
        ),
        root_ca_crl=issue_crl(
            authorities.root, this_update=now, next_update=now + ROOT_CRL_LIFE, revoked=by_root
        ),
        pck_crl=issue_crl(
            authorities.pck_ca, this_update=now, next_update=now + DOCUMENT_LIFE, revoked=by_ca
        ),
        tcb_info_issuer_chain=signer_chain,
        tcb_info=tcb_info,
        tcb_info_signature=authorities.tcb_signer.sign(tcb_info),
        qe_identity_issuer_chain=signer_chain,
        qe_identity=qe_identity,
        qe_identity_signature=authorities.tcb_signer.sign(qe_identity),
    )


def encode_tcb_info(sgx_extension: PckExtension, *, now: datetime, status: TcbStatus) -> bytes:
    """TCB info, version 3, in which a platform with this PCK has ``status``.

    A status other than up to date comes with a newer level that is, as with Intel.
    """
    own = (sgx_extension.components, sgx_extension.pce_svn)
    levels = [_tcb_level(*own, now=now, status=status)]
    if status is not TcbStatus.UP_TO_DATE:
        newer = (sgx_extension.components[0] + 1, *sgx_extension.components[1:])
        levels.insert(0, _tcb_level(newer, own[1], now=now, status=TcbStatus.UP_TO_DATE))
    return msgspec.json.encode(
        {
            "id": "SGX",
            "version": 3,
            "issueDate": _date(now),
            "nextUpdate": _date(now + DOCUMENT_LIFE),
            "fmspc": sgx_extension.fmspc.hex().upper(),
            "pceId": sgx_extension.pce_id.hex(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": _TCB_EVALUATION_DATA_NUMBER,
            "tcbLevels": levels,
        }
    )


def encode_qe_identity(quoting_enclave: ReportBody, *, now: datetime, status: TcbStatus) -> bytes:
    """QE identity, version 2, in which this quoting enclave has ``status``."""
    own = quoting_enclave.isvsvn
    levels = [_qe_level(own, now=now, status=status)]
    if status is not TcbStatus.UP_TO_DATE:
        levels.insert(0, _qe_level(own + 1, now=now, status=TcbStatus.UP_TO_DATE))
    return msgspec.json.encode(
        {
            "id": "QE",
            "version": 2,
            "issueDate": _date(now),
            "nextUpdate": _date(now + DOCUMENT_LIFE),
            "tcbEvaluationDataNumber": _TCB_EVALUATION_DATA_NUMBER,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": _QE_ATTRIBUTES,
            "attributesMask": _QE_ATTRIBUTES_MASK,
            "mrsigner": quoting_enclave.mrsigner.hex().upper(),
            "isvprodid": quoting_enclave.isvprodid,
            "tcbLevels": levels,
        }
    )


def _tcb_level(
    components: Iterable[int], pce_svn: int, *, now: datetime, status: TcbStatus
) -> dict[str, Any]:
    tcb = {"sgxtcbcomponents": [{"svn": svn} for svn in components], "pcesvn": pce_svn}
    return {"tcb": tcb, "tcbDate": _date(now), "tcbStatus": status.value} | _advisories(status)


def _qe_level(isvsvn: int, *, now: datetime, status: TcbStatus) -> dict[str, Any]:
    level = {"tcb": {"isvsvn": isvsvn}, "tcbDate": _date(now), "tcbStatus": status.value}
    return level | _advisories(status)


def _advisories(status: TcbStatus) -> dict[str, Any]:
    return {} if status is TcbStatus.UP_TO_DATE else {"advisoryIDs": [ADVISORY]}


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

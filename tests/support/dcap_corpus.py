"""The corpus of real quotes and collateral: read where it lies beside the checkout, never copied."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from casemate.formats.certificates import Certificate
from casemate.formats.pem import parse_certificates
from casemate.formats.sgx.collateral import Collateral, TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, ReportBody
from casemate.formats.sgx.td_report import MrTd, TdReport
from casemate.verifier.appraisal import appraise
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots
from casemate.verifier.signatures import raw_signed_by

CORPUS = Path(__file__).parents[3] / "shared" / "vectors" / "dcap"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"the DCAP conformance corpus is not there ({CORPUS})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of ``matrix.jsonl``: a quote, collateral of one moment, and what other verifiers say."""

    values: dict[str, Any]

    @property
    def quote_id(self) -> str:
        return str(Path(self.values["quote"]).parent.name)

    def appraise(self) -> AttestationResult:
        """Our answer, with a policy that minds nothing but the cryptography."""
        evidence = (CORPUS / self.values["quote"]).read_bytes()
        return appraise_tolerantly(evidence, self.collateral(), at=self.values["now"])

    def collateral(self) -> Collateral:
        """That of the moment."""
        tcb_info, tcb_signature = _signed(self.values["tcb"], "tcbInfo")
        qe_identity, qe_signature = _signed(self.values["qe"], "enclaveIdentity")
        authority = "platform" if "platform" in self.values["pck_crl"] else "processor"
        return Collateral(
            pck_crl_issuer_chain=_certificate(f"pck-{authority}-ca") + _certificate("root"),
            root_ca_crl=(CORPUS / self.values["root_crl"]).read_bytes(),
            pck_crl=(CORPUS / self.values["pck_crl"]).read_bytes(),
            tcb_info_issuer_chain=self._signer_chain(tcb_signature, tcb_info),
            tcb_info=tcb_info,
            tcb_info_signature=tcb_signature,
            qe_identity_issuer_chain=self._signer_chain(qe_signature, qe_identity),
            qe_identity=qe_identity,
            qe_identity_signature=qe_signature,
        )

    def _signer_chain(self, signature: bytes, data: bytes) -> bytes:
        """The signing certificate whose key fits and which was valid at that moment."""
        moment = datetime.fromtimestamp(self.values["now"], UTC)
        for name in ("tcb-signing-2018-2025", "tcb-signing-2018-2033", "tcb-signing-2025-2032"):
            signer = _parsed_certificate(name)
            if signer.not_before <= moment <= signer.not_after and raw_signed_by(
                signer.public_key, signature, data
            ):
                return _certificate(name) + _certificate("root")
        raise LookupError(self.values["tcb"])


def matrix() -> list[Row]:
    """All rows, about SGX and about TDX."""
    return [Row(values=json.loads(line)) for line in _lines("matrix.jsonl")]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCase:
    """One line of ``bad/index.jsonl``: one change to a good quote or its collateral."""

    name: str
    at: int

    @property
    def evidence(self) -> bytes:
        own = CORPUS / "bad" / self.name / "quote.bin"
        return (own if own.exists() else CORPUS / "bad" / "00-good" / "quote.bin").read_bytes()

    @property
    def collateral(self) -> Collateral:
        own = CORPUS / "bad" / self.name / "collateral.json"
        return Collateral.parse_json(
            (own if own.exists() else CORPUS / "bad" / "00-base-collateral.json").read_bytes()
        )

    def appraise(self) -> AttestationResult:
        """Our answer, with a policy that minds nothing but the cryptography."""
        return appraise_tolerantly(self.evidence, self.collateral, at=self.at)


def bad_cases() -> list[BadCase]:
    """All of them, the good one included."""
    rows = [json.loads(line) for line in _lines("bad/index.jsonl")]
    return [BadCase(name=row["name"], at=row["now"]) for row in rows]


def appraise_tolerantly(evidence: bytes, collateral: Collateral, *, at: int) -> AttestationResult:
    """Appraise with a policy that accepts every enclave and every status that can be accepted."""
    return appraise(
        evidence,
        endorsements=collateral,
        trust_roots=TrustRoots.intel(),
        policy=AppraisalPolicy(
            mrenclaves=every_measurement(),
            mrtds=every_trust_domain(),
            allow_debug=True,
            accepted_statuses=frozenset(TcbStatus),
        ),
        at=datetime.fromtimestamp(at, UTC),
    )


@cache
def every_measurement() -> tuple[MrEnclave, ...]:
    """MRENCLAVE of every SGX quote of the corpus."""
    return tuple(report.mrenclave for report in _reports() if isinstance(report, ReportBody))


@cache
def every_trust_domain() -> tuple[MrTd, ...]:
    """MRTD of every TDX quote of the corpus."""
    return tuple(report.mr_td for report in _reports() if isinstance(report, TdReport))


@cache
def _reports() -> tuple[ReportBody | TdReport, ...]:
    quotes = (*(CORPUS / "quotes").glob("*/quote.bin"), CORPUS / "bad" / "00-good" / "quote.bin")
    return tuple(Quote.parse(path.read_bytes()).report for path in quotes)


def _lines(name: str) -> list[str]:
    path = CORPUS / name
    return path.read_text().splitlines() if path.exists() else []


@cache
def _certificate(name: str) -> bytes:
    return (CORPUS / "pool" / "cert" / f"{name}.pem").read_bytes()


@cache
def _parsed_certificate(name: str) -> Certificate:
    return Certificate.parse(parse_certificates(_certificate(name), where=name)[0])


@cache
def _signed(path: str, member: str) -> tuple[bytes, bytes]:
    """The signed bytes and the signature of what Intel's service returned, bytes unchanged."""
    document = msgspec.json.decode((CORPUS / path).read_bytes(), type=dict[str, msgspec.Raw])
    return bytes(document[member]), bytes.fromhex(msgspec.json.decode(document["signature"]))

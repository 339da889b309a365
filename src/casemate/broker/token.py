"""Attestation results as tokens: EAR (draft-ietf-rats-ear) in a JWT, in the shape that Trustee gives it.

The key lives as long as the process: a token of an earlier process is refused, and its holder attests again.
A token is as good as the session that it was issued for, and ends with it. That of a simulated platform is
contraindicated to everybody who reads EAR: it opens what this broker was told to open for simulations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from casemate import __version__
from casemate.broker.problem import Problem, RequestRefusedError
from casemate.broker.session import Session
from casemate.formats.sgx.report import MrEnclave, ReportBody
from casemate.verifier.result import AttestationResult, Verdict
from casemate_attester.messages import TeePublicKey, Token, decode_base64url

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
ISSUER = "casemate-broker"
_ALGORITHM = "ES256"
_ATTEST_AGAIN = "attest again: POST /kbs/v0/auth, then /kbs/v0/attest"
# Claims of a submodule (draft-ietf-rats-ear, section 3; the last two are Veraison's).
_STATUS = "ear.status"
_VECTOR = "ear.trustworthiness-vector"
_POLICY_ID = "ear.appraisal-policy-id"
_EVIDENCE = "ear.veraison.annotated-evidence"
_POLICY_CLAIMS = "ear.veraison.policy-claims"
# AR4SI (draft-ietf-rats-ar4si, section 2.3): configuration and executables approved, hardware genuine, memory
# encrypted.
_AFFIRMING_VECTOR = {
    "instance-identity": 0,
    "configuration": 2,
    "executables": 2,
    "file-system": 0,
    "hardware": 2,
    "runtime-opaque": 2,
    "storage-opaque": 0,
    "sourced-data": 0,
}
# A simulated platform is no hardware that anybody recognises, and its owner sees the memory. Such claims are
# contraindications, and the status of a submodule is that of its worst claim.
_SIMULATED_VECTOR = _AFFIRMING_VECTOR | {"hardware": 97, "runtime-opaque": 96}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedWorkload:
    """What good evidence proved.

    Attributes:
        name: The workload whose reference values the enclave matched.
        simulated: It ran on a simulated platform.
        mrenclave: Its measurement.
        tee_public_key: Its key, to which secrets are wrapped.
        session: Label of the session in which it was proved.
    """

    name: str
    simulated: bool
    mrenclave: MrEnclave
    tee_public_key: TeePublicKey
    session: str


class TokenIssuer:
    """Issues and reads the tokens of one process.

    Args:
        key: A P-256 private key; nobody else holds it.
    """

    def __init__(self, key: ECKey) -> None:
        self._key = key
        self._header = {"typ": "JWT", "alg": _ALGORITHM, "kid": key.thumbprint()}

    @classmethod
    def ephemeral(cls) -> TokenIssuer:
        """An issuer with a key of its own."""
        return cls(ECKey.generate_key("P-256"))

    def issue(
        self, workload: AttestedWorkload, session: Session, result: AttestationResult, now: datetime
    ) -> Token:
        """The token for a workload whose evidence was affirmed.

        Args:
            workload: What was proved.
            session: Where; the token ends with it.
            result: What the verifier found.
            now: Time of issue.
        """
        claims = {
            "eat_profile": PROFILE,
            "iss": ISSUER,
            "iat": int(now.timestamp()),
            "exp": int(session.expires.timestamp()),
            "jti": session.label,
            "eat_nonce": session.nonce,
            "ear.verifier-id": {"developer": "casemate", "build": f"casemate {__version__}"},
            "submods": {"cpu0": _submodule(workload, session, result)},
        }
        return Token(jwt.encode(self._header, claims, self._key, algorithms=[_ALGORITHM]))

    def read(self, token: Token, now: datetime) -> AttestedWorkload:
        """What a token of this process proves.

        Raises:
            RequestRefusedError: It is not one, was changed, or has expired.
        """
        try:
            claims = jwt.decode(token.value, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError) as error:
            raise RequestRefusedError(
                Problem.BAD_TOKEN,
                "bearer token",
                expected="one that this broker has issued since it was started",
                got="another one",
                where="header Authorization",
                hint=_ATTEST_AGAIN,
            ) from error
        # From here on every claim is as it was issued: the signature is ours.
        expires = claims["exp"]
        if now.timestamp() >= expires:
            raise RequestRefusedError(
                Problem.BAD_TOKEN,
                "bearer token",
                expected="one that is valid",
                got=f"one that expired {int(now.timestamp() - expires)} seconds ago",
                where="header Authorization",
                hint=_ATTEST_AGAIN,
            )
        return _workload(claims)


def _workload(claims: dict[str, Any]) -> AttestedWorkload:
    cpu = claims["submods"]["cpu0"]
    jwk = cpu[_EVIDENCE]["runtime_data_claims"]["tee-pubkey"]
    return AttestedWorkload(
        name=cpu[_POLICY_CLAIMS]["workload"],
        simulated=cpu[_POLICY_CLAIMS]["simulated"],
        mrenclave=MrEnclave(bytes.fromhex(cpu[_EVIDENCE]["sgx"]["body"]["mr_enclave"])),
        tee_public_key=TeePublicKey(x=decode_base64url(jwk["x"]) or b"", y=decode_base64url(jwk["y"]) or b""),
        session=claims["jti"],
    )


def _submodule(workload: AttestedWorkload, session: Session, result: AttestationResult) -> dict[str, Any]:
    status = Verdict.CONTRAINDICATED if workload.simulated else result.verdict
    return {
        _STATUS: status.value,
        _VECTOR: _SIMULATED_VECTOR if workload.simulated else _AFFIRMING_VECTOR,
        _POLICY_ID: "casemate:reference-values",
        _EVIDENCE: {
            "runtime_data_claims": {
                "tee-pubkey": workload.tee_public_key.document(),
                "nonce": session.nonce,
                "additional-evidence": "",
            },
            "sgx": {
                "tcb_status": result.tcb_status.value if result.tcb_status else None,
                "advisory_ids": list(result.advisory_ids),
                "body": _body_claims(result.report) if isinstance(result.report, ReportBody) else None,
            },
        },
        _POLICY_CLAIMS: {"workload": workload.name, "simulated": workload.simulated},
    }


def _body_claims(report: ReportBody) -> dict[str, str]:
    """The report as Trustee's verifier names its fields: hexadecimal of the bytes as they lie in memory."""
    return {
        "misc_select": report.misc_select.hex(),
        "attributes.flags": report.attributes.flags.to_bytes(8, "little").hex(),
        "attributes.xfrm": report.attributes.xfrm.to_bytes(8, "little").hex(),
        "mr_enclave": report.mrenclave.hex(),
        "mr_signer": report.mrsigner.hex(),
        "isv_prod_id": report.isvprodid.to_bytes(2, "little").hex(),
        "isv_svn": report.isvsvn.to_bytes(2, "little").hex(),
        "report_data": report.report_data.hex(),
    }

"""Attestation results as tokens: EAR (draft-ietf-rats-ear) in a JWT, in the shape that Trustee gives it.

The key lives as long as the process: a token of an earlier process is refused, and its holder attests again.
A token is as good as the session that it was issued for, and ends with it. That of a simulated platform is
contraindicated to everybody who reads EAR: it opens what this broker was told to open for simulations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from joserfc.jwk import ECKey

from casemate import __version__
from casemate.broker.problem import Problem, RequestRefusedError
from casemate.broker.session import Session
from casemate.errors import FormatError, RefusedError
from casemate.formats.ear import EVIDENCE, POLICY_CLAIMS, TRUSTEE_PROFILE, Ear, Submodule
from casemate.formats.sgx.report import MrEnclave
from casemate.verifier.result import AttestationResult
from casemate.verifier.trustworthiness import submodule_of
from casemate_attester.messages import TeePublicKey, Token, decode_base64url

ISSUER: Final = "casemate-broker"
_SUBMODULE: Final = "cpu0"
_POLICY_ID: Final = "casemate:reference-values"
_ATTEST_AGAIN: Final = "attest again: POST /kbs/v0/auth, then /kbs/v0/attest"


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
        ear = Ear(
            profile=TRUSTEE_PROFILE,
            issued_at=now,
            build=f"casemate {__version__}",
            submodules={_SUBMODULE: _submodule(workload, session, result)},
            expires=session.expires,
            issuer=ISSUER,
            nonce=session.nonce,
            id=session.label,
        )
        return Token(ear.sign(self._key))

    def read(self, token: Token, now: datetime) -> AttestedWorkload:
        """What a token of this process proves.

        Raises:
            RequestRefusedError: It is not one, was changed, or has expired.
        """
        try:
            ear = Ear.verify(token.value, self._key)
        except (RefusedError, FormatError) as error:
            raise RequestRefusedError(
                Problem.BAD_TOKEN,
                "bearer token",
                expected="one that this broker has issued since it was started",
                got="another one",
                where="header Authorization",
                hint=_ATTEST_AGAIN,
            ) from error
        # From here on every claim is as it was issued: the signature is ours.
        if ear.expires is None or now >= ear.expires:
            ago = 0 if ear.expires is None else int((now - ear.expires).total_seconds())
            raise RequestRefusedError(
                Problem.BAD_TOKEN,
                "bearer token",
                expected="one that is valid",
                got=f"one that expired {ago} seconds ago",
                where="header Authorization",
                hint=_ATTEST_AGAIN,
            )
        return _workload(ear)


def _workload(ear: Ear) -> AttestedWorkload:
    cpu = ear.submodules[_SUBMODULE].further
    jwk = cpu[EVIDENCE]["runtime_data_claims"]["tee-pubkey"]
    return AttestedWorkload(
        name=cpu[POLICY_CLAIMS]["workload"],
        simulated=cpu[POLICY_CLAIMS]["simulated"],
        mrenclave=MrEnclave(bytes.fromhex(cpu[EVIDENCE]["sgx"]["body"]["mr_enclave"])),
        tee_public_key=TeePublicKey(x=decode_base64url(jwk["x"]) or b"", y=decode_base64url(jwk["y"]) or b""),
        session=ear.id or "",
    )


def _submodule(workload: AttestedWorkload, session: Session, result: AttestationResult) -> Submodule:
    runtime_data = {
        "tee-pubkey": workload.tee_public_key.document(),
        "nonce": session.nonce,
        "additional-evidence": "",
    }
    return submodule_of(
        replace(result, simulated=result.simulated or workload.simulated),
        _POLICY_ID,
        {
            EVIDENCE: {"runtime_data_claims": runtime_data},
            POLICY_CLAIMS: {"workload": workload.name, "simulated": workload.simulated},
        },
    )

"""A manufacturer of platforms, for tests: what Intel signs and publishes, made with keys of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral import EnclaveId
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.quote import Tee
from casemate.simulator.documents import encode_enclave_identity, encode_tcb_info
from casemate.simulator.endorsements import DOCUMENT_LIFE, ROOT_CRL_LIFE, Standing
from casemate.simulator.pki import (
    CERTIFICATE_AGE,
    CertificateProfile,
    Identity,
    PckAuthority,
    issue_certificate,
    issue_crl,
    new_key,
)
from casemate.simulator.platform import SimulatedPlatform

#: The TCB evaluation data numbers that there are; the last one is early, the one before it is the standard.
NUMBERS = (16, 17, 18)
#: Older ones that there were.
WITHDRAWN = range(1, 16)
_TECHNOLOGIES = {"sgx": Tee.SGX, "tdx": Tee.TDX}


@dataclass(frozen=True, kw_only=True)
class KnownPlatform:
    """A platform that the manufacturer knows.

    Attributes:
        simulated: What makes its quotes.
        qe_id: Hexadecimal.
        encrypted_ppid: Hexadecimal, by which it is asked for.
        manifest: Hexadecimal, likewise; empty for platforms of one package.
        levels: PCK certificates by tcbm, the newest first; ``None`` is not available.
    """

    simulated: SimulatedPlatform
    qe_id: str
    encrypted_ppid: str
    manifest: str
    levels: Mapping[str, Identity | None]

    @property
    def extension(self) -> PckExtension:
        return self.simulated.sgx_extension

    @property
    def fmspc(self) -> str:
        return self.extension.fmspc.hex()

    @property
    def pce_id(self) -> str:
        return self.extension.pce_id.hex()

    @property
    def cpu_svn(self) -> str:
        return self.extension.cpu_svn.hex()

    @property
    def pce_svn(self) -> str:
        return self.extension.pce_svn.to_bytes(2, "little").hex()


@dataclass(kw_only=True)
class Manufacturer:
    """Signs documents, issues certificates and revokes them.

    Attributes:
        issued_at: From when its documents are valid; set it to publish anew.
        root: Its root.
        tcb_signer: Signs TCB info and identities.
        authorities: Certify platforms.
        platforms: Those that it knows.
        standing: How its platforms stand.
        standard: The TCB evaluation data number of the standard documents.
        revoked: Serial numbers of PCK certificates on the CRLs.
    """

    issued_at: datetime
    root: Identity
    tcb_signer: Identity
    authorities: dict[PckAuthority, Identity]
    platforms: list[KnownPlatform] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    standard: int = NUMBERS[-2]
    revoked: tuple[int, ...] = ()
    _first: SimulatedPlatform
    _issued: dict[tuple[object, ...], bytes] = field(default_factory=dict)

    @classmethod
    def create(cls, now: datetime) -> Manufacturer:
        """A fresh root, both authorities, and one platform of several packages."""
        now = now.astimezone(UTC).replace(microsecond=0)
        platform = SimulatedPlatform.create(now, authority=PckAuthority.PLATFORM)
        made = platform.authorities
        maker = cls(
            issued_at=now,
            root=made.root,
            tcb_signer=made.tcb_signer,
            authorities={
                PckAuthority.PLATFORM: made.pck_ca,
                PckAuthority.PROCESSOR: _authority(made.root, PckAuthority.PROCESSOR, now),
            },
            _first=platform,
        )
        maker.add(platform, manifest=secrets.token_hex(8431))
        return maker

    @property
    def fmspc(self) -> str:
        """The family of its platforms, lower case."""
        return self._first.sgx_extension.fmspc.hex()

    def add(self, simulated: SimulatedPlatform, *, manifest: str = "") -> KnownPlatform:
        """Certify a platform: at its own TCB, at an older one, and not at one that is still to come."""
        own = simulated.sgx_extension
        older = replace(own, components=(own.components[0] - 1, *own.components[1:]))
        newer = replace(own, components=(own.components[0] + 1, *own.components[1:]))
        levels: dict[str, Identity | None] = {_tcbm(newer): None, _tcbm(own): simulated.quoting_enclave.pck}
        older = replace(older, cpu_svn=bytes(older.components))
        levels[_tcbm(older)] = simulated.authorities.issue_pck(
            self.issued_at, PckAuthority.PLATFORM, older.to_der()
        )
        known = KnownPlatform(
            simulated=simulated,
            qe_id=simulated.quoting_enclave.platform_id.hex(),
            encrypted_ppid=secrets.token_hex(384),
            manifest=manifest,
            levels=levels,
        )
        self.platforms.append(known)
        return known

    def number(self, edition: str) -> int | None:
        """What ``standard``, ``early`` or a number means; ``None`` when there is no such number."""
        if edition in {"standard", "early"}:
            return self.standard + (edition == "early")
        return int(edition) if edition.isdecimal() and int(edition) in NUMBERS else None

    def tcb_info(self, tee: str, fmspc: str, number: int) -> bytes | None:
        """``{"tcbInfo":…,"signature":…}``; ``None`` for a family that it does not make."""
        family = [known.simulated for known in self.platforms if known.fmspc == fmspc.lower()]
        if not family:
            return None
        return self._once(("tcb", tee, fmspc.lower(), number), lambda: self._tcb_info(family[0], tee, number))

    def identity(self, role: EnclaveId, number: int) -> bytes:
        """``{"enclaveIdentity":…,"signature":…}``."""
        return self._once(("identity", role, number), lambda: self._identity(role, number))

    def evaluation_numbers(self, tee: str) -> bytes:
        """``{"tcbEvaluationDataNumbers":…,"signature":…}``."""
        return self._once(("numbers", tee), lambda: self._evaluation_numbers(tee))

    def pck_crl(self, authority: PckAuthority) -> bytes:
        """DER."""
        next_update = self.issued_at + DOCUMENT_LIFE
        return self._once(
            ("pck-crl", authority, self.revoked),
            lambda: issue_crl(
                self.authorities[authority],
                this_update=self.issued_at,
                next_update=next_update,
                revoked=self.revoked,
            ),
        )

    def root_crl(self) -> bytes:
        """DER."""
        next_update = self.issued_at + ROOT_CRL_LIFE
        return self._once(
            ("root-crl",),
            lambda: issue_crl(self.root, this_update=self.issued_at, next_update=next_update),
        )

    def signer_chain(self) -> str:
        """URL-encoded, as in headers."""
        return self._chain(self.tcb_signer)

    def authority_chain(self, authority: PckAuthority) -> str:
        """URL-encoded, as in headers."""
        return self._chain(self.authorities[authority])

    def signed(self, member: str, document: bytes) -> bytes:
        """A document of any content, signed."""
        signature = self.tcb_signer.sign(document).hex().encode()
        return b'{"%s":%s,"signature":"%s"}' % (member.encode(), document, signature)

    def _tcb_info(self, platform: SimulatedPlatform, tee: str, number: int) -> bytes:
        said = platform.statements(self.issued_at, tee=_TECHNOLOGIES[tee], standing=self.standing)
        info = replace(said.tcb_info, tcb_evaluation_data_number=number)
        return self.signed("tcbInfo", encode_tcb_info(info))

    def _identity(self, role: EnclaveId, number: int) -> bytes:
        tee = Tee.TDX if role is EnclaveId.TD_QE else Tee.SGX
        said = self._first.statements(self.issued_at, tee=tee, standing=self.standing)
        identity = replace(said.enclave_identity, id=role, tcb_evaluation_data_number=number)
        return self.signed("enclaveIdentity", encode_enclave_identity(identity))

    def _evaluation_numbers(self, tee: str) -> bytes:
        dates = {number: f"20{number + 6}-03-11T00:00:00Z" for number in NUMBERS}
        document = {
            "id": tee.upper(),
            "version": 1,
            "issueDate": _date(self.issued_at),
            "nextUpdate": _date(self.issued_at + DOCUMENT_LIFE),
            "tcbEvalNumbers": [
                {"tcbEvaluationDataNumber": number, "tcbRecoveryEventDate": date, "tcbDate": date}
                for number, date in sorted(dates.items(), reverse=True)
            ],
        }
        return self.signed("tcbEvaluationDataNumbers", json.dumps(document).encode())

    def _once(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """A document does not change until it is published anew, whatever is random in a signature."""
        whole = (self.issued_at, self.standing, *key)
        if whole not in self._issued:
            self._issued[whole] = make()
        return self._issued[whole]

    def _chain(self, signer: Identity) -> str:
        return quote(encode_certificates((signer.certificate, self.root.certificate)).decode())


def _authority(root: Identity, authority: PckAuthority, now: datetime) -> Identity:
    profile = CertificateProfile(
        common_name=authority.common_name,
        not_before=now - CERTIFICATE_AGE,
        life=timedelta(days=15 * 365),
        crl_url="https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        path_length=0,
    )
    return issue_certificate(key=new_key(), issuer=root, profile=profile)


def _tcbm(extension: PckExtension) -> str:
    return bytes(extension.components).hex() + extension.pce_svn.to_bytes(2, "little").hex()


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""A software platform: processor secret, PCK, quoting enclave and the authorities that endorse them.

Nothing here is a secret of anyone or a trust anchor of anything: every platform makes its own root, and a
verifier accepts it only where that root is named.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from casemate.errors import FormatError
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.pck import PckExtension, PlatformConfiguration, SgxType
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.simulator.endorsements import Standing, Statements, state
from casemate.simulator.pki import (
    Authorities,
    Identity,
    PckAuthority,
    load_private_key,
    new_key,
    private_key_pem,
)
from casemate.simulator.quoting import QUOTING_ENCLAVE, TD_QUOTING_ENCLAVE, QuotingEnclave

#: A processor family with SGX on several packages (Ice Lake server).
FMSPC = bytes.fromhex("00606a000000")
_COMPONENTS = (14, 14, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_PCE_SVN = 13
_CONFIGURATION = PlatformConfiguration(dynamic_platform=True, cached_keys=False, smt_enabled=False)
_SECRET_SIZE = 32

_ROOT, _PCK_CA, _TCB_SIGNER, _PCK = "root", "pck-ca", "tcb-signing", "pck"
_ATTESTATION_KEY = "attestation.key"
_SECRET = "platform.secret"  # noqa: S105  # the name of a file
_COLLATERAL = "collateral.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPlatform:
    """One software platform.

    Attributes:
        authorities: Its simulated manufacturer.
        sgx_extension: What the PCK certificate says about it.
        quoting_enclave: Makes its quotes of enclaves.
        secret: Stands for the fuses of the processor, 32 bytes; never printed.
        collateral: What its manufacturer says about it, for SGX.
    """

    authorities: Authorities
    sgx_extension: PckExtension
    quoting_enclave: QuotingEnclave
    secret: bytes = field(repr=False)
    collateral: Collateral

    @classmethod
    def create(
        cls,
        now: datetime,
        *,
        authority: PckAuthority = PckAuthority.PLATFORM,
        standing: Standing | None = None,
        sgx_extension: PckExtension | None = None,
    ) -> SimulatedPlatform:
        """A platform with fresh keys and a fresh root.

        Args:
            now: When it is endorsed, with a time zone: CRLs, TCB info and QE identity begin here and are
                valid for 30 days.
            authority: Which kind of authority certifies its PCK.
            standing: How it stands with its manufacturer; by default everything is up to date.
            sgx_extension: What its PCK certificate says about it; by default what :func:`sgx_extension_of`
                gives for ``authority``.
        """
        moment = now.astimezone(UTC).replace(microsecond=0)
        authorities = Authorities.create(moment, authority)
        extension = sgx_extension or sgx_extension_of(authority)
        pck = authorities.issue_pck(moment, authority, extension.to_der())
        quoting_enclave = _quoting_enclave(authorities, extension, pck, new_key(), secrets.token_bytes(16))
        statements = state(
            authorities,
            pck,
            extension,
            quoting_enclave.body,
            tee=Tee.SGX,
            now=moment,
            standing=standing or Standing(),
        )
        return cls(
            authorities=authorities,
            sgx_extension=extension,
            quoting_enclave=quoting_enclave,
            secret=secrets.token_bytes(_SECRET_SIZE),
            collateral=statements.sign(authorities),
        )

    def endorsed(self, now: datetime, standing: Standing) -> SimulatedPlatform:
        """The same platform, with collateral issued at ``now``: renewed, or after a TCB recovery."""
        return replace(self, collateral=self.sign(self.statements(now, standing=standing)))

    def statements(
        self, now: datetime, *, tee: Tee = Tee.SGX, standing: Standing | None = None
    ) -> Statements:
        """What its manufacturer says about it from ``now`` on: values to change before they are signed.

        Args:
            now: From when it is valid, with a time zone.
            tee: About which technology.
            standing: How it stands; by default everything is up to date.
        """
        quoting_enclave = self.quoting_enclave if tee is Tee.SGX else self.td_quoting_enclave
        return state(
            self.authorities,
            quoting_enclave.pck,
            self.sgx_extension,
            quoting_enclave.body,
            tee=tee,
            now=now.astimezone(UTC).replace(microsecond=0),
            standing=standing or Standing(),
        )

    def sign(self, statements: Statements) -> Collateral:
        """Collateral in which its manufacturer says this."""
        return statements.sign(self.authorities)

    @property
    def td_quoting_enclave(self) -> QuotingEnclave:
        """Makes its quotes of trust domains: another enclave, with the attestation key of the first."""
        body = TD_QUOTING_ENCLAVE._replace(cpu_svn=self.quoting_enclave.body.cpu_svn)
        return replace(self.quoting_enclave, body=body)

    @property
    def root_certificate(self) -> bytes:
        """The certificate of the root, PEM: what a verifier has to be told to accept this platform."""
        return self.authorities.root.certificate_pem()

    def quote(self, report: ReportBody | TdReport, *, version: int | None = None) -> bytes:
        """A quote over the report of an enclave or a trust domain of this platform.

        Args:
            report: The report.
            version: Of the quote; by default the one in which Intel's libraries quote such a report.

        Raises:
            FormatError: The version cannot carry the report.
        """
        of_enclave = isinstance(report, ReportBody)
        return (self.quoting_enclave if of_enclave else self.td_quoting_enclave).quote(
            report, version=version
        )

    def derive_key(self, *identity: bytes) -> bytes:
        """What EGETKEY would give for ``identity``: 16 bytes that only this platform can make again."""
        message = b"".join(len(part).to_bytes(4, "big") + part for part in identity)
        return hmac.digest(self.secret, message, "sha256")[:16]

    def to_files(self) -> dict[str, bytes]:
        """The platform as files, name to content. All but the certificates and the collateral are private."""
        identities = {
            _ROOT: self.authorities.root,
            _PCK_CA: self.authorities.pck_ca,
            _TCB_SIGNER: self.authorities.tcb_signer,
            _PCK: self.quoting_enclave.pck,
        }
        files = {
            _ATTESTATION_KEY: private_key_pem(self.quoting_enclave.attestation_key),
            _SECRET: self.secret + self.quoting_enclave.platform_id,
            _COLLATERAL: self.collateral.to_json(),
        }
        for name, identity in identities.items():
            files[f"{name}.pem"] = identity.certificate_pem()
            files[f"{name}.key"] = identity.key_pem()
        return files

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> SimulatedPlatform:
        """What :meth:`to_files` gave.

        Raises:
            FormatError: A file is missing, or is not what its name says.
        """
        authorities = Authorities(
            root=_identity(files, _ROOT),
            pck_ca=_identity(files, _PCK_CA),
            tcb_signer=_identity(files, _TCB_SIGNER),
        )
        pck = _identity(files, _PCK)
        extension = PckExtension.parse(pck.sgx_extension())
        secret = _file(files, _SECRET)
        if len(secret) != _SECRET_SIZE + 16:
            raise FormatError(
                "platform secret",
                expected=f"{_SECRET_SIZE + 16} bytes",
                got=f"{len(secret)} bytes",
                where=_SECRET,
            )
        attestation_key = load_private_key(_file(files, _ATTESTATION_KEY), where=_ATTESTATION_KEY)
        return cls(
            authorities=authorities,
            sgx_extension=extension,
            quoting_enclave=_quoting_enclave(
                authorities, extension, pck, attestation_key, secret[_SECRET_SIZE:]
            ),
            secret=secret[:_SECRET_SIZE],
            collateral=Collateral.parse_json(_file(files, _COLLATERAL)),
        )


def _quoting_enclave(
    authorities: Authorities,
    extension: PckExtension,
    pck: Identity,
    attestation_key: ec.EllipticCurvePrivateKey,
    platform_id: bytes,
) -> QuotingEnclave:
    return QuotingEnclave(
        body=QUOTING_ENCLAVE._replace(cpu_svn=extension.cpu_svn),
        attestation_key=attestation_key,
        pck=pck,
        pck_chain=(authorities.pck_ca.certificate, authorities.root.certificate),
        pce_svn=extension.pce_svn,
        platform_id=platform_id,
    )


def sgx_extension_of(authority: PckAuthority) -> PckExtension:
    """What a PCK certificate says by default, with a fresh PPID: values to change for another platform.

    A platform of several packages for the platform authority, of one for the processor authority.
    """
    several = authority is PckAuthority.PLATFORM
    return PckExtension(
        ppid=secrets.token_bytes(16),
        components=_COMPONENTS,
        pce_svn=_PCE_SVN,
        cpu_svn=bytes(_COMPONENTS),
        pce_id=bytes(2),
        fmspc=FMSPC,
        sgx_type=SgxType.SCALABLE if several else SgxType.STANDARD,
        platform_instance_id=secrets.token_bytes(16) if several else None,
        configuration=_CONFIGURATION if several else None,
    )


def _identity(files: Mapping[str, bytes], name: str) -> Identity:
    certificate, key = _file(files, f"{name}.pem"), _file(files, f"{name}.key")
    return Identity.from_pem(certificate, key, where=name)


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise FormatError("simulated platform", expected=f"the file {name}", got="none")
    return files[name]

"""Values for a collateral store; nothing in them has to be vouched for, because a store does not look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from casemate.collateral.names import (
    CertificateAuthority,
    DocumentName,
    EnclaveRole,
    EvaluationNumbersName,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.store import (
    Entry,
    PckCertificate,
    Platform,
    PlatformId,
    RawTcb,
    Registration,
    RegistrationState,
)

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
LIFE = timedelta(days=30)
TCB_INFO = TcbInfoName(tee=Tee.SGX, fmspc="00606a000000", edition=Update.STANDARD)
QE_IDENTITY = IdentityName(role=EnclaveRole.QE, edition=Update.STANDARD)
#: One of each kind, and in the order of a store.
NAMES: tuple[DocumentName, ...] = (
    EvaluationNumbersName(tee=Tee.TDX),
    IdentityName(role=EnclaveRole.QE, edition=Update.EARLY),
    QE_IDENTITY,
    PckCrlName(authority=CertificateAuthority.PLATFORM),
    RootCrlName(),
    TcbInfoName(tee=Tee.SGX, fmspc="00606a000000", edition=Update.STANDARD, version=3),
    TcbInfoName(tee=Tee.SGX, fmspc="00606a000000", edition=17),
    TCB_INFO,
    TcbInfoName(tee=Tee.TDX, fmspc="00606a000000", edition=Update.STANDARD),
)
#: Not text in any encoding.
BYTES = bytes(range(256))


def entry(
    name: DocumentName = TCB_INFO,
    body: bytes = BYTES,
    *,
    evaluation_number: int | None = 17,
    begins: datetime = NOW,
) -> Entry:
    """An entry that is valid for :data:`LIFE`."""
    return Entry(
        name=name,
        body=body,
        issuer_chain=b"-----BEGIN\n",
        fetched_at=NOW,
        begins=begins,
        ends=begins + LIFE,
        evaluation_number=evaluation_number,
    )


def platform_id(number: int = 1) -> PlatformId:
    return PlatformId(qe_id=f"{number:032x}", pce_id="0000")


def platform(number: int = 1, *tcbs: RawTcb, fmspc: str = "00606a000000", certificates: int = 2) -> Platform:
    """A platform with as many certificates, the newest first."""
    return Platform(
        id=platform_id(number),
        encrypted_ppid="ab" * 384,
        manifest="",
        fmspc=fmspc,
        authority=CertificateAuthority.PLATFORM,
        issuer_chain=b"chain",
        certificates=tuple(
            PckCertificate(tcbm=f"{level:036x}", pem=BYTES + bytes([level]))
            for level in reversed(range(certificates))
        ),
        tcbs=tcbs,
        fetched_at=NOW,
    )


def registration(number: int = 1, state: RegistrationState = RegistrationState.NEW) -> Registration:
    return Registration(
        id=platform_id(number),
        tcb=RawTcb(cpu_svn="0e" * 16, pce_svn="0d00"),
        encrypted_ppid="ab" * 384,
        manifest="cd" * 8431,
        state=state,
    )

"""What is kept, and what keeps it.

Everything in a store was vouched for (:mod:`casemate.verifier.vouching`) before it got there, except
registrations, which are what platforms say of themselves. Several processes may use one store at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from casemate.collateral.names import CertificateAuthority, DocumentName


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One document.

    Attributes:
        name: What it is.
        body: Its bytes, exactly as they were received; CRLs are DER.
        issuer_chain: PEM of the signer's certificate and of the root, as they were received, decoded from
            the header; empty where the document has none (the root's CRL).
        fetched_at: When it was received.
        begins: From when all of it is valid.
        ends: Until when all of it is valid, certificates included.
        evaluation_number: The TCB evaluation data number, where it has one.
    """

    name: DocumentName
    body: bytes
    issuer_chain: bytes
    fetched_at: datetime
    begins: datetime
    ends: datetime
    evaluation_number: int | None = None

    @property
    def etag(self) -> str:
        """A strong validator (RFC 9110, section 8.8.3) of body and chain, with its quotation marks."""
        parts = (len(self.body).to_bytes(8, "big"), self.body, self.issuer_chain)
        return f'"{hashlib.sha256(b"".join(parts)).hexdigest()[:32]}"'

    @property
    def precedence(self) -> tuple[int, datetime]:
        """An entry with a lower one never replaces this: (evaluation number or 0, begins)."""
        return (self.evaluation_number or 0, self.begins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An entry without its bytes, for metrics and overviews.

    Attributes:
        name: What it is.
        fetched_at: When it was received.
        ends: Until when it is valid.
        evaluation_number: As in :class:`Entry`.
        failures: How often its renewal has failed in a row.
        reason: Why it failed last; empty when it did not.
    """

    name: DocumentName
    fetched_at: datetime
    ends: datetime
    evaluation_number: int | None
    failures: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to renew one document, until the lease ends.

    Attributes:
        name: The document.
        failures: How often its renewal has failed in a row.
        lease: What tells this claim from one that another process takes when the lease has ended.
    """

    name: DocumentName
    failures: int
    lease: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformId:
    """A platform as its quoting enclave names it.

    Attributes:
        qe_id: Identifier of the quoting enclave, 1 to 260 printable ASCII characters, lower case.
        pce_id: Provisioning certification enclave, 4 hexadecimal digits, lower case.
    """

    qe_id: str
    pce_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTcb:
    """The security versions that a platform runs at; hexadecimal, lower case.

    Attributes:
        cpu_svn: 32 digits.
        pce_svn: 4 digits, little-endian.
        tcbm: The certificate that an upstream cache has chosen for it; empty where the choice is made here.
    """

    cpu_svn: str
    pce_svn: str
    tcbm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PckCertificate:
    """A PCK certificate for one TCB level.

    Attributes:
        tcbm: CPUSVN and PCESVN that it certifies: 36 hexadecimal digits, lower case, as in ``SGX-TCBm``.
        pem: The certificate, PEM.
    """

    tcbm: str
    pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform with all its PCK certificates.

    Attributes:
        id: Which one.
        encrypted_ppid: Hexadecimal, 768 digits; empty when it is not known.
        manifest: Platform manifest, hexadecimal; empty for platforms of one package.
        fmspc: Its family, 12 hexadecimal digits, lower case.
        authority: Who certifies it.
        issuer_chain: PEM of the authority's certificate and of the root.
        certificates: At least one.
        tcbs: At which it is known to have run.
        fetched_at: When the certificates were received.
    """

    id: PlatformId
    encrypted_ppid: str
    manifest: str
    fmspc: str
    authority: CertificateAuthority
    issuer_chain: bytes
    certificates: tuple[PckCertificate, ...]
    tcbs: tuple[RawTcb, ...]
    fetched_at: datetime


class RegistrationState(Enum):
    """What has become of a registration; the value is PCCS's number.

    ``NEW`` waits for its certificates, ``NOT_AVAILABLE`` is of a platform for some of whose TCB levels Intel
    has none, ``DELETED`` was taken from the queue.
    """

    NEW = 0
    NOT_AVAILABLE = 1
    DELETED = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a platform has said of itself; nothing of it is checked but its form.

    Attributes:
        id: Which platform; with ``tcb`` the key of a registration.
        tcb: At which security versions; ``cpu_svn`` and ``pce_svn`` may be empty.
        encrypted_ppid: Hexadecimal; empty when it is not told.
        manifest: Platform manifest, hexadecimal; empty for platforms of one package.
        state: What has become of it.
    """

    id: PlatformId
    tcb: RawTcb
    encrypted_ppid: str
    manifest: str
    state: RegistrationState = RegistrationState.NEW


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """A policy that a cluster hands out to its verifiers, as it was given.

    Attributes:
        id: SHA-384 of the policy, hexadecimal.
        fmspc: The family that it is for, 12 hexadecimal digits, lower case.
        type: What it appraises, in the words of whoever keeps it; a family has one default of each type.
        is_default: It is given to whoever asks for the family's policies.
        policy: The policy, a JWT.
    """

    id: str
    fmspc: str
    type: str = ""
    is_default: bool
    policy: str


class CollateralStore(Protocol):
    """Where everything is kept. Thread-safe, and safe for several processes on one database.

    Every method that writes does so in one transaction of its own: killed at any moment, a store holds what
    it held before or what it should hold after. All raise :class:`casemate.errors.ServiceError` when the
    store cannot be used. Methods may block; times have a time zone.
    """

    def revision(self) -> int:
        """A number that has changed when anything but a lease was written, by whichever process. Cheap."""
        ...

    def get(self, name: DocumentName) -> Entry | None:
        """The entry of this name."""
        ...

    def put(self, entry: Entry, *, refresh_at: datetime) -> bool:
        """Keep ``entry`` in the place of the one with its name; ends its claim and forgets its failures.

        The rule is the store's, because several processes write: an entry is never replaced by one of a
        lower :attr:`Entry.precedence`. Then only ``refresh_at``, the claim and the failures change.

        Args:
            entry: What was vouched for.
            refresh_at: When it shall be renewed.

        Returns:
            Whether ``entry`` is what the store holds now.
        """
        ...

    def delete(self, name: DocumentName) -> bool:
        """Forget an entry; returns whether there was one."""
        ...

    def entries(self) -> Iterator[Entry]:
        """All entries, ordered by kind and key."""
        ...

    def listing(self) -> tuple[Listed, ...]:
        """All entries without their bytes, ordered by kind and key."""
        ...

    def claim_due(self, now: datetime, *, lease_until: datetime) -> Claim | None:
        """Take the entry that is due for the longest time, unless another process is at it.

        An entry is due when its ``refresh_at`` is at or before ``now`` and it is not leased beyond ``now``.
        """
        ...

    def postpone(self, claim: Claim, *, refresh_at: datetime, reason: str) -> None:
        """The renewal of a claimed entry has failed: count it, end the lease, try again at ``refresh_at``.

        Does nothing when the claim is not the present one.
        """
        ...

    def make_due(self, now: datetime) -> int:
        """Make all entries due at ``now`` whatever their ``refresh_at``; returns how many there are."""
        ...

    def platform(self, platform: PlatformId) -> Platform | None:
        """The platform of this id."""
        ...

    def put_platform(self, platform: Platform) -> None:
        """Keep a platform and exactly its certificates; its TCBs are added to those that are known.

        A TCB that is known takes over ``tcbm``.
        """
        ...

    def add_tcb(self, platform: PlatformId, tcb: RawTcb) -> None:
        """Remember that a platform runs at ``tcb``; does nothing when there is no such platform."""
        ...

    def platforms(self, fmspcs: tuple[str, ...] = ()) -> Iterator[Platform]:
        """The platforms of these families, or all; ordered by id."""
        ...

    def register(self, registration: Registration) -> None:
        """Queue a registration; one with the same platform and TCB is replaced."""
        ...

    def registrations(self, state: RegistrationState) -> tuple[Registration, ...]:
        """The registrations in this state, in the order in which they came."""
        ...

    def take_registrations(self, state: RegistrationState) -> tuple[Registration, ...]:
        """As :meth:`registrations`, and marks them as deleted, in one transaction: none is given twice."""
        ...

    def put_policy(self, policy: AppraisalPolicy) -> None:
        """Keep a policy; as a default it takes the place of the family's former default."""
        ...

    def policies(self, fmspc: str) -> tuple[AppraisalPolicy, ...]:
        """The default policies of a family."""
        ...

    def all_policies(self) -> tuple[AppraisalPolicy, ...]:
        """All policies, ordered by id."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...

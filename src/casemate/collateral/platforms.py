"""Platforms: their registration, their PCK certificates, and which of them is for a TCB."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from casemate.collateral.admission import admit_platform, require_same_platform, trust_of
from casemate.collateral.documents import Documents, Mode, Surroundings, refusal_of
from casemate.collateral.flights import Flights
from casemate.collateral.names import (
    CertificateAuthority,
    DocumentName,
    EnclaveRole,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.collateral.selection import levels_of, select
from casemate.collateral.store import (
    PckCertificate,
    Platform,
    PlatformId,
    RawTcb,
    Registration,
    RegistrationState,
)
from casemate.collateral.upstream import PckAnswer, PckQuery, UpstreamError, UpstreamProblem
from casemate.errors import RefusedError
from casemate.verifier.vouching import vouch_for_pck_certificate

_log = logging.getLogger(__name__)
#: Certificates younger than this are not asked for again because a platform was updated.
_RECENT = timedelta(hours=1)
#: TCBs of one platform that are remembered: anybody can ask for any.
MOST_TCBS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The certificate for a platform at a TCB."""

    platform: Platform
    certificate: PckCertificate


class Platforms:
    """The platforms of one service.

    Args:
        surroundings: What they are kept with.
        documents: TCB info, by which certificates are chosen.
        mode: When the upstream service is asked.
    """

    def __init__(self, surroundings: Surroundings, documents: Documents, mode: Mode) -> None:
        self._around = surroundings
        self._documents = documents
        self._mode = mode
        self._flights: Flights[Platform] = Flights(surroundings.waiting)

    def certificate(self, query: PckQuery) -> Chosen:
        """The certificate for a platform that asks for one.

        Raises:
            CollateralRefusedError: There is none to give out; why, and what to do.
        """
        platform = self._around.store.platform(query.id)
        if platform is None:
            if self._mode is not Mode.LAZY:
                raise CollateralRefusedError(
                    Problem.UNKNOWN_PLATFORM,
                    "platform",
                    expected="one that was registered",
                    got=_short(query.id),
                    hint="register it with POST platforms (PCKIDRetrievalTool does)",
                )
            platform = self.fetch(query)
        elif self._mode is Mode.LAZY and _known(platform, query.tcb) is None:
            platform = self._at_new_tcb(platform, query)
        certificate = self._choose(platform, query.tcb)
        self._require_valid(platform, certificate)
        return Chosen(platform=platform, certificate=certificate)

    def _at_new_tcb(self, platform: Platform, query: PckQuery) -> Platform:
        """The platform after an update of its own: Intel may have certificates that it had not before."""
        if _is_chosen_upstream(platform):
            return self.fetch(query, known=platform)
        if self._around.clock() - platform.fetched_at < _RECENT:
            return platform
        known = replace(
            query,
            # Its own first: anybody may ask, and send somebody else's.
            encrypted_ppid=platform.encrypted_ppid or query.encrypted_ppid,
            manifest=platform.manifest or query.manifest,
        )
        try:
            return self.fetch(known, known=platform)
        except CollateralRefusedError as error:
            _log.warning("platform %s: certificates not renewed: %s", _short(query.id), error)
            return platform

    def fetch(self, query: PckQuery, *, insist: bool = False, known: Platform | None = None) -> Platform:
        """Ask the upstream service for a platform's certificates, vouch, keep.

        Args:
            query: Whose.
            insist: Ask even if they were not there a moment ago.
            known: The platform that has this name, where they have to be its own; ``None`` where whoever asks
                may say whose name it is.

        Raises:
            CollateralRefusedError: They were not given, or are not vouched for.
        """
        if query.encrypted_ppid and not query.encrypted_ppid.strip("0"):
            raise CollateralRefusedError(
                Problem.NO_DATA,
                "encrypted_ppid",
                expected="the encrypted PPID of the platform",
                got="zeros only",
                hint="the platform could not read it: register its manifest instead (POST platforms)",
            )
        try:
            return self._flights.join(
                (query, known is None), lambda: self._fetch(query, known, insist=insist)
            )
        except UpstreamError as error:
            refusal = refusal_of(error)
            if error.problem is UpstreamProblem.REJECTED and not (query.encrypted_ppid or query.manifest):
                refusal = CollateralRefusedError.from_error(Problem.INVALID, error)
            raise refusal from error
        except CollateralRefusedError:
            raise
        except RefusedError as error:
            self._around.counters.add("refused_documents_total", "pck-certificates")
            _log.warning("platform %s: certificates not kept: %s", _short(query.id), error)
            raise CollateralRefusedError.from_error(Problem.UPSTREAM, error) from error

    def register(self, registration: Registration, updates: tuple[Update, ...]) -> None:
        """Register a platform: fetch what it and its verifiers will need, or queue it while offline.

        Raises:
            CollateralRefusedError: Something of it could not be fetched; in registered mode the registration
                stays in the queue.
        """
        platform = self._around.store.platform(registration.id)
        if self._mode is Mode.OFFLINE:
            if not _is_cached(platform, registration):
                self._queue(registration, RegistrationState.NEW)
            return
        if platform is None or not _is_cached(platform, registration):
            if self._mode is Mode.REGISTERED:
                self._queue(registration, RegistrationState.NEW)
            manifest = registration.manifest or (platform.manifest if platform else "")
            query = PckQuery(
                id=registration.id,
                tcb=registration.tcb,
                encrypted_ppid=registration.encrypted_ppid,
                manifest=manifest,
            )
            platform = self.fetch(query)
            if self._mode is Mode.REGISTERED:
                self._queue(registration, RegistrationState.DELETED)
        self._fetch_missing(_for_verifiers(platform.fmspc, updates))
        if registration.tcb.cpu_svn:
            self._choose(platform, registration.tcb)

    def refresh(self, fmspcs: tuple[str, ...]) -> None:
        """Fetch the certificates of all platforms of these families, or of all, again.

        Raises:
            CollateralRefusedError: Some could not be fetched; the others were.
        """
        failed: list[CollateralRefusedError] = []
        count = 0
        for platform in self._around.store.platforms(fmspcs):
            for query in _queries(platform):
                count += 1
                try:
                    self.fetch(query, insist=True)
                except CollateralRefusedError as error:
                    failed.append(error)
        if failed:
            raise CollateralRefusedError(
                Problem.UNSERVICEABLE,
                "refresh of certificates",
                expected=f"{count} answers",
                got=f"{len(failed)} failures, the first of which is: {failed[0]}",
                hint=failed[0].hint,
                retry_after=failed[0].retry_after,
            )

    def _fetch(self, query: PckQuery, known: Platform | None, *, insist: bool) -> Platform:
        around = self._around
        if around.asking is None:
            raise CollateralRefusedError(
                Problem.UNSERVICEABLE, "PCK certificates", got="no upstream service to ask"
            )
        answer = around.asking.pck_certificates(query, insist=insist)
        for tcbm in answer.missing if self._mode is Mode.REGISTERED else ():
            missing = RawTcb(cpu_svn=tcbm[:32], pce_svn=tcbm[32:])
            self._queue(_registration(query, missing), RegistrationState.NOT_AVAILABLE)
        if not answer.certificates:
            raise CollateralRefusedError(
                Problem.NO_CERTIFICATES if answer.missing else Problem.NO_DATA,
                "PCK certificates",
                expected="at least one",
                got=f"none; {len(answer.missing)} are not available",
                where=around.asking.name,
                hint="register the platform with Intel, then ask again",
            )
        now = around.clock()
        fetched = _platform(query, answer, around.store.platform(query.id), now)
        platform = admit_platform(fetched, trust_of(around.store, around.roots, now))
        if known is not None:
            require_same_platform(known, platform)
        around.store.put_platform(platform)
        around.changed()
        return platform

    def _choose(self, platform: Platform, tcb: RawTcb) -> PckCertificate:
        """The certificate for ``tcb``; remembers that the platform runs at it."""
        known = _known(platform, tcb)
        chosen = None if known is None else _certificate_of(platform, known.tcbm)
        if chosen is not None:
            return chosen
        certificate = select(platform.certificates, self._levels(platform), tcb)
        if certificate is None:
            raise CollateralRefusedError(
                Problem.NO_DATA,
                "PCK certificate",
                expected=f"one for CPUSVN {tcb.cpu_svn} and PCESVN {tcb.pce_svn} or less",
                got=f"{len(platform.certificates)}, each for more",
                where=_short(platform.id),
                hint="the platform runs below every TCB level that Intel certifies: update its microcode",
            )
        if known is None and len(platform.tcbs) < MOST_TCBS:
            self._around.store.add_tcb(platform.id, tcb)
        return certificate

    def _require_valid(self, platform: Platform, certificate: PckCertificate) -> None:
        """Certificates last for years, and platforms longer."""
        around = self._around
        trust = trust_of(around.store, around.roots, around.clock())
        try:
            vouch_for_pck_certificate(certificate.pem, platform.issuer_chain, trust)
        except RefusedError as error:
            refusal = CollateralRefusedError.from_error(Problem.NO_DATA, error)
            refusal.hint = "fetch the certificates of this family again: refresh with type=certs"
            raise refusal from error

    def _levels(self, platform: Platform) -> tuple[tuple[int, ...], ...]:
        """The TCB levels of the family: those just out where they are at hand, else the standard ones."""
        names = [TcbInfoName(tee=Tee.SGX, fmspc=platform.fmspc, edition=update) for update in Update]
        early = self._documents.find(names[1])
        return levels_of((early or self._documents.get(names[0]).entry).body)

    def _fetch_missing(self, names: Iterable[tuple[DocumentName, bool]]) -> None:
        """Fetch the documents that are not kept; those that may be missing may be missing upstream, too."""
        for name, may_be_missing in names:
            if self._documents.find(name) is not None:
                continue
            try:
                self._documents.fetch(name)
            except CollateralRefusedError as error:
                if not (may_be_missing and error.problem is Problem.NO_DATA):
                    raise

    def _queue(self, registration: Registration, state: RegistrationState) -> None:
        self._around.store.register(replace(registration, state=state))


def _registration(query: PckQuery, tcb: RawTcb) -> Registration:
    return Registration(id=query.id, tcb=tcb, encrypted_ppid=query.encrypted_ppid, manifest=query.manifest)


def _platform(query: PckQuery, answer: PckAnswer, before: Platform | None, now: datetime) -> Platform:
    """The platform that an answer speaks of; a cache has told one certificate, and the others stay."""
    certificates = {one.tcbm: one for one in answer.certificates}
    if answer.chosen and before is not None:
        certificates = {one.tcbm: one for one in before.certificates} | certificates
    asked = bool(query.tcb.cpu_svn and query.tcb.pce_svn)
    has_room = before is None or len(before.tcbs) < MOST_TCBS or _known(before, query.tcb) is not None
    return Platform(
        id=query.id,
        encrypted_ppid=query.encrypted_ppid or (before.encrypted_ppid if before else ""),
        manifest=query.manifest or (before.manifest if before else ""),
        fmspc=answer.fmspc,
        authority=answer.authority,
        issuer_chain=answer.issuer_chain,
        certificates=tuple(certificates[tcbm] for tcbm in sorted(certificates)),
        tcbs=(replace(query.tcb, tcbm=answer.chosen),) if asked and answer.chosen and has_room else (),
        fetched_at=now,
    )


def _queries(platform: Platform) -> tuple[PckQuery, ...]:
    """How to ask for a platform's certificates again: a cache chooses for one TCB at a time."""
    tcbs = platform.tcbs if _is_chosen_upstream(platform) else (RawTcb(cpu_svn="", pce_svn=""),)
    return tuple(
        PckQuery(
            id=platform.id,
            tcb=replace(tcb, tcbm=""),
            encrypted_ppid=platform.encrypted_ppid,
            manifest=platform.manifest,
        )
        for tcb in tcbs
    )


def _is_chosen_upstream(platform: Platform) -> bool:
    return any(tcb.tcbm for tcb in platform.tcbs)


def _known(platform: Platform, tcb: RawTcb) -> RawTcb | None:
    wanted = (tcb.cpu_svn, tcb.pce_svn)
    return next((one for one in platform.tcbs if (one.cpu_svn, one.pce_svn) == wanted), None)


def _is_cached(platform: Platform | None, registration: Registration) -> bool:
    """Whether nothing new is said of the platform; a manifest that is not told again is not a new one."""
    if platform is None:
        return False
    if registration.manifest:
        return registration.manifest == platform.manifest
    return _known(platform, registration.tcb) is not None


def _for_verifiers(fmspc: str, updates: Iterable[Update]) -> list[tuple[DocumentName, bool]]:
    """What verifiers of a platform's quotes will ask for, and whether Intel may not have it."""
    names: list[tuple[DocumentName, bool]] = [(RootCrlName(), False)]
    names += [(PckCrlName(authority=authority), False) for authority in CertificateAuthority]
    for update in updates:
        is_early = update is Update.EARLY
        names += [
            (TcbInfoName(tee=tee, fmspc=fmspc, edition=update), is_early or tee is Tee.TDX) for tee in Tee
        ]
        names += [
            (IdentityName(role=role, edition=update), is_early or role is not EnclaveRole.QE)
            for role in (EnclaveRole.QE, EnclaveRole.TD_QE, EnclaveRole.QVE)
        ]
    return names


def _short(platform: PlatformId) -> str:
    return f"QE {platform.qe_id[:32]}, PCEID {platform.pce_id}"


def _certificate_of(platform: Platform, tcbm: str) -> PckCertificate | None:
    """The certificate that was chosen before; ``None`` when the platform does not have it any more."""
    return next((one for one in platform.certificates if tcbm and one.tcbm == tcbm), None)

"""One line of a batch in, its result out. Each process of a batch has one judge, with its own memory."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from casemate.cli.second_opinion import SECOND_OPINION, agrees
from casemate.cli.verify_batch_collateral import CollateralSet, propose
from casemate.cli.verify_batch_files import Digests, NeighbouringCertificates, Recent, read_bounded
from casemate.errors import CasemateError, FormatError, ToolchainError
from casemate.formats.one_line import one_line
from casemate.verifier.checklist import MAX_TEXT
from casemate.verifier.issuers import Issuers
from casemate.verifier.policy import Policy
from casemate.verifier.requirements import GENUINENESS, Requirement, Stage
from casemate.verifier.result import AttestationResult, Verdict
from casemate.verifier.roots import TrustRoots

if TYPE_CHECKING:
    from casemate.adapters.dcap_qvl_opinion import SecondOpinion, SecondVerifier

#: Bytes of a line. Five paths of the longest kind that Linux has fit.
MAX_LINE_SIZE: Final = 32_768
#: Sets of collateral that a judge remembers, verified, each of about 60 KiB.
_MOST_SETS: Final = 256
#: Platforms that it remembers under all of them together, each of about 10 KiB, before it forgets the set
#: that was used the longest ago.
_MOST_PLATFORMS: Final = 8192
#: What is refused of a line that cannot be judged at all.
_INPUT: Final = "input"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: The first second of the year 1 and the last of the year 9999.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_DOCUMENTS = ("tcb_info", "qe_identity", "root_crl", "pck_crl")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a line asks for. Other members are somebody else's, unless they are nearly one of these."""

    quote: str
    tcb_info: str | None = None
    qe_identity: str | None = None
    root_crl: str | None = None
    pck_crl: str | None = None
    collateral: str | None = None
    at: Annotated[int, msgspec.Meta(ge=_FIRST, le=_LAST)] | None = None

    @property
    def documents(self) -> tuple[str, ...]:
        """The paths of the collateral: one, or four in their order.

        Raises:
            FormatError: Neither, or both.
        """
        paths = (self.tcb_info, self.qe_identity, self.root_crl, self.pck_crl)
        if self.collateral is not None and not any(paths):
            return (self.collateral,)
        given = tuple(path for path in paths if path is not None)
        if self.collateral is None and len(given) == len(_DOCUMENTS):
            return given
        absent = [name for name, path in zip(_DOCUMENTS, paths, strict=True) if path is None]
        raise FormatError(
            "collateral",
            expected=f"the members {', '.join(_DOCUMENTS)}, or the member collateral",
            got="both" if self.collateral is not None else f"no {', no '.join(absent)}",
        )


class Refusal(msgspec.Struct, frozen=True):
    """Why a quote is not genuine, or what it is worth cannot be said."""

    step: str
    expected: str
    found: str


class PolicyResult(msgspec.Struct, frozen=True):
    """What the policy says, where there is one."""

    accepted: bool
    refused_by: tuple[Refusal, ...]
    granted: tuple[str, ...]


class Result(msgspec.Struct, frozen=True):
    """What is printed for a line; the last two members only where they were asked for."""

    genuine: bool
    tcb_status: str | None
    debug: bool
    advisories: tuple[str, ...]
    refused_by: tuple[Refusal, ...]
    policy: PolicyResult | msgspec.UnsetType = msgspec.UNSET
    second_opinion: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under what a batch is judged.

    Attributes:
        roots: The roots that are trusted.
        certificates: From which chains are built; ``None`` for those that lie beside the collateral.
        folders: Where a relative path may begin, the first in which something lies.
        at: The instant for lines that name none; ``None``: when each of them is judged.
        policy: What is accepted; ``None``: nobody asks.
        second: Another verifier to be asked as well.
    """

    roots: TrustRoots
    certificates: tuple[bytes, ...] | None
    folders: tuple[str, ...]
    at: datetime | None
    policy: Policy | None = None
    second: SecondVerifier | None = None


class Judge:
    """Judges lines, and remembers what it has verified for those that follow.

    Args:
        terms: Under what.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._issuers = Issuers(terms.certificates or ())
        self._digests = Digests()
        self._neighbours = NeighbouringCertificates()
        self._located: Recent[tuple[str, ...], tuple[str, ...]] = Recent(_MOST_SETS)
        self._sets: Recent[tuple[bytes, ...], CollateralSet] = Recent(_MOST_SETS)

    def judge(self, text: bytes) -> bytes:
        """The result of a line, as a line."""
        try:
            result = self._result(read_line(text))
        except CasemateError as error:
            result = _refused(_unreadable(error))
        return msgspec.json.encode(result) + b"\n"

    def _result(self, line: Line) -> Result:
        at = self._instant(line)
        paths = self._locate(line.documents)
        evidence = self._read(line.quote)
        verifiers = self._set(paths).verifiers(at)
        chain = verifiers.collateral.pck_certificate_chain
        appraised = verifiers.plain.appraise(evidence, at, pck_chain=chain)
        result = result_of(appraised)
        if verifiers.policed is not None:
            said = verifiers.policed.appraise(evidence, at, pck_chain=chain)
            result = msgspec.structs.replace(result, policy=_policy_result(said))
        if self._terms.second is not None:
            opinion = self._terms.second.about(evidence, verifiers.collateral, at, appraised)
            result = _compared(result, opinion)
        return result

    def _instant(self, line: Line) -> datetime:
        if line.at is not None:
            return _EPOCH + timedelta(seconds=line.at)
        return self._terms.at or _EPOCH + timedelta(seconds=int(time.time()))

    def _places(self, path: str) -> list[str]:
        """Where a path may lead."""
        return [path] if path.startswith("/") else [f"{folder}/{path}" for folder in self._terms.folders]

    def _read(self, path: str) -> bytes:
        """What lies in the first place in which something lies."""
        *others, last = self._places(path)
        for place in others:
            try:
                return read_bounded(place)
            except ToolchainError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return read_bounded(last)

    def _locate(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """The first places in which something lies; where each lies is found out once."""
        known = self._located.get(paths)
        if known is None:
            places = [self._places(path) for path in paths]
            there = [[place for place in choice if os.path.lexists(place)] for choice in places]
            known = tuple([*found, choice[-1]][0] for found, choice in zip(there, places, strict=True))
            if all(there):
                self._located.keep(paths, known)
        return known

    def _set(self, paths: Sequence[str]) -> CollateralSet:
        """The collateral that these files hold now."""
        looks_around = self._terms.certificates is None and len(paths) > 1
        beside = {der: None for path in paths for der in self._neighbours.of(path)} if looks_around else {}
        known = self._sets.get((*(self._digests.of(path) for path in paths), *beside))
        if known is None:
            contents = [read_bounded(path) for path in paths]
            # Of what was read: a file may have been renewed a moment ago.
            key = (*(hashlib.sha256(content).digest() for content in contents), *beside)
            known = self._verify(contents, self._issuers.and_also(beside))
            self._sets.keep(key, known)
            while sum(kept.platforms for kept in self._sets.values()) > _MOST_PLATFORMS:
                self._sets.forget_oldest()
        return known

    def _verify(self, contents: Sequence[bytes], issuers: Issuers) -> CollateralSet:
        return CollateralSet(propose(contents, issuers), self._terms.roots, self._terms.policy)


def read_line(text: bytes) -> Line:
    """What a line asks for.

    Raises:
        FormatError: Not a JSON object with the members of :class:`Line`, or too long.
    """
    if len(text) > MAX_LINE_SIZE:
        raise FormatError("line", expected=f"at most {MAX_LINE_SIZE} bytes", got="more")
    if b"\\" in text or any(text.count(name) > 1 for name in _QUOTED):
        _require_each_once(text)
    with suppress(msgspec.DecodeError):
        return _STRICTLY.decode(text)
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        from difflib import get_close_matches

        for name in members.keys() - _MEMBERS:
            nearly = get_close_matches(name.lower(), _MEMBERS, n=1, cutoff=0.8)
            if nearly:
                raise FormatError("line", expected=f"the member {nearly[0]}", got=name)
        return _LENIENTLY.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable_line(text, str(error)) from error


def _unusable_line(text: bytes, reason: str) -> FormatError:
    """The error of a line that is no JSON, or whose members are not what they have to be."""
    if reason.endswith("`$.at`"):
        expected = f"a whole number from {_FIRST} to {_LAST} as at, in seconds since 1970"
        return FormatError("line", expected=expected, got="another value")
    got = reason if text.strip() else "an empty line"
    return FormatError("line", expected="a JSON object that names files", got=got)


def _require_each_once(text: bytes) -> None:
    """Refuse a line that two readers could understand differently; what is no JSON is refused elsewhere."""

    def once(pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) != len(pairs):
            raise FormatError("line", expected="each member once", got="one that comes twice")

    with suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=once)


class _StrictLine(Line, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line without members of somebody else."""


_STRICTLY = msgspec.json.Decoder(_StrictLine)
_LENIENTLY = msgspec.json.Decoder(Line)
_MEMBERS = frozenset(Line.__struct_fields__)
_QUOTED = tuple(f'"{name}"'.encode() for name in Line.__struct_fields__)


def collateral_of(text: bytes) -> object:
    """What lines with the same collateral have in common; ``None`` for lines that cannot be read."""
    try:
        line = _LENIENTLY.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return (line.tcb_info, line.qe_identity, line.root_crl, line.pck_crl, line.collateral)


def result_of(result: AttestationResult) -> Result:
    """What is printed of an appraisal.

    A status and advisories are given for genuine evidence only: beside evidence that is not, they would be
    the word of nobody. Whether the enclave is one that its host can read is given wherever the signatures
    are right.
    """
    claims = result.claims
    complete = result.genuine and result.tcb_status is not None
    return Result(
        genuine=result.genuine,
        tcb_status=result.tcb_status.value if result.genuine and result.tcb_status else None,
        debug=claims is not None and claims.debug,
        advisories=result.advisory_ids if result.genuine else (),
        refused_by=() if complete else _refusals(result),
    )


#: The checks by which a quote is genuine, and those by which its platform has a status.
_JUDGED = frozenset(
    requirement.title for requirement in Requirement if requirement.stage in {*GENUINENESS, Stage.STANDING}
)


def _refusals(result: AttestationResult) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(check.name, check.expected, check.got) for check in result.refusals if check.name in _JUDGED
    )


def _policy_result(result: AttestationResult) -> PolicyResult:
    return PolicyResult(
        accepted=result.verdict is Verdict.AFFIRMING,
        refused_by=tuple(
            Refusal(check.name, check.expected, check.got)
            for check in result.refusals
            if check.name not in _JUDGED
        ),
        granted=tuple(f"{grant.what}: {grant.reason}" for grant in result.grants),
    )


def _compared(result: Result, opinion: SecondOpinion) -> Result:
    """Where two verifiers disagree, nothing is taken for genuine."""
    told = msgspec.structs.replace(result, second_opinion=f"{opinion.agreement.value}: {opinion.words}")
    if agrees(opinion):
        return told
    refusal = Refusal(SECOND_OPINION, opinion.expected, opinion.words)
    return msgspec.structs.replace(
        told, genuine=False, tcb_status=None, advisories=(), refused_by=(*result.refused_by, refusal)
    )


def _refused(*refusals: Refusal) -> Result:
    return Result(genuine=False, tcb_status=None, debug=False, advisories=(), refused_by=refusals)


def _unreadable(error: CasemateError) -> Refusal:
    """Why a line cannot be judged."""
    step = error.subject if error.subject in _JUDGED else _INPUT
    expected = error.expected or "a file that can be read"
    if step == _INPUT and error.subject not in _SAID:
        expected = f"{error.subject}: {expected}"
    found = f"{error.got} ({error.where})" if error.where else str(error.got)
    return Refusal(step, one_line(expected, MAX_TEXT), one_line(found, MAX_TEXT))


#: Subjects that say nothing that the rest of the message does not say.
_SAID = frozenset({"line", "file cannot be read"})

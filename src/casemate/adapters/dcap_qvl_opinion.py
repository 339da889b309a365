"""A second opinion on a quote: that of dcap-qvl, a verifier in Rust that shares no code with this one.

It has no policy, and rules of its own. Some refuse what is genuine: enclaves in debug mode, certain
attributes of trust domains. Some things it cannot read. Neither contradicts a verifier that goes by Intel's
library, and each is told by its name. Everything else in which the two differ is a disagreement.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from casemate.errors import ToolchainError
from casemate.formats.one_line import one_line
from casemate.formats.sgx.collateral import Collateral, TcbStatus
from casemate.verifier.result import AttestationResult

#: Characters of what the other verifier says.
_MAX_WORDS: Final = 300
_PREFIX: Final = "Verification failed: "

#: What it cannot read or has no rule for, by what it says: it has no opinion.
_CANNOT: Final = (
    (r"missing field `sgxtcbcomponents`", "it reads no TCB info of version 2"),
    (r"SGX TEE quote must have version 3", "it reads no enclave reports in quotes of versions 4 and 5"),
    (r"Invalid QE auth data length", "it reads authentication data of 32 bytes only"),
    (r"PceSvn length mismatch", "it reads no PCESVN above 32767"),
)
#: What it refuses in genuine evidence, by what it says.
_STRICTER: Final = (
    (r"Debug mode is enabled", "no enclave or trust domain in debug mode"),
    (r"TD profiling is enabled", "no trust domain under profiling"),
    (r"Reserved bits in TD attributes", "no reserved attributes of a trust domain"),
    (r"SEPT_VE_DISABLE is not enabled", "no trust domain into which the host may inject exceptions"),
    (r"TD migration is enabled", "no trust domain that may migrate"),
    (r"Invalid MR service TD|SERVTD_EXT", "no trust domain with a service of its own"),
    (r"CrlExpired \{ time: UnixTime\((\d+)\), next_update: UnixTime\(\1\) \}", "no CRL in its last second"),
    (r"TEE_TCB_SVN2", "no TDX module that is unknown as it is now"),
)
_NO_LEVEL: Final = re.compile(r"No matching TCB level found")
_REVOKED: Final = re.compile(r"Revoked")


class Agreement(Enum):
    """How the other opinion stands to ours."""

    AGREES = "agrees"
    STRICTER = "stricter"
    NO_OPINION = "no opinion"
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOpinion:
    """What the other verifier says about a quote.

    Attributes:
        agreement: How that stands to ours.
        expected: What would agree with us: one printable line.
        words: What it says, and by which rule: one printable line.
    """

    agreement: Agreement
    expected: str
    words: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """A status, or the reason of a refusal."""

    status: str | None
    refusal: str = ""


class SecondVerifier:
    """dcap-qvl, asked about the same quote, the same collateral and the same instant.

    Args:
        root: The root certificate of a simulated platform, DER; ``None`` for Intel's, which it brings itself.

    Raises:
        ToolchainError: The package is not installed.
    """

    def __init__(self, root: bytes | None) -> None:
        try:
            self._library: Any = importlib.import_module("dcap_qvl")
        except ImportError as error:
            raise ToolchainError(
                "second opinion",
                expected="the package dcap-qvl",
                got="no such package",
                hint="Install it with: pip install 'casemate[second-opinion]'",
            ) from error
        self._root = root

    def about(
        self, evidence: bytes, collateral: Collateral, at: datetime, ours: AttestationResult
    ) -> SecondOpinion:
        """Ask, and compare with what we say.

        Args:
            evidence: The quote.
            collateral: What it is judged under.
            at: The instant.
            ours: Our answer about the same.
        """
        answer = self._ask(evidence, collateral, at)
        words = f"accepts it, {answer.status}" if answer.status else f"refuses it: {answer.refusal}"
        agreement, rule = _compare(answer, ours)
        return SecondOpinion(
            agreement=agreement,
            expected=_expected(ours),
            words=one_line(f"{words} ({rule})" if rule else words, _MAX_WORDS),
        )

    def _ask(self, evidence: bytes, collateral: Collateral, at: datetime) -> _Answer:
        moment = int(at.timestamp())
        try:
            theirs = self._library.QuoteCollateralV3.from_json(collateral.to_json().decode())
            if self._root is None:
                report = self._library.verify(evidence, theirs, moment)
            else:
                report = self._library.verify_with_root_ca(evidence, theirs, self._root, moment)
        # OverflowError is a moment before 1970; a UnicodeDecodeError is a ValueError.
        except (ValueError, OverflowError) as error:
            return _Answer(None, " ".join(str(error).removeprefix(_PREFIX).split()))
        return _Answer(str(report.status))


def _compare(answer: _Answer, ours: AttestationResult) -> tuple[Agreement, str | None]:
    """How an answer stands to ours, and the rule by which it may differ."""
    if answer.status is not None:
        same = ours.genuine and ours.tcb_status is not None and ours.tcb_status.value == answer.status
        return (Agreement.AGREES if same else Agreement.DISAGREES), None
    rule = _rule(_CANNOT, answer.refusal)
    if rule is not None:
        return Agreement.NO_OPINION, rule
    if not ours.genuine or _says_the_same(answer.refusal, ours.tcb_status):
        return Agreement.AGREES, None
    rule = _rule(_STRICTER, answer.refusal)
    return (Agreement.DISAGREES if rule is None else Agreement.STRICTER), rule


def _rule(rules: Iterable[tuple[str, str]], refusal: str) -> str | None:
    """The rule that makes it say that."""
    return next((rule for pattern, rule in rules if re.search(pattern, refusal)), None)


def _says_the_same(refusal: str, status: TcbStatus | None) -> bool:
    """It refuses what has no status, and what is revoked."""
    said = {None: _NO_LEVEL, TcbStatus.REVOKED: _REVOKED}.get(status)
    return said is not None and said.search(refusal) is not None


def _expected(ours: AttestationResult) -> str:
    if not ours.genuine:
        return "a refusal, as here"
    return f"genuine, {ours.tcb_status.value if ours.tcb_status else 'of no TCB level'}, as here"

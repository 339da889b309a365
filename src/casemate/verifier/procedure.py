"""The steps of an appraisal, in the order in which Intel's driver of its library takes them.

:class:`~casemate.verifier.requirements.Requirement` lists checks by what they are about. Here they stand by
the step that they belong to: the quote is taken apart, the three kinds of endorsements are verified, the
quote is held against them, and then comes what the library leaves to its caller.
"""

from __future__ import annotations

import re
from enum import Enum, unique
from typing import Final

from casemate.verifier.requirements import Requirement

_SECTION: Final = re.compile(r"4\.1\.2\.4((?:\.\d+)+)")


@unique
class Step(Enum):
    """One step; the value says what it does, and where Intel's library does it."""

    READ = "take the quote apart (QVL 4.1.2.4.2)"
    PCK = "verify the PCK certificate chain and the CRLs (QVL VerifyPCKCertificate)"
    TCB_INFO = "verify TCB info (QVL VerifyTCBInfo)"
    QE_IDENTITY = "verify the identity of the quoting enclave (QVL VerifyEnclaveIdentity)"
    QUOTE = "hold the quote against them (QVL VerifyQuote, 4.1.2.4.6 to 4.1.2.4.17)"
    CALLER = "what Intel's library leaves to its caller"


# What a check is about, as its title begins, and the step that verifies that.
_SUBJECTS: Final = {
    "PCK chain": Step.PCK,
    "PCK CRL issuer chain": Step.PCK,
    "PCK issuer": Step.PCK,
    "root": Step.PCK,
    "root CRL": Step.PCK,
    "PCK CRL": Step.PCK,
    "TCB info issuer chain": Step.TCB_INFO,
    "TCB info signer": Step.TCB_INFO,
    "TCB info": Step.TCB_INFO,
    "QE identity issuer chain": Step.QE_IDENTITY,
    "QE identity signer": Step.QE_IDENTITY,
    "QE identity": Step.QE_IDENTITY,
}


def step_of(requirement: Requirement) -> Step:
    """The step that a check belongs to."""
    if requirement.reference == "QVL 4.1.2.4.2":
        return Step.READ
    if requirement.reference.startswith("QVL 4.1.2.4."):
        return Step.QUOTE
    return _SUBJECTS.get(requirement.title.partition(":")[0], Step.CALLER)


def _place(requirement: Requirement) -> tuple[int, ...]:
    """The number of its section; inside a section checks stand as they are listed."""
    section = _SECTION.search(requirement.reference)
    is_in_order = step_of(requirement) is Step.QUOTE and section is not None
    return tuple(int(part) for part in section.group(1).split(".")[1:]) if section and is_in_order else ()


#: Every check, by its step, in order.
PROCEDURE: Final = {
    step: tuple(sorted((one for one in Requirement if step_of(one) is step), key=_place)) for step in Step
}

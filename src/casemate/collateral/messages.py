"""Requests and answers of the API as values, and the parameters in them.

A parameter that stands twice counts as it stood first, as in PCCS. Hexadecimal is read in either case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote

from casemate.collateral.names import CertificateAuthority, Edition, Update
from casemate.collateral.problem import CollateralRefusedError, Problem

#: Names of headers as PCCS spells them, for clients that compare them letter by letter.
TCB_INFO_CHAIN = {3: "SGX-TCB-Info-Issuer-Chain", 4: "TCB-Info-Issuer-Chain"}
IDENTITY_CHAIN = "SGX-Enclave-Identity-Issuer-Chain"
NUMBERS_CHAIN = "TCB-Evaluation-Data-Numbers-Issuer-Chain"
PCK_CRL_CHAIN = "SGX-PCK-CRL-Issuer-Chain"
PCK_CHAIN = "SGX-PCK-Certificate-Issuer-Chain"

#: Characters of the identifier of a quoting enclave, and of the address of a CRL.
MAX_QE_ID = 260
MAX_URI = 2048
#: Parameters of a query.
_MOST_PARAMETERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, after its path was found.

    Attributes:
        method: ``GET``, ``POST`` or ``PUT``.
        version: Of the API: 3 or 4.
        parameters: The query.
        headers: By lower-case name.
        body: Empty where the method has none.
    """

    method: str
    version: int
    parameters: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: All but the length and the identifier of the request.
        body: The body.
        etag: The validator of a document, with its quotation marks; empty where there is none.
        until: Seconds since 1970 until which the very same answer may be given again from memory, as long as
            nothing is written; 0 for answers that may not.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    etag: str = ""
    until: float = 0


def text_response(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """An answer in words."""
    return Response(
        status=status, headers=(("Content-Type", "text/plain; charset=utf-8"), *headers), body=text.encode()
    )


def chain_header(pem: bytes) -> str:
    """A chain of certificates as a header holds it: URL encoding."""
    return quote(pem, safe="")


def parse_query(query: bytes) -> dict[str, str]:
    """The parameters of a query.

    Raises:
        CollateralRefusedError: Too many of them.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS
        )
    except ValueError as error:
        raise CollateralRefusedError(
            Problem.INVALID, "query", expected=f"at most {_MOST_PARAMETERS} parameters", got="more"
        ) from error
    return dict(reversed(pairs))


def need_hex(parameters: Mapping[str, str], name: str, digits: int, *, where: str = "query") -> str:
    """A parameter of hexadecimal digits, lower case.

    Raises:
        CollateralRefusedError: It is missing, or not of that many digits.
    """
    text = parameters.get(name, "")
    if re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text) is None:
        raise _invalid(name, f"{digits} hexadecimal digits", text, where)
    return text.lower()


def optional_hex(parameters: Mapping[str, str], name: str, digits: int, *, where: str = "query") -> str:
    """As :func:`need_hex`; empty when the parameter is missing or empty."""
    return need_hex(parameters, name, digits, where=where) if parameters.get(name) else ""


def qe_id_of(parameters: Mapping[str, str], name: str, *, where: str = "query") -> str:
    """The identifier of a quoting enclave, lower case.

    Raises:
        CollateralRefusedError: Missing, too long, or not of printable ASCII characters.
    """
    text = parameters.get(name, "")
    if re.fullmatch(f"[!-~]{{1,{MAX_QE_ID}}}", text) is None:
        raise _invalid(name, f"1 to {MAX_QE_ID} characters", text, where)
    return text.lower()


def edition_of(parameters: Mapping[str, str]) -> Edition:
    """Which edition a request wants; the standard one unless it says otherwise.

    Raises:
        CollateralRefusedError: No such edition, or two ways of naming one at once.
    """
    update, number = parameters.get("update"), parameters.get("tcbEvaluationDataNumber")
    if update is not None and number is not None:
        raise _invalid("update", "it or tcbEvaluationDataNumber", "both", "query")
    if number is not None:
        if re.fullmatch("[1-9][0-9]{0,8}", number) is None:
            raise _invalid("tcbEvaluationDataNumber", "a positive number", number, "query")
        return int(number)
    return Update.STANDARD if update is None else update_of(update)


def update_of(text: str) -> Update:
    """``standard`` or ``early``, in either case.

    Raises:
        CollateralRefusedError: Neither.
    """
    for update in Update:
        if text.lower() == update.value:
            return update
    raise _invalid("update", "standard or early", text, "query")


def authority_of(parameters: Mapping[str, str]) -> CertificateAuthority:
    """``ca``, in either case.

    Raises:
        CollateralRefusedError: Missing, or neither authority.
    """
    text = parameters.get("ca", "")
    for authority in CertificateAuthority:
        if text.lower() == authority.value:
            return authority
    raise _invalid("ca", "processor or platform", text, "query")


def _invalid(name: str, expected: str, got: str, where: str) -> CollateralRefusedError:
    return CollateralRefusedError(
        Problem.INVALID, name, expected=expected, got=ascii(got[:80])[1:-1] or "nothing", where=where
    )

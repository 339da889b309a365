"""PKCS#11 URIs (RFC 7512): which key of which token, behind which module.

Only what names a private key is accepted; an attribute that is not known is refused, because leaving it out
would name more keys than the user did. What the attributes are compared with is the adapter's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from casemate.errors import FormatError

SCHEME: Final = "pkcs11"
#: Attributes of the path that tell one token from another (RFC 7512, section 2.3).
TOKEN_ATTRIBUTES: Final = (
    "token",
    "manufacturer",
    "serial",
    "model",
    "slot-id",
    "slot-manufacturer",
    "slot-description",
    "library-manufacturer",
    "library-description",
    "library-version",
)
_KEY_ATTRIBUTES: Final = ("object", "id", "type")
_QUERY_ATTRIBUTES: Final = ("pin-source", "module-name", "module-path")
# pchar without what separates, and percent-encoded bytes: pk11-pchar and pk11-qchar of section 2.3.
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """A private key on a token.

    Attributes:
        token: Attributes of the token, its slot and its library; those that are given.
        label: CKA_LABEL of the key (attribute ``object``).
        id: CKA_ID of the key.
        pin_file: Absolute path of a file that holds the PIN (attribute ``pin-source``).
        module_name: Name of the module, without folder, ``lib`` and ``.so``.
        module_path: Absolute path of the module.
    """

    token: tuple[tuple[str, str], ...]
    label: str | None
    id: bytes | None
    pin_file: str | None
    module_name: str | None
    module_path: str | None

    @classmethod
    def parse(cls, text: str) -> Pkcs11Uri:
        """Read a URI, from ``pkcs11:`` on.

        Raises:
            FormatError: Not such a URI, an attribute that is unknown or given twice, a PIN in the URI, or
                no key.
        """
        scheme, _, rest = text.partition(":")
        if scheme != SCHEME:
            raise _refused(expected="pkcs11:…", got=f"{scheme}:…")
        path_text, _, query_text = rest.partition("?")
        path = _attributes(path_text.split(";") if path_text else ())
        query = _attributes(query_text.split("&") if query_text else ())
        _require_known(path, (*TOKEN_ATTRIBUTES, *_KEY_ATTRIBUTES))
        _require_known(query, _QUERY_ATTRIBUTES)
        if path.get("type", b"private") != b"private":
            raise _refused(expected="type=private", got="another type of object")
        uri = cls(
            token=tuple((name, _text(path, name) or "") for name in TOKEN_ATTRIBUTES if name in path),
            label=_text(path, "object"),
            id=path.get("id"),
            pin_file=_pin_file(_text(query, "pin-source")),
            module_name=_text(query, "module-name"),
            module_path=_text(query, "module-path"),
        )
        if uri.label is None and uri.id is None:
            raise _refused(expected="the key's object or id", got="neither")
        return uri


def _attributes(parts: Iterable[str]) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise _refused(expected="attributes NAME=VALUE", got="one without a value")
        if name == "pin-value":
            raise FormatError(
                "PKCS#11 URI",
                expected="no PIN",
                got="pin-value",
                hint="everybody on this machine can read it in the process list, so change the PIN; "
                "leave it out to be asked, or use pin-source=file:PATH, --passphrase-fd or --passphrase-env",
            )
        if name in found:
            raise _refused(expected="each attribute once", got=f"two {name}")
        if _VALUE.fullmatch(value) is None:
            raise _refused(expected=f"a percent-encoded value of {name}", got="other characters")
        found[name] = _decoded(value)
    return found


def _decoded(value: str) -> bytes:
    return re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), value.encode("ascii")
    )


def _require_known(found: Mapping[str, bytes], known: tuple[str, ...]) -> None:
    for name in found:
        if name not in known:
            raise _refused(expected=" or ".join(known), got=name if name.isascii() else "another attribute")


def _text(found: Mapping[str, bytes], name: str) -> str | None:
    if name not in found:
        return None
    try:
        text = found[name].decode()
    except UnicodeDecodeError as error:
        raise _refused(expected=f"{name} in UTF-8", got="other bytes") from error
    if not text.isprintable():
        raise _refused(expected=f"{name} in printable characters", got="others")
    return text


def _pin_file(source: str | None) -> str | None:
    if source is None:
        return None
    path = source.removeprefix("file:")
    if not path.startswith("/"):
        raise FormatError(
            "PKCS#11 URI",
            expected="pin-source=file:/PATH",
            got="another kind of source",
            hint="for the output of a program: program | casemate … --passphrase-fd 0",
        )
    return path


def _refused(*, expected: str, got: str) -> FormatError:
    return FormatError(
        "PKCS#11 URI",
        expected=expected,
        got=got,
        hint="for example: pkcs11:token=release;object=enclave?module-path=/usr/lib/softhsm/libsofthsm2.so",
    )

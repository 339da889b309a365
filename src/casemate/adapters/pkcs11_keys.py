"""Signing keys on PKCS#11 tokens: ``pkcs11:token=…;object=…?module-path=…`` (RFC 7512).

The key never leaves the token. A PIN is tried once; a token locks itself after a few.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag

from casemate.errors import KeyUnfitError
from casemate.formats.pkcs11_uri import SCHEME, Pkcs11Uri
from casemate.keys import AskPassphrase, Passphrase, RsaPublicKey, require_signature, sha256_digest_info

#: Where distributions put PKCS#11 modules.
MODULE_FOLDERS: Final = tuple(
    Path(folder, part)
    for folder in (
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    )
    for part in ("", "pkcs11", "softhsm")
)
#: Knows every module that the machine has registered.
_DEFAULT_MODULE: Final = "p11-kit-proxy"
_ID_SIZE: Final = 16

# What tokens say of a PIN: the answer, and what the user can do.
_PIN_ERRORS: Final[Mapping[type[pkcs11.PKCS11Error], tuple[str, str]]] = {
    pkcs11.PinIncorrect: ("a wrong one", "it was tried once; tokens lock themselves after a few attempts"),
    pkcs11.PinInvalid: ("one with characters that the token does not take", "it was not tried again"),
    pkcs11.PinLenRange: ("one that is too short or too long", "it was not tried again"),
    pkcs11.PinExpired: ("one that has expired", "set a new one with the token's own tool"),
    pkcs11.PinLocked: ("none that it still takes: it is locked", "its security officer can unlock it"),
    pkcs11.UserPinNotInitialized: ("none that was ever set", "its security officer has to set one"),
}
_GONE: Final = (
    pkcs11.DeviceError,
    pkcs11.DeviceRemoved,
    pkcs11.KeyHandleInvalid,
    pkcs11.ObjectHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.SessionHandleInvalid,
    pkcs11.SlotIDInvalid,
    pkcs11.TokenNotPresent,
    pkcs11.UserNotLoggedIn,
)


@dataclass(frozen=True, slots=True, repr=False)
class Pkcs11Signer:
    """A :class:`~casemate.keys.Signer` whose key stays on its token."""

    _session: pkcs11.Session
    _key: Any
    _mechanism: Mechanism
    _where: str
    public_key: RsaPublicKey

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256; what the token answers is verified.

        Raises:
            KeyUnfitError: The token is gone, is locked, refuses, or answers something else.
        """
        whole = self._mechanism is Mechanism.SHA256_RSA_PKCS
        with _converted(self._where):
            signature: bytes = self._key.sign(
                data if whole else sha256_digest_info(data), mechanism=self._mechanism
            )
        require_signature(data, signature, self.public_key)
        return signature


def open_key(rest: str, ask: AskPassphrase) -> Pkcs11Signer:
    """The key of the URI ``pkcs11:`` and ``rest``.

    Raises:
        FormatError: Not such a URI.
        KeyUnfitError: No such module, token or key, or more than one; a PIN that the token does not take; a
            key that is not RSA or does not say what its public half is. Length and exponent are not looked
            at.
    """
    uri = Pkcs11Uri.parse(f"{SCHEME}:{rest}")
    token = _find_token(uri)
    session = _open_session(token, ask, writable=False)
    return _signer(session, _find_key(session, uri, where=token.label), where=token.label)


def generate_key(rest: str, ask: AskPassphrase, *, bits: int, exponent: int) -> Pkcs11Signer:
    """Make a key on the token of the URI; it is sensitive and cannot be extracted.

    Args:
        rest: The URI after ``pkcs11:``; it names the key's label (``object``), and an ``id`` is made up if
            there is none.
        ask: Gives the PIN.
        bits: Length of the modulus.
        exponent: The public exponent.

    Raises:
        FormatError: Not such a URI.
        KeyUnfitError: As for :func:`open_key`; a key of that name is there already; the token made another
            key than it was asked for, which is then destroyed.
    """
    uri = Pkcs11Uri.parse(f"{SCHEME}:{rest}")
    token = _find_token(uri)
    where = token.label
    if uri.label is None:
        raise KeyUnfitError("new key on a token", expected="object=NAME in its URI", got="none", where=where)
    session = _open_session(token, ask, writable=True)
    _require_no_key(session, uri, where=where)
    public, private = _generate(session, uri, bits=bits, exponent=exponent, where=where)
    made = public_key_of(private, public, where=where)
    if made.exponent != exponent or made.modulus.bit_length() != bits:
        with _converted(where):
            private.destroy()
            public.destroy()
        raise KeyUnfitError(
            "new key on a token",
            expected=f"{bits} bits, exponent {exponent}",
            got=f"{made.modulus.bit_length()} bits, exponent {made.exponent}",
            where=where,
            hint="the token cannot make such keys; its maker may allow to import one",
        )
    return _signer(session, private, where=where)


def _generate(
    session: pkcs11.Session, uri: Pkcs11Uri, *, bits: int, exponent: int, where: str
) -> tuple[Any, Any]:
    with _converted(where):
        public, private = session.generate_keypair(
            KeyType.RSA,
            bits,
            id=uri.id or secrets.token_bytes(_ID_SIZE),
            label=uri.label,
            store=True,
            capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
            mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
            public_template={Attribute.PUBLIC_EXPONENT: exponent.to_bytes(4).lstrip(b"\0")},
            private_template={
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
            },
        )
    return public, private


def _module(uri: Pkcs11Uri) -> Path:
    if uri.module_path is not None:
        path = Path(uri.module_path)
        if not path.is_absolute() or not path.is_file():
            raise KeyUnfitError(
                "PKCS#11 module",
                expected="module-path=/PATH/OF/MODULE.so",
                got="no such file",
                where=str(path),
            )
        return path
    name = uri.module_name or _DEFAULT_MODULE
    names = (f"lib{name}.so", f"{name}.so")
    for candidate in (folder / file for folder in MODULE_FOLDERS for file in names if "/" not in name):
        if candidate.is_file():
            return candidate
    raise KeyUnfitError(
        "PKCS#11 module",
        expected=" or ".join(names),
        got="no such file",
        hint="the token's maker says where it is: add ?module-path=/PATH/OF/MODULE.so to the URI",
    )


def _find_token(uri: Pkcs11Uri) -> pkcs11.Token:
    # One file, one name: a module that is loaded twice in a process refuses to be initialised twice.
    path = _module(uri).resolve()
    with _converted(str(path)):
        library = pkcs11.lib(str(path))
        tokens = [
            token
            for token in library.get_tokens()
            if token.flags & TokenFlag.TOKEN_INITIALIZED and _matches(library, token, dict(uri.token))
        ]
    if len(tokens) != 1:
        raise KeyUnfitError(
            "token",
            expected="one that the URI fits",
            got=str(len(tokens) or "none"),
            where=str(path),
            hint="is it plugged in? pkcs11-tool --list-token-slots shows what there is; its serial tells it "
            "from others",
        )
    return tokens[0]


def _matches(library: Any, token: pkcs11.Token, wanted: Mapping[str, str]) -> bool:
    version = ".".join(str(part) for part in library.library_version)
    found = {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "serial": token.serial.decode(errors="replace"),
        "model": token.model,
        "slot-id": str(token.slot.slot_id),
        "slot-manufacturer": token.slot.manufacturer_id,
        "slot-description": token.slot.slot_description,
        "library-manufacturer": _text(library.manufacturer_id),
        "library-description": _text(library.library_description),
        "library-version": version,
    }
    return all(found[name].strip() == value for name, value in wanted.items())


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def pin_prompt(label: str, flags: TokenFlag) -> str:
    """What to ask for, with what the token says of earlier attempts.

    Raises:
        KeyUnfitError: The PIN is locked.
    """
    if flags & TokenFlag.USER_PIN_LOCKED:
        raise _pin_error(pkcs11.PinLocked(), where=label)
    final = " (the last attempt before it locks)" if flags & TokenFlag.USER_PIN_FINAL_TRY else ""
    return f"PIN of token {label}{final}"


def _open_session(token: pkcs11.Token, ask: AskPassphrase, *, writable: bool) -> pkcs11.Session:
    with _converted(token.label):
        flags = token.flags
    pin: object = None
    if flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
        pin = pkcs11.PROTECTED_AUTH
    elif flags & TokenFlag.LOGIN_REQUIRED:
        pin = _pin(ask(pin_prompt(token.label, flags)), where=token.label)
    with _converted(token.label):
        try:
            return token.open(rw=writable, user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:
            # Another key of the same token has been opened: a login is the process's, not the session's.
            return token.open(rw=writable)


def _pin(given: Passphrase, *, where: str) -> str:
    """A PIN is UTF-8 (PKCS#11 v2.40, section 5.6, C_Login)."""
    try:
        return given.value.decode()
    except UnicodeDecodeError:
        # Without its cause, which holds the PIN.
        raise _pin_error(pkcs11.PinInvalid(), where=where) from None


def _named(session: pkcs11.Session, uri: Pkcs11Uri, kind: ObjectClass) -> list[Any]:
    wanted: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if uri.label is not None:
        wanted[Attribute.LABEL] = uri.label
    if uri.id is not None:
        wanted[Attribute.ID] = uri.id
    return list(session.get_objects(wanted))


def _find_key(session: pkcs11.Session, uri: Pkcs11Uri, *, where: str) -> Any:
    with _converted(where):
        keys = _named(session, uri, ObjectClass.PRIVATE_KEY)
        kinds = {key.key_type for key in keys}
    if len(keys) != 1:
        raise KeyUnfitError(
            "key on the token",
            expected="one that the URI fits",
            got=str(len(keys) or "none"),
            where=where,
            hint="its id tells it from others: ;id=%01"
            if keys
            else "make one with: casemate key generate URI",
        )
    if kinds != {KeyType.RSA}:
        raise KeyUnfitError("key on the token", expected="an RSA key", got="another kind", where=where)
    return keys[0]


def _require_no_key(session: pkcs11.Session, uri: Pkcs11Uri, *, where: str) -> None:
    with _converted(where):
        keys = _named(session, uri, ObjectClass.PRIVATE_KEY)
    if keys:
        raise KeyUnfitError(
            "new key on a token",
            expected="a name that is free",
            got="a key",
            where=where,
            hint="choose another name with object=NAME",
        )


def _signer(session: pkcs11.Session, key: Any, *, where: str) -> Pkcs11Signer:
    with _converted(where):
        mechanisms = session.token.slot.get_mechanisms()
        identity = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key.id}
        public = next(iter(list(session.get_objects(identity))), None)
    # Some tokens offer only the one that pads, some only the one that hashes too.
    whole = Mechanism.SHA256_RSA_PKCS in mechanisms
    return Pkcs11Signer(
        _session=session,
        _key=key,
        _mechanism=Mechanism.SHA256_RSA_PKCS if whole else Mechanism.RSA_PKCS,
        _where=where,
        public_key=public_key_of(key, public, where=where),
    )


def public_key_of(private: Any, public: Any, *, where: str) -> RsaPublicKey:
    """The public half, from the private key's own attributes, else from the public key with its ID.

    Args:
        private: Attributes of the private key.
        public: Those of the public key; ``None`` if there is none.
        where: Which token, for messages.

    Raises:
        KeyUnfitError: Neither says.
    """
    for holder in (private, public):
        try:
            modulus, exponent = holder[Attribute.MODULUS], holder[Attribute.PUBLIC_EXPONENT]
        except (pkcs11.PKCS11Error, KeyError, TypeError):
            continue
        if modulus and exponent:
            return RsaPublicKey(modulus=int.from_bytes(modulus), exponent=int.from_bytes(exponent))
    raise KeyUnfitError(
        "key on the token",
        expected="its public half beside it",
        got="none",
        where=where,
        hint="write the public key to the token under the same id",
    )


@contextmanager
def _converted(where: str) -> Iterator[None]:
    try:
        yield
    except pkcs11.PKCS11Error as error:
        if type(error) in _PIN_ERRORS:
            raise _pin_error(error, where=where) from None
        if isinstance(error, _GONE):
            raise KeyUnfitError(
                "token",
                expected="one that stays while it is used",
                got=f"one that is gone or locked ({type(error).__name__})",
                where=where,
                hint="plug it in again, and give the command again",
            ) from error
        got = type(error).__name__ if type(error) is not pkcs11.PKCS11Error else str(error)
        raise KeyUnfitError("PKCS#11 module", expected="an answer", got=got, where=where) from error


def _pin_error(error: pkcs11.PKCS11Error, *, where: str) -> KeyUnfitError:
    got, hint = _PIN_ERRORS[type(error)]
    return KeyUnfitError("PIN of the token", expected="the right one", got=got, where=where, hint=hint)

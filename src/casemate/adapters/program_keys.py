"""Signing keys behind any program: ``exec:COMMAND ARGS?public-key=FILE.pem``.

The program gets the bytes on standard input and gives the raw signature on standard output. No shell is
involved. What it says on standard error reaches the user, and it may ask on the terminal.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.errors import KeyUnfitError, UsageError
from casemate.formats.public_key import parse_public_key
from casemate.keys import AskPassphrase, RsaPublicKey, require_signature

#: Seconds that a program may take; somebody may have to find a card and type a PIN.
TIMEOUT: Final = 300.0

_PUBLIC_KEY: Final = "?public-key="


def open_key(rest: str, ask: AskPassphrase) -> ProgramSigner:
    """The key of the URI ``exec:`` and ``rest``.

    Raises:
        UsageError: No program, no public key, or quotes that do not match.
        KeyUnfitError: The public key cannot be read.
        FormatError: It is none.
    """
    del ask  # the program has its own way to ask
    before, found, after = rest.rpartition(_PUBLIC_KEY)
    command, public_key = (before, after) if found else (rest, "")
    try:
        arguments = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError("key URI", expected="quotes in pairs", got="one without its pair") from error
    if not arguments or not public_key:
        raise UsageError(
            "key URI",
            expected=f"exec:COMMAND ARGS{_PUBLIC_KEY}FILE.pem",
            got="no program" if public_key else "no public key",
            hint="without the public key nobody can say whether a signature holds",
        )
    return ProgramSigner(arguments=arguments, public_key=_read_public_key(Path(public_key)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSigner:
    """A :class:`~casemate.keys.Signer` that starts a program for each signature.

    Attributes:
        arguments: The program and its arguments.
        public_key: What its signatures are verified with.
        timeout: Seconds until it is killed.
    """

    arguments: tuple[str, ...]
    public_key: RsaPublicKey
    timeout: float = TIMEOUT

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 over ``data``; what the program answers is verified.

        Raises:
            KeyUnfitError: The program cannot be started, fails, takes too long, or answers something else.
        """
        where = self.arguments[0]
        try:
            done = subprocess.run(
                self.arguments, input=data, stdout=subprocess.PIPE, timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise KeyUnfitError(
                "signing program",
                expected=f"an answer within {self.timeout:g} seconds",
                got="none",
                where=where,
            ) from error
        except OSError as error:
            raise KeyUnfitError(
                "signing program cannot be started", got=error.strerror, where=where
            ) from error
        if done.returncode != 0:
            raise KeyUnfitError(
                "signing program", expected="exit code 0", got=str(done.returncode), where=where
            )
        size = (self.public_key.modulus.bit_length() + 7) // 8
        if len(done.stdout) != size:
            raise KeyUnfitError(
                "output of the signing program",
                expected=f"{size} bytes, the signature alone",
                got=f"{len(done.stdout)} bytes",
                where=where,
                hint="the raw signature, big-endian: no hexadecimal or base64, no newline",
            )
        require_signature(data, done.stdout, self.public_key)
        return done.stdout


def _read_public_key(path: Path) -> RsaPublicKey:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyUnfitError("public key cannot be read", got=error.strerror, where=str(path)) from error
    return parse_public_key(data, where=str(path))

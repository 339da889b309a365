"""PKCS#11 tokens of SoftHSM 2, made for a test."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PIN = "47110815"
_SO_PIN = "0123456789"
_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/lib64/libsofthsm2.so"),
)


@dataclass(frozen=True)
class SoftHsm:
    """A folder of tokens.

    Attributes:
        module: The PKCS#11 module.
        configuration: What ``SOFTHSM2_CONF`` has to name.
        tokens: The folder.
    """

    module: Path
    configuration: Path
    tokens: Path

    @classmethod
    def make(cls, folder: Path) -> SoftHsm:
        """An empty folder of tokens in ``folder``; skips the test where there is no SoftHSM."""
        module = next((path for path in _MODULES if path.is_file()), None)
        if module is None or shutil.which("softhsm2-util") is None:
            pytest.skip("needs SoftHSM 2: apt-get install softhsm2")
        tokens, configuration = folder / "tokens", folder / "softhsm2.conf"
        tokens.mkdir()
        configuration.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
        return cls(module, configuration, tokens)

    def make_token(self, label: str) -> Path:
        """Initialise a token; gives the folder that it is."""
        before = set(self.tokens.iterdir())
        self._util("--init-token", "--free", "--label", label, "--so-pin", _SO_PIN, "--pin", PIN)
        (made,) = set(self.tokens.iterdir()) - before
        return made

    def import_key(self, pem: Path, *, token: str, label: str, identity: str = "01") -> None:
        """Put the private key of a PKCS#8 file on a token."""
        names = ("--token", token, "--label", label, "--id", identity)
        self._util("--import", str(pem), *names, "--pin", PIN, "--force")

    def uri(self, path: str) -> str:
        """A URI of this module."""
        return f"pkcs11:{path}?module-path={self.module}"

    def _util(self, *arguments: str) -> None:
        environment = {"SOFTHSM2_CONF": str(self.configuration), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["softhsm2-util", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

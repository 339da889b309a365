"""Who signs reference values and provenance, and who is asked to have signed them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.small_bundle import KEY, VECTORS, Small, sign_small, sign_with, small_bundle

from casemate.adapters.file_keys import FileSigner
from casemate.cli.main import run
from casemate.errors import KeyUnfitError
from casemate.formats.public_key import public_key_pem
from casemate.keys import RsaPublicKey


def test_reference_values_that_the_named_key_has_not_signed_are_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle", Small(simulated=True)))
    other = tmp_path / "other.pem"
    signer = FileSigner.generate(tmp_path / "key.pem", bits=3072, exponent=3, ask=None)
    other.write_bytes(public_key_pem(signer.public_key))
    where = ["--bundle", str(bundle.path), "--reference-key", str(other), "--collateral", str(other)]

    assert run(["verify", "server", "https://localhost:1", *where]) == 1

    error = capsys.readouterr().err
    assert error.startswith("error: signature of an envelope: expected one of a key that is trusted: ")


def test_a_manifest_has_no_provenance_to_sign(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--key", f"file:{KEY}", "--provenance-key", f"file:{KEY}"]

    assert run(["sign", "--manifest", str(VECTORS / "signing-key.pem"), *keys]) == 2

    assert capsys.readouterr().err.startswith(
        "error: options of sign: expected a bundle, got --provenance-key with --manifest\n"
    )


@dataclass
class Leaving:
    """A token that is removed after some signatures."""

    signer: FileSigner
    left: int

    @property
    def public_key(self) -> RsaPublicKey:
        return self.signer.public_key

    def sign(self, data: bytes) -> bytes:
        if not self.left:
            raise KeyUnfitError("token has been removed")
        self.left -= 1
        return self.signer.sign(data)


@pytest.mark.parametrize("signatures", [0, 1, 2])
def test_a_token_that_is_removed_meanwhile_leaves_the_bundle_as_it_was(
    tmp_path: Path, signatures: int
) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(simulated=True))
    before = {path: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()}

    with pytest.raises(KeyUnfitError):
        sign_with(bundle, Leaving(FileSigner.open(KEY), signatures))

    assert {path: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()} == before

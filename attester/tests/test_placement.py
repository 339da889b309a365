import os
import resource
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate_attester.configuration import EnvironmentPlace, FilePlace, KeyPlace
from casemate_attester.errors import PlacementError
from casemate_attester.placement import place_secret
from casemate_attester.unwrap import SecretBytes

SECRET = SecretBytes(b"sixteen letters!")


def place(place: FilePlace | EnvironmentPlace | KeyPlace, device: Path, secret: SecretBytes = SECRET) -> dict:
    environment: dict[str, str] = {}
    place_secret(secret, place, environment=environment, device=device)
    return environment


def refusal(
    where: FilePlace | EnvironmentPlace | KeyPlace, device: Path, secret: SecretBytes = SECRET
) -> tuple[str, str | None]:
    with pytest.raises(PlacementError) as caught:
        place(where, device, secret)
    text = str(caught.value) + str(caught.value.hint) + repr(caught.value)
    assert not secret.value or secret.value.decode("latin-1") not in text
    return str(caught.value), caught.value.hint


def test_a_file_holds_the_secret_for_its_owner_only_whatever_the_umask(tmp_path: Path, device: Path) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        place(FilePlace(path=str(path)), device)
    finally:
        os.umask(before)
    assert path.read_bytes() == SECRET.value
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["key"]


def test_what_exists_is_not_written_over(tmp_path: Path, device: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"mine")
    assert refusal(FilePlace(path=str(path)), device) == (
        f"file for a secret: expected a path where nothing is, got an existing file ({path})",
        "choose a path of its own for the secret in [secrets] of casemate.toml",
    )
    assert path.read_bytes() == b"mine"


def test_a_dangling_link_is_not_written_through(tmp_path: Path, device: Path) -> None:
    path = tmp_path / "key"
    path.symlink_to(tmp_path / "elsewhere")
    message, _ = refusal(FilePlace(path=str(path)), device)
    assert message == f"file for a secret: expected a path where nothing is, got an existing file ({path})"
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, device: Path) -> None:
    path = tmp_path / "none" / "key"
    assert refusal(FilePlace(path=str(path)), device) == (
        (
            "file for a secret: expected a writable folder of the enclave, "
            f"got No such file or directory ({path})"
        ),
        "mount its folder as tmpfs or encrypted, by [mounts] of casemate.toml",
    )


def test_nothing_half_written_remains(device: Path) -> None:
    folder = device / "small"
    folder.mkdir()
    target = folder / "key"
    limited = SecretBytes(bytes(10_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        message, _ = refusal(FilePlace(path=str(target)), device, limited)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message == (
        f"file for a secret: expected a writable folder of the enclave, got File too large ({target})"
    )
    assert list(folder.iterdir()) == []


def test_an_environment_variable_holds_text(device: Path) -> None:
    assert place(EnvironmentPlace(name="KEY"), device, SecretBytes("é\n".encode())) == {"KEY": "é\n"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b"])
def test_the_environment_holds_no_bytes(device: Path, content: bytes) -> None:
    assert refusal(EnvironmentPlace(name="KEY"), device, SecretBytes(content)) == (
        "secret for the environment: expected UTF-8 text without NUL, got other bytes (env:KEY)",
        "place a binary secret in a file",
    )


def test_a_key_goes_to_gramine_as_sixteen_raw_bytes(device: Path) -> None:
    place(KeyPlace(name="notes"), device)
    assert (device / "keys" / "notes").read_bytes() == SECRET.value


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_of_another_length_is_refused(device: Path, size: int) -> None:
    path = device / "keys" / "notes"
    assert refusal(KeyPlace(name="notes"), device, SecretBytes(b"\x01" * size)) == (
        f"key for encrypted files: expected 16 raw bytes, got {size} bytes ({path})",
        "store the key with the broker as raw bytes, neither hexadecimal nor base64",
    )
    assert path.read_bytes() == b""


def test_a_key_that_no_mount_uses_is_named(device: Path) -> None:
    path = device / "keys" / "other"
    assert refusal(KeyPlace(name="other"), device) == (
        (
            "key for encrypted files: expected a key that the manifest knows, "
            f"got No such file or directory ({path})"
        ),
        "mount an encrypted folder that uses this key, by [mounts] of casemate.toml",
    )


@given(st.binary())
def test_any_secret_for_the_environment_is_placed_or_refused(content: bytes) -> None:
    environment: dict[str, str] = {}
    try:
        place_secret(SecretBytes(content), EnvironmentPlace(name="A"), environment=environment)
    except PlacementError:
        assert environment == {}
    else:
        assert environment["A"].encode() == content

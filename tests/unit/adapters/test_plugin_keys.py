"""Plugins of ``gramine-sgx-sign``: what they may return, and how they may fail."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from casemate.adapters.plugin_keys import open_key
from casemate.errors import CasemateError
from casemate.keys import Passphrase

DATA = bytes(256)
MODULE = """
import click
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEYS = [rsa.generate_private_key(3, 2048) for _ in range(2)]

def sign_with(key):
    def sign(data):
        public = key.public_key().public_numbers()
        return public.e, public.n, int.from_bytes(key.sign(data, padding.PKCS1v15(), hashes.SHA256()), "big")
    return sign

def plugin(returned):
    @click.command(add_help_option=False)
    @click.help_option("--help-it")
    @click.option("--secret")
    def command(secret):
        return returned
    return command

fine = plugin(sign_with(KEYS[0]))
with_files = plugin((sign_with(KEYS[0]), ["key.pem"]))
turns = iter(KEYS)
changing = plugin(lambda data: sign_with(next(turns))(data))
lying = plugin(lambda data: (3, sign_with(KEYS[1])(data)[1], sign_with(KEYS[0])(data)[2]))
garbage = plugin(lambda data: ("3", None))
nothing = plugin(None)

def failing(data):
    raise RuntimeError("the PIN is 4711")
failing = plugin(failing)

@click.command()
def broken():
    raise RuntimeError("the PIN is 4711")
"""
NAMES = ("fine", "with_files", "changing", "lying", "garbage", "nothing", "failing", "broken")


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with the plugins above, and one whose plugins cannot be imported."""
    module = f"plugins_of_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    (tmp_path / f"{module}_needy.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / f"{module}_bad.py").write_text("1 / 0\n")
    folder = tmp_path / f"{module}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    points = [f"{name} = {module}:{name}" for name in NAMES]
    points += [f"needy = {module}_needy:sign", f"bad = {module}_bad:sign"]
    (folder / "entry_points.txt").write_text("\n".join(["[gramine.sgx_sign]", *points, ""]))
    monkeypatch.syspath_prepend(tmp_path)


def ask(what: str) -> Passphrase:
    raise AssertionError(what)


@pytest.mark.parametrize("name", ["fine", "with_files", "fine --secret 'a b'"])
def test_a_plugin_signs(name: str) -> None:
    signer = open_key(name, ask)
    assert signer.public_key.exponent == 3
    assert len(signer.sign(DATA)) == 256


def test_a_plugin_that_was_asked_for_help_gives_it_and_that_is_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(click.exceptions.Exit) as left:
        open_key("fine --help-it", ask)
    assert left.value.exit_code == 0
    assert "--help-it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rest", "message", "hint"),
    [
        (
            "fine --pin 1",
            "arguments of the plugin: expected what it takes, got No such option '--pin'. (fine)",
            None,
        ),
        ("nothing", "plugin: expected a function that signs, got none (nothing)", None),
        (
            "garbage",
            "plugin: expected exponent, modulus and signature, got TypeError (garbage)",
            "gramine-sgx-sign --with garbage shows more",
        ),
        (
            "failing",
            "plugin: expected exponent, modulus and signature, got RuntimeError (failing)",
            "gramine-sgx-sign --with failing shows more",
        ),
        (
            "broken",
            "plugin: expected exponent, modulus and signature, got RuntimeError (broken)",
            "gramine-sgx-sign --with broken shows more",
        ),
        (
            "needy",
            "plugin: expected everything that it imports, got no module a_module_that_is_not_there (needy)",
            "install it beside casemate",
        ),
        (
            "bad",
            "plugin: expected exponent, modulus and signature, got ZeroDivisionError (bad)",
            "gramine-sgx-sign --with bad shows more",
        ),
        (
            "lying",
            "signature: expected one that the public key confirms, got another",
            "the key's two halves do not belong together, or its token does not sign RSA PKCS#1 v1.5",
        ),
        ("'", "key URI: expected plugin:NAME ARGS, got something else", None),
        (
            "other",
            (
                f"plugin: expected {', '.join(sorted([*NAMES, 'needy', 'bad']))}, got other "
                "(the Python that runs casemate)"
            ),
            "install the plugin beside casemate, or name its folder in PYTHONPATH",
        ),
    ],
)
def test_a_plugin_that_cannot_sign_is_refused(rest: str, message: str, hint: str | None) -> None:
    with pytest.raises(CasemateError) as refused:
        open_key(rest, ask)
    assert str(refused.value) == message
    assert refused.value.hint == hint


def test_a_plugin_that_changes_its_key_is_refused() -> None:
    signer = open_key("changing", ask)
    with pytest.raises(CasemateError) as refused:
        signer.sign(DATA)
    assert str(refused.value) == "key of the plugin: expected the same each time, got another (changing)"

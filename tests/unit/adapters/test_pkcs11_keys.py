"""Keys on PKCS#11 tokens, with SoftHSM 2: what signs, and what is refused with its reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pkcs11 import Attribute, Mechanism, TokenFlag
from tests.support.softhsm import PIN, SoftHsm

from casemate.adapters.file_keys import FileSigner
from casemate.adapters.pkcs11_keys import generate_key, open_key, pin_prompt, public_key_of
from casemate.errors import KeyUnfitError
from casemate.keys import AskPassphrase, Passphrase

KEY = Path(__file__).parents[2] / "vectors/measurement/signing-key.pem"
DATA = bytes(range(256))
NAMES = iter(range(1000))


class Asked:
    """Gives one PIN, and remembers what it was asked for."""

    def __init__(self, answer: str = PIN) -> None:
        self.answer = answer
        self.questions: list[str] = []

    def __call__(self, what: str) -> Passphrase:
        self.questions.append(what)
        return Passphrase(self.answer.encode())


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    # One for the process: the module reads its configuration when it is loaded.
    made = SoftHsm.make(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(os.environ, "SOFTHSM2_CONF", str(made.configuration))
        yield made


@pytest.fixture(scope="module")
def pkcs8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    key = load_pem_private_key(KEY.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def token(softhsm: SoftHsm, pkcs8: Path) -> str:
    """The label of a token with the vectors' key under the name ``enclave``."""
    label = f"token {next(NAMES)}"
    softhsm.make_token(label)
    softhsm.import_key(pkcs8, token=label, label="enclave")
    look_again(softhsm)
    return label


def look_again(softhsm: SoftHsm) -> None:
    """SoftHSM looks for tokens when it is initialised, and then no more."""
    pkcs11.lib(str(softhsm.module.resolve())).reinitialize()


def rest(softhsm: SoftHsm, token: str, key: str = "object=enclave") -> str:
    return softhsm.uri(f"token={token.replace(' ', '%20')};{key}").removeprefix("pkcs11:")


def refusal_of(call: Callable[..., object], uri: str, ask: AskPassphrase, **options: int) -> KeyUnfitError:
    with pytest.raises(KeyUnfitError) as refused:
        call(uri, ask, **options)
    return refused.value


@pytest.mark.parametrize("name", ["object=enclave", "id=%01", "object=enclave;id=%01;type=private"])
def test_a_token_signs_as_the_file_does(softhsm: SoftHsm, token: str, name: str) -> None:
    ask, file = Asked(), FileSigner.open(KEY)
    signer = open_key(rest(softhsm, token, name), ask)
    assert signer.public_key == file.public_key
    assert signer.sign(DATA) == file.sign(DATA)
    assert ask.questions == [f"PIN of token {token}"]


def test_a_token_that_only_pads_is_given_the_digest(softhsm: SoftHsm, token: str) -> None:
    signer = replace(open_key(rest(softhsm, token), Asked()), _mechanism=Mechanism.RSA_PKCS)
    assert signer.sign(DATA) == FileSigner.open(KEY).sign(DATA)


def test_two_keys_of_one_token_are_open_at_once(softhsm: SoftHsm, token: str, pkcs8: Path) -> None:
    softhsm.import_key(pkcs8, token=token, label="second", identity="02")
    first, second = (
        open_key(rest(softhsm, token, f"object={name}"), Asked()) for name in ("enclave", "second")
    )
    assert first.sign(DATA) == second.sign(DATA)


def test_the_module_is_found_by_its_name(softhsm: SoftHsm, token: str) -> None:
    uri = rest(softhsm, token).partition("?")[0] + "?module-name=softhsm2"
    assert open_key(uri, Asked()).public_key.exponent == 3


def test_a_token_is_told_from_others_by_everything_that_it_says_of_itself(
    softhsm: SoftHsm, token: str
) -> None:
    more = "object=enclave;model=SoftHSM%20v2;manufacturer=SoftHSM%20project;library-manufacturer=SoftHSM"
    assert open_key(rest(softhsm, token, more), Asked()).public_key.exponent == 3
    error = refusal_of(open_key, rest(softhsm, token, "object=enclave;serial=0"), Asked())
    assert str(error) == f"token: expected one that the URI fits, got none ({softhsm.module.resolve()})"


def test_a_wrong_pin_is_tried_once(softhsm: SoftHsm, token: str) -> None:
    ask = Asked("11110000")
    error = refusal_of(open_key, rest(softhsm, token), ask)
    assert str(error) == f"PIN of the token: expected the right one, got a wrong one ({token})"
    assert error.hint == "it was tried once; tokens lock themselves after a few attempts"
    assert error.__cause__ is None
    assert len(ask.questions) == 1


def test_a_pin_of_the_wrong_length_is_tried_once(softhsm: SoftHsm, token: str) -> None:
    ask = Asked("1")
    error = refusal_of(open_key, rest(softhsm, token), ask)
    assert str(error).startswith("PIN of the token: expected the right one, got ")
    assert len(ask.questions) == 1


def test_a_pin_that_is_no_text_is_not_tried_and_not_shown(softhsm: SoftHsm, token: str) -> None:
    def ask(_: str) -> Passphrase:
        return Passphrase(b"47\xff11")

    error = refusal_of(open_key, rest(softhsm, token), ask)
    assert str(error) == (
        "PIN of the token: expected the right one, got one with characters that the token does not take "
        f"({token})"
    )
    assert error.__cause__ is None


def test_a_key_of_another_kind_is_refused(softhsm: SoftHsm, token: str, tmp_path: Path) -> None:
    pem = tmp_path / "ec.pem"
    key = generate_ec_key(SECP256R1())
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    softhsm.import_key(pem, token=token, label="elliptic", identity="03")
    error = refusal_of(open_key, rest(softhsm, token, "object=elliptic"), Asked())
    assert str(error) == f"key on the token: expected an RSA key, got another kind ({token})"


def test_the_public_half_comes_from_beside_the_key_where_the_key_does_not_tell(
    softhsm: SoftHsm, token: str
) -> None:
    signer = open_key(rest(softhsm, token), Asked())
    attributes = {
        Attribute.MODULUS: signer.public_key.modulus.to_bytes(384),
        Attribute.PUBLIC_EXPONENT: b"\x03",
    }
    assert public_key_of({}, attributes, where=token) == signer.public_key
    with pytest.raises(KeyUnfitError) as refused:
        public_key_of({}, None, where=token)
    assert str(refused.value) == (f"key on the token: expected its public half beside it, got none ({token})")
    assert refused.value.hint == "write the public key to the token under the same id"


def test_a_missing_key_is_named(softhsm: SoftHsm, token: str) -> None:
    error = refusal_of(open_key, rest(softhsm, token, "object=other"), Asked())
    assert str(error) == f"key on the token: expected one that the URI fits, got none ({token})"
    assert error.hint == "make one with: casemate key generate URI"


def test_two_keys_of_one_name_are_refused(softhsm: SoftHsm, token: str, pkcs8: Path) -> None:
    softhsm.import_key(pkcs8, token=token, label="enclave", identity="02")
    error = refusal_of(open_key, rest(softhsm, token), Asked())
    assert str(error) == f"key on the token: expected one that the URI fits, got 2 ({token})"
    assert error.hint == "its id tells it from others: ;id=%01"
    assert open_key(rest(softhsm, token, "object=enclave;id=%02"), Asked()).sign(DATA)


def test_two_tokens_of_one_name_are_refused(softhsm: SoftHsm, token: str) -> None:
    softhsm.make_token(token)
    look_again(softhsm)
    error = refusal_of(open_key, rest(softhsm, token), Asked())
    assert str(error) == f"token: expected one that the URI fits, got 2 ({softhsm.module.resolve()})"


def test_a_token_that_is_removed_before_it_signs_is_named(softhsm: SoftHsm, pkcs8: Path) -> None:
    folder = softhsm.make_token("removed")
    softhsm.import_key(pkcs8, token="removed", label="enclave")
    look_again(softhsm)
    signer = open_key(rest(softhsm, "removed"), Asked())
    shutil.rmtree(folder)
    with pytest.raises(KeyUnfitError) as refused:
        signer.sign(DATA)
    assert str(refused.value) == (
        "token: expected one that stays while it is used, "
        "got one that is gone or locked (ObjectHandleInvalid) (removed)"
    )
    assert refused.value.hint == "plug it in again, and give the command again"


def test_a_token_that_locks_itself_before_it_signs_is_named(softhsm: SoftHsm, token: str) -> None:
    signer = open_key(rest(softhsm, token), Asked())
    signer._session.close()  # the last session's end logs out, as a token does that is tired of waiting
    with pytest.raises(KeyUnfitError) as refused:
        signer.sign(DATA)
    assert str(refused.value).startswith("token: expected one that stays while it is used, got one that is")


def test_a_pin_that_is_locked_is_not_tried() -> None:
    with pytest.raises(KeyUnfitError) as refused:
        pin_prompt("release", TokenFlag.USER_PIN_LOCKED)
    assert str(refused.value) == (
        "PIN of the token: expected the right one, got none that it still takes: it is locked (release)"
    )
    assert refused.value.hint == "its security officer can unlock it"


def test_the_last_attempt_is_announced() -> None:
    assert pin_prompt("release", TokenFlag.LOGIN_REQUIRED) == "PIN of token release"
    assert pin_prompt("release", TokenFlag.USER_PIN_FINAL_TRY) == (
        "PIN of token release (the last attempt before it locks)"
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param(
            "module-path=/nowhere/module.so",
            "PKCS#11 module: expected module-path=/PATH/OF/MODULE.so, got no such file (/nowhere/module.so)",
            id="no such file",
        ),
        pytest.param(
            "module-name=nowhere",
            "PKCS#11 module: expected libnowhere.so or nowhere.so, got no such file",
            id="no such name",
        ),
        pytest.param(
            "module-name=../../../nowhere",
            "PKCS#11 module: expected lib../../../nowhere.so or ../../../nowhere.so, got no such file",
            id="a name that is a path",
        ),
    ],
)
def test_a_module_that_is_not_there_is_named(query: str, message: str) -> None:
    assert str(refusal_of(open_key, f"object=enclave?{query}", Asked())) == message


def test_a_file_that_is_no_module_is_refused() -> None:
    error = refusal_of(open_key, f"object=enclave?module-path={KEY}", Asked())
    assert str(error).startswith("PKCS#11 module: expected an answer, got ")


def test_a_new_key_fits_and_never_leaves_its_token(softhsm: SoftHsm, token: str) -> None:
    made = generate_key(rest(softhsm, token, "object=new"), Asked(), bits=3072, exponent=3)
    assert made.public_key.modulus.bit_length() == 3072
    assert made.public_key.exponent == 3
    assert made._key[Attribute.SENSITIVE] is True
    assert made._key[Attribute.EXTRACTABLE] is False
    opened = open_key(rest(softhsm, token, "object=new"), Asked())
    assert opened.public_key == made.public_key
    assert opened.sign(DATA) == made.sign(DATA)


def test_a_new_key_replaces_none(softhsm: SoftHsm, token: str) -> None:
    error = refusal_of(generate_key, rest(softhsm, token), Asked(), bits=3072, exponent=3)
    assert str(error) == f"new key on a token: expected a name that is free, got a key ({token})"


def test_a_new_key_needs_a_name(softhsm: SoftHsm, token: str) -> None:
    error = refusal_of(generate_key, rest(softhsm, token, "id=%07"), Asked(), bits=3072, exponent=3)
    assert str(error) == f"new key on a token: expected object=NAME in its URI, got none ({token})"

"""A request says what is to be signed, and nothing in it is believed when the signature comes back."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from casemate.builder.signing.request import SigningRequest, require_request
from casemate.builder.signing.sigstruct import SigningSubject, enclave_identity
from casemate.errors import CasemateError, FormatError, RefusedError
from casemate.formats.manifest import CpuFeature, CpuFeatures, EnclaveSettings
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import NO_DATE, SigningDate

SETTINGS = replace(EnclaveSettings(size=1 << 28), isvprodid=7, isvsvn=3)
MRENCLAVE = MrEnclave(bytes(range(32)))
SIGNER = MrSigner(b"\5" * 32)
DATE = SigningDate(year=2026, month=11, day=21)
SUBJECT = SigningSubject(
    enclave=enclave_identity(MRENCLAVE, SETTINGS),
    manifest_sha256="ab" * 32,
    platform_image_sha256="cd" * 32,
    gramine_version="1.9",
    name="notes",
    image_digest="sha256:" + "ef" * 32,
)
AGAIN = "prepare a new request and have that one signed"


def files(request: SigningRequest | None = None) -> dict[str, bytes]:
    return (request or SigningRequest(subject=SUBJECT, date=DATE, mrsigner=SIGNER)).to_files()


def text(subject: SigningSubject = SUBJECT, *, mrsigner: MrSigner | None = SIGNER) -> str:
    return files(SigningRequest(subject=subject, date=DATE, mrsigner=mrsigner))["request.txt"].decode()


def refusal(given: dict[str, bytes], subject: SigningSubject = SUBJECT) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        require_request(given, subject, SIGNER, where="out")
    return refused.value


def changed(**fields: Any) -> dict[str, bytes]:
    made = files()
    document = json.loads(made["request.json"]) | fields
    return made | {"request.json": (json.dumps(document, indent=2) + "\n").encode()}


def test_the_date_is_the_only_thing_that_comes_from_a_request() -> None:
    assert require_request(files(), SUBJECT, SIGNER, where="out") == DATE


def test_a_request_that_names_no_key_takes_any() -> None:
    given = files(SigningRequest(subject=SUBJECT, date=NO_DATE, mrsigner=None))
    assert require_request(given, SUBJECT, SIGNER, where="out") == NO_DATE


def test_the_256_bytes_hold_the_measurement_where_the_text_says() -> None:
    signed = files()["to-be-signed.bin"]
    assert len(signed) == 256
    assert signed[188:220] == MRENCLAVE
    assert "tail -c +189 to-be-signed.bin" in text()


def commands_shown(where: str) -> list[tuple[str, str]]:
    """Each command of "HOW TO CHECK IT" with what stands below it."""
    lines = where.partition("HOW TO CHECK IT")[2].partition("HOW TO SIGN IT")[0].splitlines()
    return [
        (line.strip().removeprefix("$ "), below.strip())
        for line, below in pairwise(lines)
        if line.startswith("    $ ")
    ]


def test_each_command_of_the_text_prints_what_it_says(tmp_path: Path) -> None:
    shown = commands_shown(text())
    (tmp_path / "to-be-signed.bin").write_bytes(files()["to-be-signed.bin"])
    printed = [
        subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
        for command, _ in shown
    ]
    assert [line.strip() for line in printed] == [below for _, below in shown]
    assert len(shown) == 4


def test_whoever_follows_the_text_sees_a_debug_enclave_behind_honest_words(tmp_path: Path) -> None:
    signed = bytearray(files()["to-be-signed.bin"])
    signed[156] |= 2  # DEBUG of ATTRIBUTES; MRENCLAVE stays as it is
    (tmp_path / "to-be-signed.bin").write_bytes(signed)
    agrees = [
        subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, text=True
        ).stdout.strip()
        == below
        for command, below in commands_shown(text())
    ]
    assert agrees == [False, True, False, True]


def test_a_request_for_another_enclave_is_refused_with_both_measurements() -> None:
    other = replace(SUBJECT, enclave=replace(SUBJECT.enclave, mrenclave=MrEnclave(b"\1" * 32)))
    refused = refusal(files(), other)
    assert isinstance(refused, RefusedError)
    assert str(refused) == (
        f"MRENCLAVE of the prepared request: expected {'01' * 32}, which was measured now, "
        f"got {MRENCLAVE.hex()} (out)"
    )
    assert refused.hint == (
        "it was prepared for another enclave, or this one was built anew since: attach the signature to the "
        f"one that it was prepared for, or {AGAIN}"
    )


def test_a_request_for_another_key_is_refused() -> None:
    given = files(SigningRequest(subject=SUBJECT, date=DATE, mrsigner=MrSigner(b"\6" * 32)))
    refused = refusal(given)
    assert str(refused) == (
        f"key of the prepared request: expected MRSIGNER {'05' * 32}, of the public key that is named, "
        f"got MRSIGNER {'06' * 32} (out)"
    )
    assert refused.hint == f"name the key for which it was prepared, or {AGAIN}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "payroll"),
        ("isvprodid", 8),
        ("isvsvn", 2),
        ("attributes", "06" + "00" * 15),
        ("attributes_mask", "00" * 16),
        ("misc_select", "01000000"),
        ("misc_mask", "00000000"),
        ("gramine_version", "1.8"),
        ("platform_image_sha256", "00" * 32),
        ("manifest_sha256", "00" * 32),
        ("weaknesses", ["sgx.debug = true"]),
        ("image_digest", "sha256:" + "00" * 32),
    ],
)
def test_a_changed_field_is_refused_and_named(field: str, value: object) -> None:
    refused = refusal(changed(**{field: value}))
    right = json.loads(files()["request.json"])[field]
    assert str(refused) == f"{field} of the prepared request: expected {right}, got {value} (out)"
    assert refused.hint == f"somebody has changed it, or the enclave was built anew since: {AGAIN}"


@pytest.mark.parametrize("name", ["request.txt", "request.json", "to-be-signed.bin"])
def test_a_changed_file_is_refused(name: str) -> None:
    given = files()
    refused = refusal(given | {name: given[name] + b"\n"})
    assert str(refused) == (
        f"prepared request: expected the files as they were prepared, got another {name} (out)"
    )
    assert refused.hint == f"somebody has changed it, or another version of casemate wrote it: {AGAIN}"


def test_another_date_does_not_go_with_the_bytes() -> None:
    assert str(refusal(changed(date="2026-11-22"))) == (
        "prepared request: expected the files as they were prepared, got another request.txt (out)"
    )


@pytest.mark.parametrize(
    ("date", "message"),
    [
        ("2026-02-30", "date: expected a day that exists, got 2026-02-30 (out/request.json)"),
        ("21.11.2026", "date: expected YYYY-MM-DD, got '21.11.2026' (out/request.json)"),
    ],
)
def test_a_date_that_does_not_exist_is_refused(date: str, message: str) -> None:
    refused = refusal(changed(date=date))
    assert isinstance(refused, FormatError)
    assert str(refused) == message


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"{}", "Object missing required field `version`"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"version": 1, "version": 1}', "an object with a duplicate key"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, got: str) -> None:
    refused = refusal(files() | {"request.json": data})
    assert isinstance(refused, FormatError)
    assert str(refused) == (
        f"signing request: expected a document that Casemate wrote, got {got} (out/request.json)"
    )
    assert refused.hint == AGAIN


@pytest.mark.parametrize(
    ("field", "value"), [("version", 2), ("kind", "other"), ("more", 1), ("name", "\x1b[2J")]
)
def test_a_request_is_read_strictly(field: str, value: object) -> None:
    with pytest.raises(FormatError):
        SigningRequest.parse(changed(**{field: value})["request.json"], where="x")


def test_the_text_says_in_words_what_the_bits_are() -> None:
    assert (
        f"\n  MRENCLAVE       {MRENCLAVE.hex()}\n"
        "                  the measurement: what the enclave is made of when it starts\n"
    ) in text()
    assert "\n                  the digest of the key's modulus: who vouches for the enclave\n" in text()
    assert "\n  page faults     the processor does not tell the enclave their addresses\n" in text()
    assert (
        "\n  MISCSELECT      00000000, mask ffffffff\n"
        "                  what more the processor saves when it interrupts the enclave; 01000000 is EXINFO\n"
    ) in text()
    assert "\n  ISVSVN          3, its security version; it never goes down\n" in text()
    assert "\n  date            2026-11-21\n" in text()
    assert "\n  debug           no: the host can neither read nor change its memory\n" in text()
    assert (
        "\n  processor       needs nothing beyond x87 and SSE\n"
        "                  may use AVX, AVX-512, AMX\n"
        "                  leaves MPX, PKRU off\n"
    ) in text()
    assert "\n    weaknesses    none that Gramine or casemate lint knows\n" in text()
    assert f"\n  MRSIGNER        {SIGNER.hex()}\n" in text()
    assert "\n  MRSIGNER        that of the key which signs; none was named\n" in text(mrsigner=None)


def test_the_text_is_loud_about_what_protects_nothing() -> None:
    features = CpuFeatures(avx512=CpuFeature.REQUIRED, amx=CpuFeature.DISABLED)
    settings = replace(SETTINGS, debug=True, exinfo=True, cpu_features=features)
    subject = replace(
        SUBJECT,
        enclave=enclave_identity(MRENCLAVE, settings),
        gramine_version=None,
        weaknesses=("sgx.debug = true", "sgx.insecure__\x1b[2J = true"),
    )
    said = text(subject)
    assert "\n  debug           YES: THE HOST CAN READ AND CHANGE ITS MEMORY. For tests only.\n" in said
    assert "\n  platform        SIMULATED: the signature holds on no SGX machine\n" in said
    assert (
        "\n    WEAKNESS      sgx.debug = true"
        "\n    WEAKNESS      sgx.insecure__\N{REPLACEMENT CHARACTER}[2J = true\n"
    ) in said
    assert "\n  processor       needs AVX, AVX-512\n                  leaves AMX, MPX, PKRU off\n" in said
    assert "\n  page faults     the processor tells the enclave their addresses (EXINFO)\n" in said


def test_a_manifest_alone_has_neither_workload_nor_image() -> None:
    said = text(replace(SUBJECT, name=None, image_digest=None))
    assert "workload" not in said
    assert "\n  image" not in said


def test_nothing_in_the_text_is_longer_than_a_terminal_shows_well() -> None:
    assert max(len(line) for line in text().splitlines()) <= 120

from pathlib import Path

import pytest

from casemate_attester.binding import ReportData
from casemate_attester.errors import EvidenceError
from casemate_attester.evidence import fetch_quote
from casemate_attester.messages import MAX_QUOTE_BYTES

DATA = ReportData(bytes(range(64)))
MANIFEST = 'set sgx.remote_attestation = "dcap" in the manifest and run in gramine-sgx or in a rehearsal'
QUOTING = "see that AESM answers at /var/run/aesmd/aesm.socket and that the platform is provisioned"


def refusal(device: Path, data: ReportData = DATA) -> tuple[str, str | None]:
    with pytest.raises(EvidenceError) as caught:
        fetch_quote(data, device)
    return str(caught.value), caught.value.hint


def test_report_data_goes_in_and_a_quote_comes_out(device: Path) -> None:
    assert fetch_quote(DATA, device) == b"a quote"
    assert (device / "user_report_data").read_bytes() == DATA


def test_a_newline_behind_the_type_does_not_matter(device: Path) -> None:
    (device / "attestation_type").write_text("dcap\n")
    assert fetch_quote(DATA, device) == b"a quote"


@pytest.mark.parametrize("kind", ["none", "epid", "", "dcap2", "\xe9"])
def test_without_dcap_there_is_no_evidence_and_nothing_is_asked_for(device: Path, kind: str) -> None:
    (device / "attestation_type").write_bytes(kind.encode("latin-1"))
    (device / "quote").unlink()
    shown = ascii(kind.encode("latin-1").decode("ascii", "replace"))
    assert refusal(device) == (
        f"attestation type: expected dcap, got {shown} ({device / 'attestation_type'})",
        MANIFEST,
    )
    assert (device / "user_report_data").read_bytes() == bytes(64)


@pytest.mark.parametrize(
    ("name", "hint"), [("attestation_type", MANIFEST), ("quote", QUOTING)], ids=["no-gramine", "no-quote"]
)
def test_a_file_that_is_not_there_is_named(device: Path, name: str, hint: str) -> None:
    (device / name).unlink()
    assert refusal(device) == (
        f"{name}: expected a readable file, got No such file or directory ({device / name})",
        hint,
    )


def test_report_data_that_cannot_be_written_is_named(device: Path) -> None:
    (device / "user_report_data").unlink()
    assert refusal(device) == (
        (
            "user_report_data: expected a writable file, "
            f"got No such file or directory ({device / 'user_report_data'})"
        ),
        MANIFEST,
    )


def test_report_data_that_is_not_taken_whole_is_refused(device: Path) -> None:
    assert refusal(device, ReportData(b"short")) == (
        f"user_report_data: expected 64 bytes to be taken, got 5 ({device / 'user_report_data'})",
        MANIFEST,
    )


def test_an_empty_quote_is_refused(device: Path) -> None:
    (device / "quote").write_bytes(b"")
    assert refusal(device) == (f"quote: expected a quote, got an empty file ({device / 'quote'})", QUOTING)


def test_a_quote_has_a_largest_size(device: Path) -> None:
    (device / "quote").write_bytes(bytes(MAX_QUOTE_BYTES))
    assert len(fetch_quote(DATA, device)) == MAX_QUOTE_BYTES
    (device / "quote").write_bytes(bytes(MAX_QUOTE_BYTES + 1))
    assert refusal(device) == (f"quote: expected at most 65536 bytes, got more ({device / 'quote'})", QUOTING)

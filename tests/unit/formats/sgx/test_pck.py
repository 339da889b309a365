"""The SGX extension of a PCK certificate: the fields of Intel's profile, in their order, and no others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casemate.errors import FormatError
from casemate.formats import der
from casemate.formats.sgx.pck import PckExtension, PlatformConfiguration, SgxType

WHERE = "(SGX extension of the PCK certificate)"
PROCESSOR = PckExtension(
    ppid=b"p" * 16,
    components=tuple(range(240, 256)),
    pce_svn=13,
    cpu_svn=b"c" * 16,
    pce_id=b"\x00\x00",
    fmspc=bytes.fromhex("00906ed50000"),
    sgx_type=SgxType.STANDARD,
)
PLATFORM = replace(
    PROCESSOR,
    sgx_type=SgxType.SCALABLE_WITH_INTEGRITY,
    platform_instance_id=b"i" * 16,
    configuration=PlatformConfiguration(dynamic_platform=True, cached_keys=False, smt_enabled=True),
)


def changed(extension: PckExtension, old: str, new: str) -> bytes:
    """The encoding with the first ``old`` replaced by ``new`` of the same length."""
    before, after = bytes.fromhex(old), bytes.fromhex(new)
    data = extension.to_der()
    assert len(before) == len(after)
    assert before in data
    return data.replace(before, after, 1)


def with_fields(count: int) -> bytes:
    """The platform's extension, cut after ``count`` fields."""
    fields = der.children(der.parse(PLATFORM.to_der(), where="test"), where="test")
    return der.encode(der.SEQUENCE, *(field.encoded for field in fields[:count]))


OID = "2a864886f84d010d01"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_fields(4), f"SGX extension: expected 5 or 7 fields, got 4 {WHERE}"),
        (with_fields(6), f"SGX extension: expected 5 or 7 fields, got 6 {WHERE}"),
        (
            changed(PROCESSOR, OID + "03", OID + "04"),
            (
                "SGX extension: expected the field 1.2.840.113741.1.13.1.3, got another field, or more than"
                f" an identifier and a value {WHERE}"
            ),
        ),
        (
            changed(PROCESSOR, OID + "0201", OID + "0202"),
            (
                "SGX extension: expected the field 1.2.840.113741.1.13.1.2.1, got another field, or more than"
                f" an identifier and a value {WHERE}"
            ),
        ),
        (changed(PROCESSOR, "0a0100", "0a0103"), f"SGX type: expected 0, 1 or 2, got 3 {WHERE}"),
        (changed(PROCESSOR, "0a0100", "020100"), f"DER tag: expected 0x0a, got 0x02 {WHERE}"),
        (
            replace(PROCESSOR, components=(256, *range(15))).to_der(),
            f"SVN of TCB component 1: expected at most 255, got 256 {WHERE}",
        ),
        (
            replace(PROCESSOR, components=(*range(15), 256)).to_der(),
            f"SVN of TCB component 16: expected at most 255, got 256 {WHERE}",
        ),
        (
            replace(PROCESSOR, pce_svn=65536).to_der(),
            f"PCESVN: expected at most 65535, got 65536 {WHERE}",
        ),
        (replace(PROCESSOR, ppid=bytes(15)).to_der(), f"PPID: expected 16 bytes, got 15 bytes {WHERE}"),
        (replace(PROCESSOR, cpu_svn=b"").to_der(), f"CPUSVN: expected 16 bytes, got 0 bytes {WHERE}"),
        (replace(PROCESSOR, pce_id=b"\x00").to_der(), f"PCEID: expected 2 bytes, got 1 bytes {WHERE}"),
        (replace(PROCESSOR, fmspc=bytes(7)).to_der(), f"FMSPC: expected 6 bytes, got 7 bytes {WHERE}"),
        (
            replace(PLATFORM, platform_instance_id=bytes(17)).to_der(),
            f"platform instance id: expected 16 bytes, got 17 bytes {WHERE}",
        ),
        (
            PROCESSOR.to_der() + b"\x00",
            (
                f"DER length: expected {len(PROCESSOR.to_der())} bytes,"
                f" got {len(PROCESSOR.to_der()) + 1} bytes {WHERE}"
            ),
        ),
    ],
)
def test_another_content_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        PckExtension.parse(data)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (7, f"platform configuration: expected 3 fields, got 2 {WHERE}"),
        (2, f"TCB of the SGX extension: expected 18 fields, got 17 {WHERE}"),
    ],
)
def test_a_field_with_its_last_part_cut_is_refused(number: int, message: str) -> None:
    fields = list(der.children(der.parse(PLATFORM.to_der(), where="test"), where="test"))
    oid, value = der.children(fields[number - 1], where="test")
    parts = [part.encoded for part in der.children(value, where="test")[:-1]]
    shorter = der.encode(der.SEQUENCE, oid.encoded, der.encode(der.SEQUENCE, *parts))
    encoded = [field.encoded for field in fields]
    encoded[number - 1] = shorter
    with pytest.raises(FormatError) as refusal:
        PckExtension.parse(der.encode(der.SEQUENCE, *encoded))
    assert str(refusal.value) == message


@pytest.mark.parametrize("extension", [PROCESSOR, PLATFORM], ids=["processor CA", "platform CA"])
def test_both_forms_are_read(extension: PckExtension) -> None:
    assert PckExtension.parse(extension.to_der()) == extension


@pytest.mark.parametrize("values", [(True, False, True), (False, True, False)])
def test_flags_are_those_of_the_configuration(values: tuple[bool, bool, bool]) -> None:
    dynamic, cached, smt = values
    configuration = PlatformConfiguration(dynamic_platform=dynamic, cached_keys=cached, smt_enabled=smt)
    extension = PckExtension.parse(replace(PLATFORM, configuration=configuration).to_der())
    assert (extension.dynamic_platform, extension.cached_keys, extension.smt_enabled) == values


def test_the_processor_ca_says_nothing_of_flags() -> None:
    flags = (PROCESSOR.dynamic_platform, PROCESSOR.cached_keys, PROCESSOR.smt_enabled)
    assert flags == (None, None, None)

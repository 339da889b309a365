"""What names a PCK certificate in quotes that bring none, and how a quote names its platform."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.sgx_world import good_world, with_quote

from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.pck_identifier import PckIdentifier, PpidForm
from casemate.formats.sgx.platform_name import PlatformFamily, PlatformName
from casemate.formats.sgx.quote import Quote
from casemate.simulator.pki import PckAuthority
from casemate.simulator.platform import FMSPC

SIZES = {PpidForm.CLEAR: 36, PpidForm.RSA_2048_OAEP: 276, PpidForm.RSA_3072_OAEP: 404}


@pytest.mark.parametrize("form", list(PpidForm))
def test_the_fields_stand_one_after_the_other(form: PpidForm) -> None:
    ppid = b"\x11" * (SIZES[form] - 20)
    data = ppid + b"\x22" * 16 + b"\x0d\x01" + b"\x03\x04"
    identifier = PckIdentifier.parse(form.value, data)
    assert identifier == PckIdentifier(
        form=form, ppid=ppid, cpu_svn=b"\x22" * 16, pce_svn=0x010D, pce_id=b"\x03\x04"
    )
    assert identifier.to_bytes() == data


@pytest.mark.parametrize("form", list(PpidForm))
@pytest.mark.parametrize("difference", [-2, -1, 1])
def test_another_size_is_refused(form: PpidForm, difference: int) -> None:
    """34 bytes, without PCEID, are what the first libraries made."""
    size = SIZES[form]
    with pytest.raises(FormatError) as caught:
        PckIdentifier.parse(form.value, bytes(size + difference))
    assert str(caught.value) == (
        f"certification data of type {form.value}: expected {size} bytes, got {size + difference} bytes"
    )


@pytest.mark.parametrize("kind", [0, 4, 5, 6, 7, 65535])
def test_another_type_is_refused(kind: int) -> None:
    with pytest.raises(FormatError) as caught:
        PckIdentifier.parse(kind, bytes(36))
    assert str(caught.value) == f"certification data type: expected 1, 2 or 3, got {kind}"


@given(
    kind=st.sampled_from([1, 2, 3]),
    data=st.sampled_from(sorted(SIZES.values())).flatmap(
        lambda size: st.binary(min_size=size, max_size=size)
    ),
)
def test_nothing_but_our_errors_escapes_and_what_is_read_comes_back(kind: int, data: bytes) -> None:
    try:
        identifier = PckIdentifier.parse(kind, data)
    except FormatError:
        assert len(data) != SIZES[PpidForm(kind)]
    else:
        assert identifier.to_bytes() == data


@pytest.mark.parametrize("authority", list(PckAuthority))
def test_a_chain_says_the_family_and_who_certifies_it(authority: PckAuthority) -> None:
    quote = Quote.parse(good_world(authority=authority).evidence)
    name = PlatformName.of(quote)
    assert name.qe_id == quote.header.user_data[:16]
    assert name.pck_chain == quote.certification_data
    assert PlatformFamily.of_chain(quote.certification_data) == PlatformFamily(
        fmspc=FMSPC, of_several_packages=authority is PckAuthority.PLATFORM
    )


def test_a_chain_that_begins_with_an_authority_says_no_family() -> None:
    root = good_world().platform.authorities.root.certificate
    with pytest.raises(FormatError) as caught:
        PlatformFamily.of_chain(encode_certificates((root,)))
    assert str(caught.value) == (
        "certificate chain of the PCK: expected a certificate with Intel's SGX extension first, got Intel"
        " SGX Root CA"
    )


@pytest.mark.parametrize("kind", [0, 4, 6, 7])
def test_certification_data_that_name_no_platform_are_refused(kind: int) -> None:
    quote = Quote.parse(with_quote(good_world(), certification_type=kind).evidence)
    with pytest.raises(FormatError) as caught:
        PlatformName.of(quote)
    assert str(caught.value) == (
        f"certification data type: expected 5 (certificate chain of the PCK), or 1 to 3 (PPID), got {kind}"
    )


CHAIN = Quote.parse(good_world().evidence).certification_data


@given(at=st.integers(0, len(CHAIN) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(CHAIN)))
def test_nothing_but_our_errors_escapes_from_a_damaged_chain(at: int, byte: int, cut: int) -> None:
    for damaged in (CHAIN[:at] + bytes([byte]) + CHAIN[at + 1 :], CHAIN[:cut]):
        with suppress(FormatError):
            PlatformFamily.of_chain(damaged)

"""Quotes that name their PCK certificate, and the chain that somebody has fetched for them."""

from __future__ import annotations

import pytest
from tests.support.sgx_world import World, good_world, with_quote

from casemate.formats.sgx.pck_identifier import PckIdentifier, PpidForm
from casemate.formats.sgx.quote import Quote
from casemate.simulator.pki import PckAuthority
from casemate.verifier.appraisal import Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.result import AttestationResult, Verdict

SIZES = {PpidForm.CLEAR: 16, PpidForm.RSA_2048_OAEP: 256, PpidForm.RSA_3072_OAEP: 384}
KINDS = {
    1: "1 (PPID in the clear)",
    2: "2 (PPID encrypted with RSA-2048)",
    3: "3 (PPID encrypted with RSA-3072)",
}
EITHER = (
    "5 (certificate chain of the PCK), or 1 to 3 (PPID) and the chain that a collateral service has for it"
    " (--pccs)"
)


def naming(world: World, form: PpidForm) -> World:
    """The same quote, of a platform that has not been given its chain."""
    extension = world.platform.sgx_extension
    identifier = PckIdentifier(
        form=form,
        ppid=bytes(SIZES[form]),
        cpu_svn=extension.cpu_svn,
        pce_svn=extension.pce_svn,
        pce_id=extension.pce_id,
    )
    return with_quote(world, certification_type=form.value, certification_data=identifier.to_bytes())


def chain_of(world: World) -> bytes:
    return Quote.parse(world.evidence).certification_data


def appraise(world: World, chain: bytes | None) -> AttestationResult:
    verifier = Verifier(Endorsements.of(world.collateral, world.roots), world.policy)
    return verifier.appraise(world.evidence, world.at, pck_chain=chain)


def refusals(result: AttestationResult) -> dict[str, tuple[str, str | None]]:
    assert (result.verdict, result.genuine) == (Verdict.CONTRAINDICATED, False)
    return {check.name: (check.expected, check.got) for check in result.refusals}


@pytest.mark.parametrize("form", list(PpidForm))
def test_a_chain_that_was_fetched_stands_for_one_in_the_quote(form: PpidForm) -> None:
    world = good_world()
    whole, named = appraise(world, None), appraise(naming(world, form), chain_of(world))
    assert (named.verdict, named.genuine) == (Verdict.AFFIRMING, True)
    assert [check.name for check in named.checks] == [check.name for check in whole.checks]
    made = {check.name: (check.expected, check.got) for check in named.checks}
    assert made["certification data type"] == (EITHER, KINDS[form.value])


@pytest.mark.parametrize("form", list(PpidForm))
def test_without_a_chain_it_is_told_what_to_do(form: PpidForm) -> None:
    result = appraise(naming(good_world(), form), None)
    assert refusals(result) == {"certification data type": (EITHER, KINDS[form.value])}


def test_the_chain_of_another_platform_is_refused_by_the_signature_of_its_key() -> None:
    world = good_world()
    authorities, extension = world.platform.authorities, world.platform.sgx_extension
    neighbour = authorities.issue_pck(world.at, PckAuthority.PLATFORM, extension.to_der())
    own = Quote.parse(world.evidence).certification_data
    other = neighbour.certificate_pem() + own[own.index(b"-----END") :].split(b"\n", 1)[1]
    result = appraise(naming(world, PpidForm.RSA_3072_OAEP), other)
    assert list(refusals(result)) == ["quoting enclave: signature of the PCK"]


def test_a_chain_under_another_root_is_refused() -> None:
    world = good_world()
    result = appraise(naming(world, PpidForm.CLEAR), chain_of(good_world()))
    assert "PCK chain: trusted root" in refusals(result)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (0, "0"),
        (4, "4 (certificate of the PCK without its chain)"),
        (6, "6 (report of the quoting enclave)"),
        (7, "7 (platform manifest)"),
        (8, "8"),
    ],
)
def test_other_certification_data_are_refused_by_name_whatever_was_fetched(kind: int, name: str) -> None:
    world = good_world()
    result = appraise(with_quote(world, certification_type=kind), chain_of(world))
    assert refusals(result) == {"certification data type": ("5 (certificate chain of the PCK)", name)}


@pytest.mark.parametrize(("form", "size"), [(form, SIZES[form] + 20) for form in PpidForm])
def test_an_identifier_of_another_size_is_refused_whatever_was_fetched(form: PpidForm, size: int) -> None:
    world = good_world()
    cut = with_quote(world, certification_type=form.value, certification_data=bytes(size - 2))
    expected = f"5 (certificate chain of the PCK), or {form.value} with {size} bytes"
    found = f"{KINDS[form.value]} of {size - 2} bytes"
    result = appraise(cut, chain_of(world))
    assert refusals(result) == {"certification data type": (expected, found)}


def test_a_chain_in_the_quote_is_the_one_that_counts() -> None:
    assert appraise(good_world(), b"not a chain").verdict is Verdict.AFFIRMING


def test_what_was_verified_with_a_chain_is_not_remembered_for_a_quote_without_one() -> None:
    world = good_world()
    named = naming(world, PpidForm.CLEAR)
    verifier = Verifier(Endorsements.of(world.collateral, world.roots), world.policy)
    for chain, verdict in ((chain_of(world), Verdict.AFFIRMING), (None, Verdict.CONTRAINDICATED)):
        assert verifier.appraise(named.evidence, world.at, pck_chain=chain).verdict is verdict

"""Finding the chain under which collateral stands, among certificates that lie around."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.support.sgx_world import (
    DAY,
    NOW,
    OTHER_ROOT,
    World,
    again,
    ca,
    chain_of,
    crl_of,
    good_world,
    impostor_of,
    root,
    signer,
)

from casemate.simulator.pki import Identity
from casemate.verifier.issuers import MOST_CHAINS, IssuerChain, Issuers, at_instant

WORLD: World = good_world()
DOCUMENT = WORLD.collateral.tcb_info
SIGNATURE = WORLD.collateral.tcb_info_signature


def issuers(*identities: Identity) -> Issuers:
    return Issuers(identity.certificate for identity in identities)


def of_document(*identities: Identity) -> list[bytes]:
    return [chain.pem for chain in issuers(*identities).of_document(DOCUMENT, SIGNATURE)]


def test_the_signer_is_the_one_whose_key_fits() -> None:
    other = again(impostor_of(signer(WORLD)), root(WORLD))
    for order in ((signer(WORLD), other, root(WORLD)), (root(WORLD), other, signer(WORLD))):
        assert of_document(*order) == [chain_of(signer(WORLD), root(WORLD))]


def test_a_root_of_the_same_name_and_another_key_is_no_issuer() -> None:
    assert of_document(signer(WORLD), OTHER_ROOT, root(WORLD)) == [chain_of(signer(WORLD), root(WORLD))]


def test_without_its_root_a_chain_goes_as_far_as_it_can() -> None:
    assert of_document(signer(WORLD), OTHER_ROOT, ca(WORLD)) == [chain_of(signer(WORLD))]


def test_where_no_key_fits_the_signers_by_name_are_proposed() -> None:
    """So that it is the signature that is refused, and not the lack of a chain."""
    other = again(impostor_of(signer(WORLD)), root(WORLD))
    assert of_document(other, root(WORLD), ca(WORLD)) == [chain_of(other, root(WORLD))]
    assert of_document(ca(WORLD), root(WORLD)) == []


def test_the_authority_is_the_one_that_issued_the_crl() -> None:
    known = issuers(root(WORLD), ca(WORLD), signer(WORLD))
    expected = [chain_of(ca(WORLD), root(WORLD))]
    assert [chain.pem for chain in known.of_crl(WORLD.collateral.pck_crl)] == expected
    # Neither of them has one; an authority is proposed, and the CRL is refused under it.
    assert [chain.pem for chain in known.of_crl(crl_of(root(WORLD)))] == expected
    assert [chain.pem for chain in known.of_crl(b"no CRL")] == expected


def test_of_two_that_fit_the_one_that_is_valid_at_the_instant_is_taken() -> None:
    old = again(signer(WORLD), root(WORLD), not_before=NOW - 300 * DAY, life=150 * DAY)
    new = again(signer(WORLD), root(WORLD), not_before=NOW - DAY, life=400 * DAY)
    found = issuers(old, new, root(WORLD)).of_document(DOCUMENT, SIGNATURE)
    assert at_instant(found, NOW) == chain_of(new, root(WORLD))
    assert at_instant(found, NOW - 200 * DAY) == chain_of(old, root(WORLD))
    # At neither time: the one that lasts longer, and its expiry is what is refused.
    assert at_instant(found, NOW + 1000 * DAY) == chain_of(new, root(WORLD))


def test_the_ends_of_a_window_belong_to_it() -> None:
    chains = [
        IssuerChain(pem=b"a", begins=NOW, ends=NOW + DAY),
        IssuerChain(pem=b"b", begins=NOW - 9 * DAY, ends=NOW + 9 * DAY),
    ]
    second = timedelta(seconds=1)
    assert [at_instant(chains, at) for at in (NOW - second, NOW, NOW + DAY, NOW + DAY + second)] == [
        b"b",
        b"a",
        b"a",
        b"b",
    ]
    assert at_instant([], NOW) == b""


def test_what_is_no_certificate_is_left_out() -> None:
    known = Issuers([b"", b"\x30\x00", signer(WORLD).certificate, signer(WORLD).certificate])
    assert len(known) == 1
    assert known.and_also(()) is known
    assert len(known.and_also([root(WORLD).certificate, b"x"])) == 2


def test_certificates_that_certify_each_other_make_no_chains_without_end() -> None:
    """Whoever gives a batch its collateral chooses them, and each way through them costs signatures."""
    twin = again(signer(WORLD), ca(WORLD))
    back = replace(again(ca(WORLD), signer(WORLD)), key=signer(WORLD).key)
    circle = [again(twin, back) for _ in range(12)] + [again(back, twin) for _ in range(12)]
    found = issuers(*circle).of_document(DOCUMENT, SIGNATURE)
    assert len(found) == MOST_CHAINS

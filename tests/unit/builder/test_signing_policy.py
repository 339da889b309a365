"""What is refused before any key is asked for, each with its whole message, and accepted by its name only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.small_bundle import KEY, VECTORS

from casemate.adapters.file_keys import FileSigner
from casemate.builder.lint import Finding, Severity, lint_manifest
from casemate.builder.signing.policy import (
    LastRelease,
    SigningPolicy,
    accepted_weaknesses,
    require_allowed,
    require_known_names,
    require_same_signer,
)
from casemate.builder.signing.sigstruct import enclave_identity, make_sigstruct
from casemate.errors import CasemateError, FormatError, RefusedError, UsageError
from casemate.formats.manifest import EnclaveSettings, dump_manifest, load_manifest
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import NO_DATE, EnclaveIdentity

ENCLAVE = enclave_identity(
    MrEnclave(bytes(range(32))), replace(EnclaveSettings(size=1 << 28), isvprodid=7, isvsvn=3)
)
SIGNER = MrSigner(b"\5" * 32)
WHERE = "app.manifest.sgx"


def last(**fields: Any) -> LastRelease:
    enclave: EnclaveIdentity = replace(ENCLAVE, **fields)
    return LastRelease(enclave=enclave, mrsigner=SIGNER, where="last/app.sig")


def refusal(policy: SigningPolicy) -> CasemateError:
    with pytest.raises(RefusedError) as refused:
        require_allowed(ENCLAVE, policy, where=WHERE)
    return refused.value


def test_only_the_expected_measurement_is_signed() -> None:
    require_allowed(ENCLAVE, SigningPolicy(expected_mrenclave=ENCLAVE.mrenclave), where=WHERE)

    refused = refusal(SigningPolicy(expected_mrenclave=MrEnclave(b"\1" * 32)))

    assert str(refused) == (
        f"MRENCLAVE: expected {'01' * 32}, got {bytes(range(32)).hex()} (app.manifest.sgx)"
    )
    assert refused.hint == (
        "this is not the enclave that was meant; casemate diff OLD NEW names what has moved it"
    )


@pytest.mark.parametrize("isvsvn", [0, 3])
def test_the_same_or_a_higher_version_is_signed(isvsvn: int) -> None:
    require_allowed(ENCLAVE, SigningPolicy(last=last(isvsvn=isvsvn)), where=WHERE)


def test_a_lower_version_is_refused_unless_it_is_accepted_by_name() -> None:
    refused = refusal(SigningPolicy(last=last(isvsvn=4)))

    assert str(refused) == ("ISVSVN: expected at least 4, which was signed last, got 3 (app.manifest.sgx)")
    assert refused.hint == (
        "raise isvsvn and build again; whoever signs an older version again makes its faults usable again, "
        "and says so with --accept lower-isvsvn"
    )
    accepting = SigningPolicy(last=last(isvsvn=4), accepted=frozenset({"lower-isvsvn"}))
    require_allowed(ENCLAVE, accepting, where=WHERE)
    refusal(replace(accepting, accepted=frozenset({"other-product", "other-signer"})))


def test_another_product_is_refused_and_its_versions_are_not_compared() -> None:
    refused = refusal(SigningPolicy(last=last(isvprodid=8, isvsvn=9)))

    assert str(refused) == "ISVPRODID: expected that of the last release, 8, got 7 (app.manifest.sgx)"
    assert refused.hint == ("name the last release of this product with --after, or --accept other-product")
    accepting = SigningPolicy(last=last(isvprodid=8, isvsvn=9), accepted=frozenset({"other-product"}))
    require_allowed(ENCLAVE, accepting, where=WHERE)


def test_another_signer_is_refused() -> None:
    policy = SigningPolicy(last=last())
    require_same_signer(SIGNER, policy)
    require_same_signer(MrSigner(b"\6" * 32), SigningPolicy())

    with pytest.raises(RefusedError) as refused:
        require_same_signer(MrSigner(b"\6" * 32), policy)

    assert str(refused.value) == (
        f"MRSIGNER of the signing key: expected that of the last release, {'05' * 32}, got {'06' * 32} "
        "(last/app.sig)"
    )
    assert refused.value.hint == (
        "sign with the same key; with another one the enclave cannot open what was sealed before, and who "
        "means that says so with --accept other-signer"
    )
    require_same_signer(MrSigner(b"\6" * 32), replace(policy, accepted=frozenset({"other-signer"})))


DEFAULTS = (VECTORS / "defaults/app.manifest.sgx").read_bytes()


def weaknesses(policy: SigningPolicy, **changes: Mapping[str, Any]) -> tuple[str, ...]:
    manifest = load_manifest(DEFAULTS)
    for table, values in changes.items():
        manifest[table].update(values)
    return accepted_weaknesses(dump_manifest(manifest), manifest, policy, where=WHERE)


INSECURE = {"sgx": {"debug": True}, "loader": {"insecure__use_host_env": True}}
SHOWN = ("loader.insecure__use_host_env = true", "sgx.debug = true")


def test_a_manifest_without_weaknesses_needs_no_consent() -> None:
    assert weaknesses(SigningPolicy()) == ()


def test_an_insecure_setting_is_accepted_by_its_key_and_no_other_is() -> None:
    both = frozenset({"sgx.debug", "loader.insecure__use_host_env"})
    assert weaknesses(SigningPolicy(allow_insecure=True), **INSECURE) == SHOWN
    assert weaknesses(SigningPolicy(accepted=both), **INSECURE) == SHOWN

    with pytest.raises(RefusedError) as refused:
        weaknesses(SigningPolicy(accepted=frozenset({"sgx.debug"})), **INSECURE)

    assert str(refused.value) == (
        "signature over insecure settings: expected none, got loader.insecure__use_host_env = true "
        "(app.manifest.sgx)"
    )
    assert refused.value.hint == (
        "remove them, accept one by its name with --accept KEY, or sign for tests only with --allow-debug"
    )


def test_an_error_of_the_linter_is_accepted_by_its_rule_and_never_with_debugging() -> None:
    for policy in (SigningPolicy(), SigningPolicy(allow_insecure=True)):
        with pytest.raises(RefusedError) as refused:
            weaknesses(policy, sgx={"isvprodd": 1}, loader={"env": {"LD_PRELOAD": {"passthrough": True}}})

    found = {finding.rule: finding for finding in findings()}
    unknown, preload = found["unknown-key"], found["dangerous-passthrough"]
    assert str(refused.value) == (f"signature over a weak manifest: {preload.message} (app.manifest.sgx)")
    assert refused.value.hint == (
        f"{preload.mend} Or accept it by its name: --accept dangerous-passthrough. "
        f"Also refused: {unknown.subject} (unknown-key)."
    )
    accepting = SigningPolicy(accepted=frozenset({"unknown-key"}))
    assert weaknesses(accepting, sgx={"isvprodd": 1}) == (f"unknown-key: {unknown.message}",)


def findings() -> tuple[Finding, ...]:
    manifest = load_manifest(DEFAULTS)
    manifest["sgx"]["isvprodd"] = 1
    manifest["loader"]["env"] = {"LD_PRELOAD": {"passthrough": True}}
    return lint_manifest(dump_manifest(manifest), WHERE, least=Severity.ERROR)


def test_warnings_of_the_linter_are_signed() -> None:
    assert weaknesses(SigningPolicy(), sgx={"isvprodid": 0, "isvsvn": 0}) == ()


@pytest.mark.parametrize(
    "name", ["sgx.debug", "unknown-key", "lower-isvsvn", "other-product", "other-signer"]
)
def test_names_that_can_be_accepted_are_known(name: str) -> None:
    require_known_names([name])


def test_a_name_that_nothing_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        require_known_names(["unknown-kay"])

    assert str(refused.value) == (
        "--accept: expected the key of a setting, a rule of casemate lint, lower-isvsvn, other-product, "
        "other-signer, got unknown-kay"
    )
    assert refused.value.hint == "did you mean unknown-key?"


def test_the_last_release_is_a_signature_that_holds() -> None:
    signed = make_sigstruct(ENCLAVE, date=NO_DATE, signer=FileSigner.open(KEY))
    read = LastRelease.parse(signed.to_bytes(), where="app.sig")
    assert (read.enclave, read.mrsigner) == (ENCLAVE, signed.mrsigner)

    lower = replace(signed, enclave=replace(ENCLAVE, isvsvn=0))
    with pytest.raises(FormatError) as refused:
        LastRelease.parse(lower.to_bytes(), where="app.sig")
    assert str(refused.value) == (
        "signature of the last release: expected one that its key confirms, got another (app.sig)"
    )

"""A policy file says what it says once, with a reason for every exception, and nothing that is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_bundle import KEY, Small, sign_small, small_bundle

from casemate.errors import CasemateError, FormatError
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner
from casemate.formats.sgx.td_report import MrTd, TdAttributes
from casemate.verifier.policy import (
    AcceptedAdvisory,
    AcceptedStatus,
    AllOf,
    AnyOf,
    AppraisalPolicy,
    Exemption,
    Freshness,
)
from casemate.verifier.policy_file import MAX_DEPTH, MAX_POLICIES, MAX_POLICY_SIZE, PolicyFile
from casemate.verifier.reference_values import ReferenceValues, appraisal_policy

A, B = "aa" * 32, "bb" * 32
T = "cc" * 48


def read(text: str, files: Mapping[str, bytes] | None = None) -> PolicyFile:
    return PolicyFile.parse(text.encode(), "p.toml", (files or {}).__getitem__)


def test_every_key_becomes_what_it_says() -> None:
    found = read(
        f"""
        version = 1
        name = "notes in production"
        report_data = "{"01" * 64}"

        [enclave]
        mrenclave = ["{A}", "{B}"]
        mrsigner = "{A}"
        isvprodid = 7
        min_isvsvn = 3
        attributes = "0500000000000000e700000000000000"
        attributes_mask = "ffffffffffffffff0000000000000000"
        misc_select = "00000000"

        [trust_domain]
        mrtd = "{T}"
        rtmr0 = "{"00" * 48}"
        rtmr2 = "{"02" * 48}"
        mrconfigid = "{"03" * 48}"
        mrowner = "{"04" * 48}"
        mrownerconfig = "{"05" * 48}"
        attributes = "0000000010000000"
        attributes_mask = "00000000ffffffff"
        service_td = ["{"06" * 48}"]
        host_exceptions = {{ reason = "old kernel", until = 2027-01-31 }}

        [tcb]
        rejected_advisories = ["INTEL-SA-00001"]
        [[tcb.accept]]
        status = "SWHardeningNeeded"
        reason = "built with the mitigations"
        until = 2027-01-31T12:00:00+01:00
        [[tcb.accept]]
        status = "OutOfDate"
        reason = "waiting for the vendor"
        any_advisory = true
        [[tcb.advisories]]
        id = "INTEL-SA-00615"
        reason = "no MMIO in the enclave"

        [platform]
        allow_dynamic_platform = false
        allow_cached_keys = false
        allow_smt = false

        [debug]
        reason = "staging"

        [freshness]
        expiry_grace = "7d"
        reason = "closed network"
        max_age = "12h"
        min_evaluation_number = 17
        """
    )
    assert found == PolicyFile(
        policy=AppraisalPolicy(
            name="notes in production",
            report_data=b"\x01" * 64,
            mrenclaves=(MrEnclave(bytes.fromhex(A)), MrEnclave(bytes.fromhex(B))),
            mrsigner=MrSigner(bytes.fromhex(A)),
            isvprodid=7,
            min_isvsvn=3,
            attributes=Attributes(flags=5, xfrm=0xE7),
            attributes_mask=Attributes(flags=2**64 - 1, xfrm=0),
            misc_select=bytes(4),
            mrtds=(MrTd(bytes.fromhex(T)),),
            rtmrs=(bytes(48), None, b"\x02" * 48, None),
            mr_config_id=b"\x03" * 48,
            mr_owner=b"\x04" * 48,
            mr_owner_config=b"\x05" * 48,
            td_attributes=TdAttributes.SEPT_VE_DISABLE,
            td_attributes_mask=TdAttributes(0xFFFFFFFF),
            service_tds=(b"\x06" * 48,),
            host_exceptions=Exemption(
                reason="old kernel", until=datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)
            ),
            statuses=(
                AcceptedStatus(
                    status=TcbStatus.SW_HARDENING_NEEDED,
                    reason="built with the mitigations",
                    until=datetime(2027, 1, 31, 11, tzinfo=UTC),
                ),
                AcceptedStatus(
                    status=TcbStatus.OUT_OF_DATE, reason="waiting for the vendor", any_advisory=True
                ),
            ),
            advisories=(AcceptedAdvisory(id="INTEL-SA-00615", reason="no MMIO in the enclave"),),
            rejected_advisories=frozenset({"INTEL-SA-00001"}),
            allow_dynamic_platform=False,
            allow_cached_keys=False,
            allow_smt=False,
            debug=Exemption(reason="staging"),
            freshness=Freshness(
                expiry_grace=timedelta(days=7),
                max_age=timedelta(hours=12),
                min_evaluation_number=17,
                reason="closed network",
            ),
        ),
        simulated=None,
    )


def test_what_stands_outside_holds_inside() -> None:
    policy = read(
        f"""
        version = 1
        [freshness]
        max_age = "30m"
        [platform]
        allow_smt = false
        [[any_of]]
        name = "old"
        enclave.mrenclave = "{A}"
        [[any_of]]
        name = "new"
        enclave.mrenclave = "{B}"
        debug.reason = "staging"
        """
    ).policy
    common = {"allow_smt": False, "freshness": Freshness(max_age=timedelta(minutes=30))}
    assert policy == AnyOf(
        policies=(
            AppraisalPolicy(name="old", mrenclaves=(MrEnclave(bytes.fromhex(A)),), **common),
            AppraisalPolicy(
                name="new",
                mrenclaves=(MrEnclave(bytes.fromhex(B)),),
                debug=Exemption(reason="staging"),
                **common,
            ),
        )
    )


def test_policies_stand_within_each_other() -> None:
    policy = read(
        f"""
        version = 1
        name = "all"
        [[all_of]]
        enclave = {{ mrsigner = "{A}", isvprodid = 1 }}
        [[all_of]]
        any_of = [{{ enclave.min_isvsvn = 3 }}, {{ enclave.mrenclave = "{B}" }}]
        [[any_of]]
        name = "last"
        """
    ).policy
    assert policy == AllOf(
        name="all",
        policies=(
            AppraisalPolicy(mrsigner=MrSigner(bytes.fromhex(A)), isvprodid=1),
            AnyOf(
                policies=(
                    AppraisalPolicy(min_isvsvn=3),
                    AppraisalPolicy(mrenclaves=(MrEnclave(bytes.fromhex(B)),)),
                )
            ),
            AnyOf(policies=(AppraisalPolicy(name="last"),)),
        ),
    )


V = "version = 1\n"
#: Text of the file -> message and hint.
REFUSED: dict[str, tuple[str, str, str | None]] = {
    "no version": (
        "",
        "version of the policy: expected 1, got none (p.toml: version)",
        "write version = 1 at the top",
    ),
    "another version": (
        "version = 2",
        "version of the policy: expected 1, got 2 (p.toml: version)",
        "write version = 1 at the top",
    ),
    "a version that is only like 1": (
        "version = true",
        "version of the policy: expected 1, got True (p.toml: version)",
        "write version = 1 at the top",
    ),
    "an unknown key": (
        V + "enclav = {}",
        'unknown key "enclav": expected a key of a policy (p.toml: enclav)',
        'did you mean "enclave"?',
    ),
    "an unknown key of a section": (
        V + f'[enclave]\nmrenclaves = "{A}"',
        'unknown key "mrenclaves": expected a key of [enclave] (p.toml: enclave.mrenclaves)',
        'did you mean "mrenclave"?',
    ),
    "an unknown key of an exemption": (
        V + '[debug]\nreason = "r"\nuntill = 2027-01-01',
        'unknown key "untill": expected a key of [debug] (p.toml: debug.untill)',
        'did you mean "until"?',
    ),
    "a key of the outermost policy inside": (
        V + "[[any_of]]\nfreshness = {}",
        'unknown key "freshness": expected a key of a policy (p.toml: any_of[1].freshness)',
        "it stands in the outermost policy only",
    ),
    "a key that is said again inside": (
        V + f'enclave.mrenclave = "{A}"\n[[any_of]]\nenclave.mrenclave = "{B}"',
        (
            "enclave: mrenclaves: expected to be said once,"
            " got said again, here or by a policy around this one (p.toml: any_of[1].enclave)"
        ),
        "say it only in the innermost policies, where they differ",
    ),
    "no alternative": (
        V + "any_of = []",
        "any_of: expected at least one policy, got an empty list (p.toml: any_of)",
        "write each of them under [[any_of]]",
    ),
    "an alternative that is no policy": (
        V + "all_of = [1]",
        "all_of: expected at least one policy, got a list (p.toml: all_of)",
        "write each of them under [[all_of]]",
    ),
    "an empty list of measurements": (
        V + "[enclave]\nmrenclave = []",
        "mrenclave: expected at least one, got an empty list (p.toml: enclave.mrenclave)",
        "leave mrenclave out to accept any",
    ),
    "a measurement that is too short": (
        V + '[enclave]\nmrenclave = "aa"',
        'mrenclave: expected 64 hexadecimal digits, got "aa" (p.toml: enclave.mrenclave)',
        None,
    ),
    "a number that is too large": (
        V + "[enclave]\nisvprodid = 65536",
        "isvprodid: expected 0 to 65535, got 65536 (p.toml: enclave.isvprodid)",
        None,
    ),
    "a mask of nothing": (
        V + f'[trust_domain]\nattributes_mask = "{"00" * 8}"',
        (
            "attributes_mask: expected to stand beside attributes, got alone"
            " (p.toml: trust_domain.attributes_mask)"
        ),
        None,
    ),
    "a status without a reason": (
        V + '[[tcb.accept]]\nstatus = "OutOfDate"',
        'missing key "reason" (p.toml: tcb.accept.reason)',
        'say why, as people will read it: reason = "…"',
    ),
    "a status without a name": (
        V + '[[tcb.accept]]\nreason = "r"',
        'missing key "status" (p.toml: tcb.accept.status)',
        'name it in Intel\'s words: status = "SWHardeningNeeded"',
    ),
    "what is revoked": (
        V + '[[tcb.accept]]\nstatus = "Revoked"\nreason = "r"',
        (
            'status: expected "SWHardeningNeeded", "ConfigurationNeeded",'
            ' "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded",'
            ' "TDRelaunchAdvised" or "TDRelaunchAdvisedConfigurationNeeded", got "Revoked"'
            " (p.toml: tcb.accept.status)"
        ),
        "no policy accepts what is revoked",
    ),
    "a status twice": (
        V + 2 * '[[tcb.accept]]\nstatus = "OutOfDate"\nreason = "r"\n',
        "status: expected each status once, got one twice (p.toml: tcb.accept.status)",
        None,
    ),
    "no status in the list": (
        V + "[tcb]\naccept = []",
        "accept: expected at least one, got an empty list (p.toml: tcb.accept)",
        "write each under [[tcb.accept]]",
    ),
    "a status that is no table": (
        V + '[tcb]\naccept = ["OutOfDate"]',
        "type of accept: expected a table, got a text (p.toml: tcb.accept)",
        None,
    ),
    "an advisory that is none": (
        V + '[[tcb.advisories]]\nid = "CVE-2024-1"\nreason = "r"',
        'id: expected an advisory as in "INTEL-SA-00615", got "CVE-2024-1" (p.toml: tcb.advisories.id)',
        None,
    ),
    "an advisory twice": (
        V + 2 * '[[tcb.advisories]]\nid = "INTEL-SA-00615"\nreason = "r"\n',
        "id: expected each advisory once, got INTEL-SA-00615 twice (p.toml: tcb.advisories.id)",
        None,
    ),
    "a time without a zone": (
        V + '[debug]\nreason = "r"\nuntil = 2027-01-31T12:00:00',
        "until: expected a day, or a time with its zone, got 2027-01-31 12:00:00 (p.toml: debug.until)",
        "write until = 2027-01-31, or until = 2027-01-31T12:00:00Z",
    ),
    "an end after all time": (
        V + '[debug]\nreason = "r"\nuntil = 9999-12-31T23:59:59-12:00',
        (
            "until: expected a day, or a time with its zone, got 9999-12-31 23:59:59-12:00"
            " (p.toml: debug.until)"
        ),
        "write until = 2027-01-31, or until = 2027-01-31T12:00:00Z",
    ),
    "an end that is no time": (
        V + '[debug]\nreason = "r"\nuntil = "soon"',
        "until: expected a day, or a time with its zone, got a text (p.toml: debug.until)",
        "write until = 2027-01-31, or until = 2027-01-31T12:00:00Z",
    ),
    "a grace without a reason": (
        V + '[freshness]\nexpiry_grace = "7d"',
        'missing key "reason" (p.toml: freshness.reason)',
        'say why, as people will read it: reason = "…"',
    ),
    "a reason without a grace": (
        V + '[freshness]\nreason = "r"',
        (
            'expiry_grace: expected a time such as "7d", "12h" or "30m", got none'
            " (p.toml: freshness.expiry_grace)"
        ),
        None,
    ),
    "an age that is no time": (
        V + "[freshness]\nmax_age = 7",
        'max_age: expected a time such as "7d", "12h" or "30m", got a number (p.toml: freshness.max_age)',
        None,
    ),
    "a section that is no table": (
        V + "enclave = 1",
        "type of enclave: expected a table, got a number (p.toml: enclave)",
        None,
    ),
    "reference values without keys": (
        V + 'reference = "r.json"',
        "keys of the reference values: expected at least one public key, got none (p.toml: keys)",
        'say who must have signed them: keys = ["release.pem"]',
    ),
    "keys without reference values": (
        V + 'keys = ["k.pem"]',
        'missing key "reference" (p.toml: reference)',
        'name them: reference = "BUNDLE/reference-values.json"',
    ),
    "no TOML": (V + "=", "policy: expected TOML, got Invalid statement (at line 2, column 1) (p.toml)", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_policy_may_not_say_is_refused(name: str) -> None:
    text, message, hint = REFUSED[name]
    with pytest.raises(FormatError) as refusal:
        read(text)
    assert (str(refusal.value), refusal.value.hint) == (message, hint)


def nested(depth: int) -> str:
    return V + "".join(f"[[{'.'.join(['any_of'] * level)}]]\n" for level in range(1, depth))


def many(number: int) -> str:
    return V + "[[any_of]]\n" * (number - 1)


@pytest.mark.parametrize(
    ("make", "limit"), [(nested, MAX_DEPTH), (many, MAX_POLICIES)], ids=["depth", "number"]
)
def test_policies_within_each_other_have_a_limit(make: Callable[[int], str], limit: int) -> None:
    read(make(limit))
    with pytest.raises(FormatError) as refusal:
        read(make(limit + 1))
    assert str(refusal.value).startswith("policies: expected at most 1000, and 8 within each other, got more")


def test_a_policy_has_a_limit() -> None:
    read(V.ljust(MAX_POLICY_SIZE))
    with pytest.raises(FormatError) as refusal:
        read(V.ljust(MAX_POLICY_SIZE + 1))
    assert str(refusal.value) == "policy: expected at most 262144 bytes, got 262145 (p.toml)"


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(FormatError) as refusal:
        PolicyFile.parse(b"\xff", "p.toml", {}.__getitem__)
    assert str(refusal.value) == "encoding of the policy: expected UTF-8, got byte 0xff (p.toml)"


_KEYS = st.sampled_from(
    [
        "version",
        "name",
        "enclave",
        "mrenclave",
        "tcb",
        "accept",
        "status",
        "reason",
        "until",
        "any_of",
        "all_of",
    ]
)
_VALUES = st.sampled_from(
    [
        "1",
        '"OutOfDate"',
        f'"{A}"',
        "[]",
        "{}",
        "true",
        "2027-01-01",
        "[{}]",
        '{ reason = "r" }',
        "1e400",
        "nan",
    ]
)


@given(st.lists(st.one_of(st.tuples(_KEYS, _VALUES), st.text(max_size=20)), max_size=6), st.booleans())
def test_any_text_is_a_policy_or_refused_by_us(lines: list[tuple[str, str] | str], versioned: bool) -> None:  # noqa: FBT001 - drawn
    text = "\n".join(line if isinstance(line, str) else " = ".join(line) for line in lines)
    with suppress(CasemateError):
        read((V if versioned else "") + text)


def test_the_files_that_a_policy_names_are_asked_for_by_name() -> None:
    with pytest.raises(FormatError) as refusal:
        read(V + 'reference = "r.json"\nkeys = ["k.pem"]', {"k.pem": b"nothing"})
    assert "k.pem" in str(refusal.value)


def test_policies_that_all_have_to_be_met() -> None:
    assert read(V + "[[all_of]]\n[[all_of]]\n").policy == AllOf(
        policies=(AppraisalPolicy(), AppraisalPolicy())
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Reference values of two signed bundles, and the key that has signed them."""
    folder = tmp_path_factory.mktemp("bundles")
    files = {
        name: sign_small(small_bundle(folder / name, Small(simulated=simulated))).reference_values_path
        for name, simulated in (("real.json", False), ("simulated.json", True))
    }
    key = load_pem_private_key(KEY.read_bytes(), None).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {"key.pem": pem} | {name: path.read_bytes() for name, path in files.items()}


def referring(name: str) -> str:
    return f'reference = "{name}.json"\nkeys = ["key.pem"]\n'


@pytest.mark.parametrize(("name", "simulated"), [("real", False), ("simulated", True)])
def test_reference_values_say_all_that_a_bundle_says(
    bundles: dict[str, bytes], name: str, *, simulated: bool
) -> None:
    found = read(V + referring(name) + "debug.reason = 'staging'", bundles)
    values = ReferenceValues.parse(bundles[f"{name}.json"], name)
    assert found.simulated is simulated
    assert found.policy == replace(appraisal_policy(values), debug=Exemption(reason="staging"))


def test_real_and_simulated_reference_values_do_not_mix(bundles: dict[str, bytes]) -> None:
    with pytest.raises(FormatError) as refusal:
        read(V + f"[[any_of]]\n{referring('real')}[[any_of]]\n{referring('simulated')}", bundles)
    assert str(refusal.value) == (
        "reference values: expected real or simulated ones in a policy, got both"
        " (p.toml: any_of[2].reference)"
    )
    assert refusal.value.hint == "a simulated platform must not stand for a real one: write two policies"


def test_what_reference_values_say_is_not_said_again(bundles: dict[str, bytes]) -> None:
    with pytest.raises(FormatError) as refusal:
        read(V + referring("real") + "enclave.min_isvsvn = 0", bundles)
    assert str(refusal.value) == (
        "enclave: min_isvsvn: expected to be said once, got said again, here or by a policy around this one"
        " (p.toml: enclave)"
    )

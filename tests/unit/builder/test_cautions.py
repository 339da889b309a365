"""What a build warns of."""

from __future__ import annotations

from tests.support.projects import project

from casemate.builder.enclave.cautions import cautions

_SECRETS = (
    '[secrets]\n"/dev/attestation/keys/disk" = "kbs:///default/notes/d"\n'
    '[broker]\nurl = "https://broker"\nca = "ca.pem"\n'
)


def test_a_key_of_a_broker_and_a_current_gramine_are_nothing_to_warn_of() -> None:
    mounts = '[mounts]\n"/var/a" = { encrypted = "disk", host = "/srv/a" }\n"/var/b" = "tmpfs"\n'

    assert cautions(project(_SECRETS + mounts), "1.9") == cautions(project(), None) == ()


def test_keys_that_gramine_derives_lose_data_or_are_shared() -> None:
    mounts = (
        '[mounts]\n"/var/a" = { encrypted = "_sgx_mrenclave", host = "/srv/a" }\n'
        '"/var/b" = { encrypted = "_sgx_mrsigner", host = "/srv/b" }\n'
    )

    first, second = cautions(project(mounts), "1.9")

    assert first == (
        "[mounts] /var/a: no other build of this application can read what is written there: an upgrade "
        "loses it; a key from [secrets] does not have this flaw"
    )
    assert second.startswith("[mounts] /var/b: every enclave that the same key has signed can read it")


def test_a_version_with_a_known_fault_is_named() -> None:
    (caution,) = cautions(project(), "1.8")

    assert caution.startswith("Gramine 1.8: it has faults of its memory management that 1.9 mends")

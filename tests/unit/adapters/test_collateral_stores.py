"""What every collateral store does, whichever database it is in."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.support.postgresql import PostgreSql
from tests.support.stored_collateral import (
    LIFE,
    NAMES,
    NOW,
    QE_IDENTITY,
    TCB_INFO,
    entry,
    platform,
    platform_id,
    registration,
)

from casemate.adapters.collateral_postgres import open_postgres_store
from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.collateral.sql_schema import MIGRATIONS
from casemate.collateral.store import (
    AppraisalPolicy,
    Claim,
    CollateralStore,
    Listed,
    RawTcb,
    RegistrationState,
)
from casemate.errors import ServiceError

#: Opens the same store again, as another process would.
Open: TypeAlias = Callable[..., CollateralStore]
SECOND = timedelta(seconds=1)
LATER = NOW + timedelta(hours=1)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is: a path or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "collateral.db")
    server: PostgreSql = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def opened(location: str) -> Iterator[Open]:
    stores: list[CollateralStore] = []

    def open_again(**options: object) -> CollateralStore:
        stores.append(open_store(location, **options))
        return stores[-1]

    yield open_again
    for store in stores:
        store.close()


def open_store(location: str, **options: object) -> CollateralStore:
    if location.startswith("postgresql:"):
        return open_postgres_store(location, **options)
    return open_sqlite_store(Path(location), **options)


@pytest.fixture
def store(opened: Open) -> CollateralStore:
    return opened()


def test_a_document_comes_back_byte_for_byte(store: CollateralStore) -> None:
    assert store.get(TCB_INFO) is None
    assert store.put(entry(), refresh_at=LATER)
    assert store.get(TCB_INFO) == entry()
    assert store.get(QE_IDENTITY) is None


def test_a_document_without_evaluation_number_and_chain_comes_back(store: CollateralStore) -> None:
    kept = replace(entry(evaluation_number=None), issuer_chain=b"")
    store.put(kept, refresh_at=LATER)
    assert store.get(TCB_INFO) == kept


def test_documents_come_in_the_order_of_kind_and_key(store: CollateralStore) -> None:
    for name in reversed(NAMES):
        store.put(entry(name, body=str(name).encode()), refresh_at=LATER)
    assert tuple(found.name for found in store.entries()) == NAMES
    assert tuple(found.name for found in store.listing()) == NAMES
    assert {found.body for found in store.entries()} == {str(name).encode() for name in NAMES}


@pytest.mark.parametrize(
    ("number", "begins", "replaces"),
    [
        (18, NOW - LIFE, True),
        (17, NOW + SECOND, True),
        (17, NOW, True),
        (17, NOW - SECOND, False),
        (16, NOW + LIFE, False),
        (None, NOW + LIFE, False),
    ],
    ids=["higher number", "issued later", "the same again", "issued earlier", "lower number", "no number"],
)
def test_a_document_is_never_replaced_by_one_of_lower_precedence(
    store: CollateralStore, number: int | None, begins: datetime, *, replaces: bool
) -> None:
    first, second = entry(), entry(body=b"other", evaluation_number=number, begins=begins)
    assert store.put(first, refresh_at=LATER)
    assert store.put(second, refresh_at=LATER) is replaces
    assert store.get(TCB_INFO) == (second if replaces else first)


def test_a_document_that_is_not_replaced_is_still_renewed_later(store: CollateralStore) -> None:
    store.put(entry(), refresh_at=NOW)
    store.put(entry(evaluation_number=1), refresh_at=LATER)
    assert claim(store, at=LATER - SECOND) is None
    assert claim(store, at=LATER) is not None


def test_a_deleted_document_is_gone(store: CollateralStore) -> None:
    store.put(entry(), refresh_at=LATER)
    assert store.delete(TCB_INFO) is True
    assert store.delete(TCB_INFO) is False
    assert store.get(TCB_INFO) is None


def test_the_revision_changes_with_each_write_and_with_nothing_else(store: CollateralStore) -> None:
    store.put(entry(QE_IDENTITY), refresh_at=NOW)
    taken = claim(store)
    assert taken is not None
    writes: tuple[Callable[[], object], ...] = (
        lambda: store.put(entry(), refresh_at=NOW),
        lambda: store.postpone(taken, refresh_at=LATER, reason="why"),
        lambda: store.make_due(NOW),
        lambda: store.put_platform(platform()),
        lambda: store.add_tcb(platform_id(), RawTcb(cpu_svn="", pce_svn="")),
        lambda: store.register(registration()),
        lambda: store.put_policy(policy("a")),
        lambda: store.delete(TCB_INFO),
    )
    seen = [store.revision()]
    for write in writes:
        write()
        seen.append(store.revision())
        claim(store)
        list(store.entries()), store.listing(), list(store.platforms()), store.all_policies()
        assert store.revision() == seen[-1]
    assert len(set(seen)) == len(seen)


def test_another_process_sees_the_write_and_the_revision(store: CollateralStore, opened: Open) -> None:
    other = opened()
    before = other.revision()
    store.put(entry(), refresh_at=LATER)
    assert other.revision() != before
    assert other.revision() == store.revision()
    assert other.get(TCB_INFO) == entry()


def test_what_is_due_longest_is_claimed_first_and_once(store: CollateralStore) -> None:
    for number, name in enumerate(NAMES):
        store.put(entry(name), refresh_at=NOW - number * SECOND)
    claims = [claim(store) for _ in NAMES]
    assert [found and found.name for found in claims] == list(reversed(NAMES))
    assert len({found.lease for found in claims if found}) == len(NAMES)
    assert claim(store) is None


def test_what_is_not_due_is_not_claimed(store: CollateralStore) -> None:
    store.put(entry(), refresh_at=NOW + timedelta(microseconds=1))
    assert claim(store) is None
    assert claim(store, at=NOW + timedelta(microseconds=1)) is not None


def test_a_claim_ends_with_its_lease(store: CollateralStore) -> None:
    store.put(entry(), refresh_at=NOW)
    first = store.claim_due(NOW, lease_until=NOW + SECOND)
    assert claim(store, at=NOW + SECOND - timedelta(microseconds=1)) is None
    second = claim(store, at=NOW + SECOND)
    assert first is not None
    assert second is not None
    assert first.lease != second.lease
    store.postpone(first, refresh_at=LATER, reason="too late")
    assert [found.failures for found in store.listing()] == [0]


def test_a_failed_renewal_is_counted_and_tried_again_later(store: CollateralStore) -> None:
    store.put(entry(), refresh_at=NOW)
    for failures in range(3):
        due = NOW + failures * SECOND
        taken = claim(store, at=due)
        assert taken == Claim(name=TCB_INFO, failures=failures, lease=taken.lease if taken else "")
        store.postpone(taken, refresh_at=due + SECOND, reason=f"reason {failures} ☹")
        assert store.listing() == (
            Listed(
                name=TCB_INFO,
                fetched_at=NOW,
                ends=NOW + LIFE,
                evaluation_number=17,
                failures=failures + 1,
                reason=f"reason {failures} ☹",
            ),
        )
        assert claim(store, at=due) is None
    assert store.put(entry(), refresh_at=LATER)
    assert [(found.failures, found.reason) for found in store.listing()] == [(0, "")]


def test_a_renewed_document_is_free_to_be_claimed_again(store: CollateralStore) -> None:
    store.put(entry(), refresh_at=NOW)
    first = claim(store)
    store.put(entry(), refresh_at=NOW)
    second = claim(store)
    assert first is not None
    assert second is not None
    assert second.lease != first.lease


def test_everything_can_be_made_due(store: CollateralStore) -> None:
    for name in NAMES[:3]:
        store.put(entry(name), refresh_at=LATER)
    assert store.make_due(NOW) == 3
    assert {found.name for _ in range(3) if (found := claim(store))} == set(NAMES[:3])


def test_a_platform_comes_back_with_exactly_its_last_certificates(store: CollateralStore) -> None:
    tcb = RawTcb(cpu_svn="0e" * 16, pce_svn="0d00")
    assert store.platform(platform_id()) is None
    store.put_platform(platform(1, tcb, certificates=5))
    store.put_platform(platform(1, tcb, certificates=2))
    store.put_platform(platform(2))
    assert store.platform(platform_id()) == platform(1, tcb, certificates=2)
    assert store.platform(platform_id(2)) == platform(2)


def test_the_security_versions_of_a_platform_are_collected(store: CollateralStore) -> None:
    old, new = RawTcb(cpu_svn="01" * 16, pce_svn="0d00"), RawTcb(cpu_svn="02" * 16, pce_svn="0d00")
    store.put_platform(platform(1, old))
    store.put_platform(platform(1, new))
    store.put_platform(platform(1, replace(old, tcbm="f" * 36)))
    assert store.platform(platform_id()) == platform(1, replace(old, tcbm="f" * 36), new)


def test_a_further_tcb_of_a_platform_is_remembered(store: CollateralStore) -> None:
    tcb = RawTcb(cpu_svn="01" * 16, pce_svn="0d00")
    store.add_tcb(platform_id(), tcb)
    assert store.platform(platform_id()) is None
    store.put_platform(platform())
    assert store.platform(platform_id()) == platform()
    store.add_tcb(platform_id(), tcb)
    store.add_tcb(platform_id(), replace(tcb, tcbm="0" * 36))
    assert store.platform(platform_id()) == platform(1, replace(tcb, tcbm="0" * 36))


def test_platforms_come_by_family_in_the_order_of_their_ids(store: CollateralStore) -> None:
    made = [platform(number, fmspc=f"{number % 2:012x}") for number in (3, 1, 4, 2)]
    for one in made:
        store.put_platform(one)
    assert [found.id for found in store.platforms()] == [platform_id(number) for number in (1, 2, 3, 4)]
    assert [found.id for found in store.platforms((f"{1:012x}",))] == [platform_id(1), platform_id(3)]
    assert list(store.platforms(("ffffffffffff",))) == []


def test_registrations_come_in_the_order_in_which_they_came_and_are_taken_once(
    store: CollateralStore,
) -> None:
    for number in (3, 1, 2):
        store.register(registration(number))
    store.register(registration(4, RegistrationState.NOT_AVAILABLE))
    expected = tuple(registration(number) for number in (3, 1, 2))
    assert store.registrations(RegistrationState.NEW) == expected
    assert store.take_registrations(RegistrationState.NEW) == expected
    assert store.take_registrations(RegistrationState.NEW) == ()
    assert store.registrations(RegistrationState.NOT_AVAILABLE) == (
        registration(4, RegistrationState.NOT_AVAILABLE),
    )
    assert len(store.registrations(RegistrationState.DELETED)) == 3


def test_a_registration_replaces_the_one_of_the_same_platform_and_security_versions(
    store: CollateralStore,
) -> None:
    store.register(registration(1))
    store.register(registration(2))
    store.register(registration(1, RegistrationState.NOT_AVAILABLE))
    store.register(replace(registration(2), tcb=RawTcb(cpu_svn="", pce_svn="")))
    assert store.registrations(RegistrationState.NOT_AVAILABLE) == (
        registration(1, RegistrationState.NOT_AVAILABLE),
    )
    assert len(store.registrations(RegistrationState.NEW)) == 2


def policy(
    identity: str, *, fmspc: str = "00606a000000", subject: str = "sgx", default: bool = True
) -> AppraisalPolicy:
    return AppraisalPolicy(id=identity, fmspc=fmspc, type=subject, is_default=default, policy="e30.e30.AA")


def test_a_family_has_one_default_policy_of_each_type(store: CollateralStore) -> None:
    store.put_policy(policy("c"))
    store.put_policy(policy("b", subject="tdx"))
    store.put_policy(policy("a", default=False))
    store.put_policy(policy("d", fmspc="ffffffffffff"))
    assert store.policies("00606a000000") == (policy("b", subject="tdx"), policy("c"))
    store.put_policy(policy("a"))
    assert store.policies("00606a000000") == (policy("a"), policy("b", subject="tdx"))
    assert store.all_policies() == (
        policy("a"),
        policy("b", subject="tdx"),
        policy("c", default=False),
        policy("d", fmspc="ffffffffffff"),
    )


def test_what_was_written_is_there_when_the_store_is_opened_again(opened: Open) -> None:
    first = opened()
    first.put(entry(), refresh_at=LATER)
    first.put_platform(platform())
    first.close()
    second = opened()
    assert second.get(TCB_INFO) == entry()
    assert second.platform(platform_id()) == platform()


def test_two_replicas_never_claim_the_same_document(opened: Open) -> None:
    replicas = [opened(), opened()]
    names = [replace(TCB_INFO, fmspc=f"{number:012x}") for number in range(60)]
    for name in names:
        replicas[0].put(entry(name), refresh_at=NOW)
    start = threading.Barrier(4)

    def work(replica: CollateralStore) -> list[Claim]:
        start.wait()
        claims = []
        while (found := claim(replica)) is not None:
            claims.append(found)
        return claims

    with ThreadPoolExecutor(4) as threads:
        found = [claimed for claims in threads.map(work, replicas * 2) for claimed in claims]
    assert sorted(claimed.name.fmspc for claimed in found) == [name.fmspc for name in names]


def test_of_two_replicas_that_write_at_once_the_later_document_wins(opened: Open) -> None:
    replicas = [opened(), opened()]
    start = threading.Barrier(2)

    def work(half: int) -> None:
        start.wait()
        for number in range(half, 41, 2):
            replicas[half].put(entry(body=str(number).encode(), evaluation_number=number), refresh_at=LATER)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, (0, 1)))
    assert [(found.evaluation_number, found.body) for found in replicas[0].entries()] == [(40, b"40")]


def test_two_replicas_share_the_registrations(opened: Open) -> None:
    replicas = [opened(), opened()]
    for number in range(40):
        replicas[number % 2].register(registration(number))
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda one: one.take_registrations(RegistrationState.NEW), replicas * 2))
    assert sorted(map(len, taken)) == [0, 0, 0, 40]


def test_replicas_that_start_at_once_make_the_tables_once(location: str) -> None:
    start = threading.Barrier(4)

    def work(_number: int) -> int:
        start.wait()
        store = open_store(location)
        store.put(entry(), refresh_at=LATER)
        revision = store.revision()
        store.close()
        return revision

    with ThreadPoolExecutor(4) as threads:
        assert max(threads.map(work, range(4))) == 5


def test_an_older_store_becomes_a_newer_one_and_keeps_what_is_in_it(opened: Open) -> None:
    newer = (
        *MIGRATIONS,
        ("ALTER TABLE collateral_platform ADD COLUMN note TEXT",),
        ("CREATE TABLE extra (x {bytes})",),
    )
    opened().put(entry(), refresh_at=LATER)
    assert opened(migrations=newer).get(TCB_INFO) == entry()
    with pytest.raises(ServiceError) as caught:
        opened()
    assert str(caught.value).startswith("collateral store: expected layout 1 or older, got layout 3 (")
    assert caught.value.hint == (
        "use the version of casemate that made it, or a newer one, or name another store"
    )


def test_a_step_that_fails_leaves_the_store_as_it_was(opened: Open) -> None:
    opened().put(entry(), refresh_at=LATER)
    with pytest.raises(ServiceError):
        opened(migrations=(*MIGRATIONS, ("CREATE TABLE extra (x {bytes})", "NONSENSE")))
    assert opened(migrations=(*MIGRATIONS, ("CREATE TABLE extra (x {bytes})",))).get(TCB_INFO) == entry()


_WRITER = """
import sys
from tests.unit.adapters.test_collateral_stores import write_for_ever
write_for_ever(sys.argv[1])
"""


def write_for_ever(location: str) -> None:
    """What the process does that is killed: each document is all of one letter, platforms grow and shrink."""
    store = open_store(location)
    number = 0
    print("begun", flush=True)  # noqa: T201
    while True:
        number += 1
        store.put(entry(body=bytes([number % 256]) * 50_000, evaluation_number=number), refresh_at=LATER)
        store.put_platform(platform(1, certificates=1 + number % 9))
        store.register(registration(number % 50))


@pytest.mark.parametrize("pause", [0.02, 0.05, 0.11])
def test_killed_at_any_moment_it_holds_whole_rows(location: str, opened: Open, pause: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, location], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        threading.Event().wait(pause)
        process.kill()
    store = opened()
    for found in store.entries():
        assert found.body == bytes([(found.evaluation_number or 0) % 256]) * 50_000
    for found in store.platforms():
        assert found == platform(1, certificates=len(found.certificates))
    assert store.put(entry(evaluation_number=1 << 40), refresh_at=LATER)
    assert store.get(TCB_INFO) == entry(evaluation_number=1 << 40)


def claim(store: CollateralStore, *, at: datetime = NOW) -> Claim | None:
    return store.claim_due(at, lease_until=at + LIFE)

"""The model that turns what a run used into an enclave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_bundle import Small, small_manifest

from casemate.builder.enclave.sizing import Enclosure, Proposal, Usage, propose
from casemate.errors import FormatError
from casemate.formats.manifest import EnclaveSettings, dump_manifest
from casemate.project import parse_project
from casemate.simulator.platform_image import platform_image

_MEBIBYTE = 1 << 20
_SMALL = Small(simulated=True)
_MANIFEST = small_manifest(_SMALL)
ENCLOSURE = Enclosure(
    manifest=dump_manifest(_MANIFEST),
    settings=EnclaveSettings.from_manifest(_MANIFEST),
    platform_image=platform_image(),
    gramine="1.9",
    files=500,
    bytes=100 * _MEBIBYTE,
)
USAGE = Usage(
    seconds=10.0,
    looks=200,
    address_space=150 * _MEBIBYTE,
    resident=90 * _MEBIBYTE,
    libraries=30 * _MEBIBYTE,
    mapped=0,
    threads=10,
    stack=200 * 1024,
    stack_size=2 * _MEBIBYTE,
    descriptors=40,
    temporary=0,
    processes=1,
    ready=0.5,
)


def _proposed(headroom: int = 25, **changes: Any) -> Proposal:
    return propose(replace(USAGE, **changes), ENCLOSURE, headroom=headroom)


def test_a_small_service_gets_the_next_power_of_two() -> None:
    proposal = _proposed()

    assert proposal.lines() == '[enclave]\nsize = "256M"\nthreads = 17\nstack = "2M"\nfiles = 1024'
    parts = dict(proposal.parts)
    assert list(parts) == [
        "application",
        "headroom",
        "temporary files",
        "Gramine",
        "threads and measured files",
    ]
    assert parts["application"] == 152 * _MEBIBYTE  # with the whole stack of the main thread
    assert parts["headroom"] == 38 * _MEBIBYTE
    assert parts["Gramine"] == 33 * _MEBIBYTE - 24 * 1024
    assert proposal.needed == sum(parts.values()) <= proposal.size


def test_the_address_space_counts_and_not_what_is_resident() -> None:
    assert _proposed(resident=_MEBIBYTE).size == _proposed(resident=149 * _MEBIBYTE).size == 256 * _MEBIBYTE
    assert _proposed(address_space=300 * _MEBIBYTE).size == 512 * _MEBIBYTE


def test_files_in_memory_count_twice() -> None:
    assert dict(_proposed(temporary=100 * _MEBIBYTE).parts)["temporary files"] == 200 * _MEBIBYTE


def test_a_deep_stack_doubles_for_every_thread_that_was_seen() -> None:
    proposal = _proposed(stack=3 * _MEBIBYTE, stack_size=4 * _MEBIBYTE)

    assert proposal.stack == 8 * _MEBIBYTE
    assert dict(proposal.parts)["application"] == (150 + 10 * 4 + 8) * _MEBIBYTE


@pytest.mark.parametrize(
    ("threads", "proposed"), [(1, 8), (3, 8), (4, 9), (10, 17), (100, 129), (4090, 4096)]
)
def test_threads_have_headroom_and_gramine_s_own_on_top(threads: int, proposed: int) -> None:
    assert _proposed(threads=threads).threads == proposed


def test_descriptors_become_a_power_of_two_with_headroom() -> None:
    assert [_proposed(descriptors=count).files for count in (10, 819, 820, 5000)] == [1024, 1024, 2048, 8192]


def test_no_headroom_is_taken_where_none_is_asked_for() -> None:
    proposal = _proposed(headroom=0)

    assert dict(proposal.parts)["headroom"] == 0
    assert proposal.threads == 14


def test_what_is_measured_around_the_application_moves_the_size_up_when_it_no_longer_fits() -> None:
    around = dict(_proposed().parts)["threads and measured files"]
    fits = (256 * _MEBIBYTE - around - dict(_proposed().parts)["Gramine"]) * 100 // 125 - 2 * _MEBIBYTE

    assert _proposed(address_space=fits // 4096 * 4096).size == 256 * _MEBIBYTE
    assert _proposed(address_space=(fits // 4096 + 2) * 4096).size == 512 * _MEBIBYTE


def test_edmm_is_proposed_only_where_loading_is_long_and_most_of_it_is_not_used() -> None:
    small = _proposed()
    wasteful = _proposed(address_space=9 << 30, resident=1 << 30)
    full = _proposed(address_space=9 << 30, resident=9 << 30)

    assert (small.edmm, wasteful.edmm, full.edmm) == (False, True, False)
    assert small.edmm_reason == (
        "loading all of it takes about 0.2 s, once; with EDMM each page is added when it is first used, and "
        "Python ran two to five times slower"
    )
    assert wasteful.edmm_reason == (
        "loading all of it would take about 16 s, and less than half of it was used; "
        "it needs SGX2 and Linux 6.0"
    )
    assert full.edmm_reason.startswith("most of it is used, so that it has to be added in any case; ")
    assert wasteful.lines().endswith("\nedmm = true")


@pytest.mark.parametrize(
    ("files", "seconds"), [(1461, 0.26), (6461, 0.81), (11461, 2.06), (21461, 5.97), (41461, 21.4)]
)
def test_the_model_of_gramine_s_start_is_near_what_was_measured(files: int, seconds: float) -> None:
    proposal = propose(USAGE, replace(ENCLOSURE, files=files), headroom=25)

    assert proposal.starting == pytest.approx(seconds, rel=0.1)


def test_the_document_keeps_apart_what_was_measured_and_what_is_a_model() -> None:
    assert USAGE.to_json()["address_space"] == 150 * _MEBIBYTE
    document = _proposed().to_json()

    assert document["proposal"]["size"] == "256M"
    assert document["modelled"]["seconds"] == {"loading": 0.25, "gramine": 0.21, "trusted_files": 0.1}
    assert document["modelled"]["headroom_percent"] == 25


def test_a_platform_image_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(FormatError):
        propose(USAGE, replace(ENCLOSURE, platform_image=b"no image"), headroom=25)


@given(
    space=st.integers(0, 1 << 38),
    threads=st.integers(1, 1000),
    stack=st.integers(0, 1 << 24),
    headroom=st.integers(0, 300),
)
def test_whatever_was_used_the_lines_are_a_project_that_is_large_enough(
    space: int, threads: int, stack: int, headroom: int
) -> None:
    proposal = _proposed(headroom, address_space=space, threads=threads, stack=stack)
    app = '[app]\nname = "notes"\nserve = "notes:app"\n'
    enclave = parse_project((app + proposal.lines()).encode(), "casemate.toml").enclave

    assert (enclave.size, enclave.threads, enclave.stack) == (proposal.size, proposal.threads, proposal.stack)
    assert proposal.needed <= proposal.size

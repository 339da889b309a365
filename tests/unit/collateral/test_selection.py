"""Which PCK certificate is for a platform."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casemate.collateral.selection import reaches, select, svns_of
from casemate.collateral.store import PckCertificate, RawTcb


def tcbm(*components: int, pce: int = 13) -> str:
    return bytes([*components, *[0] * (16 - len(components))]).hex() + pce.to_bytes(2, "little").hex()


def certificate(*components: int, pce: int = 13) -> PckCertificate:
    return PckCertificate(tcbm=tcbm(*components, pce=pce), pem=b"")


def raw(*components: int, pce: int = 13) -> RawTcb:
    text = tcbm(*components, pce=pce)
    return RawTcb(cpu_svn=text[:32], pce_svn=text[32:])


def level(*components: int, pce: int = 13) -> tuple[int, ...]:
    return svns_of(tcbm(*components, pce=pce))


def test_the_pce_svn_is_little_endian() -> None:
    assert svns_of("00" * 16 + "0d00")[-1] == 13


def test_the_highest_that_the_platform_reaches_is_chosen() -> None:
    certificates = [certificate(1), certificate(3), certificate(2)]
    levels = [level(3), level(1)]
    assert select(certificates, levels, raw(2)) == certificate(2)
    assert select(certificates, levels, raw(9)) == certificate(3)
    assert select(certificates, levels, raw(2, pce=14)) == certificate(2)


def test_no_certificate_is_for_a_platform_below_all() -> None:
    assert select([certificate(2)], [level(1)], raw(1)) is None
    assert select([certificate(2)], [level(1)], raw(2, pce=12)) is None
    assert select([], [level(1)], raw(1)) is None


def test_a_better_level_goes_before_a_higher_number() -> None:
    """A certificate whose first component is higher may reach a worse level."""
    better, worse = certificate(2, 5), certificate(3, 0)
    assert select([worse, better], [level(2, 5), level(0, 0)], raw(3, 5)) == better


def test_a_certificate_that_reaches_no_level_comes_last() -> None:
    assert select([certificate(1), certificate(2)], [level(2)], raw(5)) == certificate(2)
    assert select([certificate(1)], [level(2)], raw(5)) == certificate(1)


_SVNS = st.lists(st.integers(0, 3), min_size=2, max_size=2)


@given(st.lists(_SVNS, max_size=6), st.lists(_SVNS, max_size=4), _SVNS)
def test_what_is_chosen_is_reached_and_no_other_is_of_a_better_level(
    certificates: list[list[int]], levels: list[list[int]], own: list[int]
) -> None:
    candidates = [certificate(*one) for one in certificates]
    known = sorted((level(*one) for one in levels), reverse=True)

    def rank(one: PckCertificate) -> int:
        return next((n for n, of in enumerate(known) if reaches(svns_of(one.tcbm), of)), len(known))

    reached = [one for one in candidates if reaches(level(*own), svns_of(one.tcbm))]
    chosen = select(candidates, known, raw(*own))
    if not reached:
        assert chosen is None
    else:
        assert chosen in reached
        assert rank(chosen) == min(map(rank, reached))

"""The benchmark of the collateral service runs and gives its figure as a ratio."""

from __future__ import annotations

from tests.scenarios.test_benchmarks import result_of


def test_an_answer_from_memory_is_compared_with_an_empty_one() -> None:
    result = result_of("collateral.py", "--requests", "400", "--rounds", "2")
    assert 0 < result["tcb_over_empty"] < 10
    assert result["bytes"] > 10_000

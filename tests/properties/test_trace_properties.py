"""Any bytes give a record or our error; what is written is what is read; runs unite in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import FormatError, ProjectError
from casemate.formats.trace import Trace, is_data_path, is_distribution, is_module_name

_word = st.text("abcxyz_", min_size=1, max_size=6)
_modules = st.lists(st.lists(_word, min_size=1, max_size=3).map(".".join), max_size=6).map(tuple)
_data = st.lists(
    st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=12).filter(is_data_path),
    max_size=6,
).map(tuple)
_distributions = st.dictionaries(
    st.text("abc19", min_size=1, max_size=5), st.sampled_from(["1", "1.0.post1", "2!3+x"]), max_size=3
).map(lambda versions: tuple(versions.items()))
_traces = st.builds(
    Trace, python=st.just("3.11.7"), distributions=_distributions, data=_data, modules=_modules
).map(Trace.in_order)


@given(_traces)
def test_what_is_written_is_read(trace: Trace) -> None:
    assert Trace.parse(trace.to_bytes(), "runs.trace") == trace


@given(st.binary(max_size=300) | st.binary(max_size=200).map(b"casemate-trace 1\npython 3.11.7\n".__add__))
def test_any_bytes_give_a_record_or_our_error(data: bytes) -> None:
    try:
        trace = Trace.parse(data, "runs.trace")
    except FormatError:
        return
    assert trace.to_bytes() == data


@given(_traces, st.data())
def test_a_damaged_record_gives_a_record_or_our_error(trace: Trace, data: st.DataObject) -> None:
    text = bytearray(trace.to_bytes())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = Trace.parse(bytes(text), "runs.trace")
    except FormatError:
        return
    assert all(is_data_path(path) for path in read.data)
    assert all(is_module_name(name) for name in read.modules)
    assert all(is_distribution(" ".join(pair)) for pair in read.distributions)


@given(_traces, _traces, _traces)
def test_runs_unite_in_any_order(one: Trace, two: Trace, three: Trace) -> None:
    try:
        forth = one.united(two, "x").united(three, "x")
        back = three.united(two, "x").united(one, "x")
    except ProjectError:
        versions = [dict(trace.distributions) for trace in (one, two, three)]
        assert any(a[name] != b[name] for a in versions for b in versions for name in a.keys() & b.keys())
        return
    assert forth == back
    assert set(forth.modules) == {*one.modules, *two.modules, *three.modules}
    assert Trace.parse(forth.to_bytes(), "x") == forth


@given(st.text(max_size=30))
def test_no_data_path_leads_out_of_the_environment(path: str) -> None:
    if is_data_path(path):
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "\n" not in path

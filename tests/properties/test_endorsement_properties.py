"""TCB info and enclave identities, whatever they say: what the simulator writes reads as it was meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.formats.sgx.collateral import (
    ISV_STATUSES,
    PLATFORM_STATUSES,
    EnclaveId,
    EnclaveIdentity,
    IsvLevel,
    TcbInfo,
    TcbInfoId,
    TcbLevel,
    TdxModule,
    TdxModuleIdentity,
)
from casemate.simulator.documents import encode_enclave_identity, encode_tcb_info


def of(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


uint16 = st.integers(0, 0xFFFF)
numbers = st.integers(0, 0xFFFF_FFFF)
dates = st.integers(-30_000_000_000, 250_000_000_000).map(
    lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
advisories = st.lists(st.text(max_size=20), max_size=3).map(tuple)
components = st.tuples(*[st.integers(0, 255)] * 16)
isv_levels = st.lists(
    st.builds(
        IsvLevel,
        isvsvn=uint16,
        tcb_date=dates,
        status=st.sampled_from(ISV_STATUSES),
        advisory_ids=advisories,
    ),
    max_size=4,
).map(tuple)
modules = st.builds(TdxModule, mrsigner=of(48), attributes=of(8), attributes_mask=of(8))
module_identities = st.builds(
    TdxModuleIdentity,
    id=st.text(max_size=8),
    mrsigner=of(48),
    attributes=of(8),
    attributes_mask=of(8),
    levels=isv_levels,
)
identities = st.builds(
    EnclaveIdentity,
    id=st.sampled_from(EnclaveId),
    issue_date=dates,
    next_update=dates,
    tcb_evaluation_data_number=numbers,
    misc_select=of(4),
    misc_select_mask=of(4),
    attributes=of(16),
    attributes_mask=of(16),
    mrsigner=of(32),
    isvprodid=uint16,
    levels=isv_levels,
)


@st.composite
def tcb_infos(draw: st.DrawFn) -> TcbInfo:
    version, subject = draw(st.sampled_from([(2, TcbInfoId.SGX), (3, TcbInfoId.SGX), (3, TcbInfoId.TDX)]))
    of_tdx = subject is TcbInfoId.TDX
    levels = st.builds(
        TcbLevel,
        sgx_components=components,
        tdx_components=components if of_tdx else st.none(),
        pce_svn=uint16,
        tcb_date=dates,
        status=st.sampled_from(PLATFORM_STATUSES),
        advisory_ids=advisories,
    )
    return TcbInfo(
        id=subject,
        version=version,
        issue_date=draw(dates),
        next_update=draw(dates),
        fmspc=draw(of(6)),
        pce_id=draw(of(2)),
        tcb_type=draw(st.integers(0, 9)),
        tcb_evaluation_data_number=draw(numbers),
        tdx_module=draw(modules) if of_tdx else None,
        tdx_module_identities=tuple(draw(st.lists(module_identities, max_size=3))) if of_tdx else (),
        levels=tuple(draw(st.lists(levels, max_size=3))),
    )


@given(info=tcb_infos())
@settings(deadline=None)
def test_tcb_info_comes_back(info: TcbInfo) -> None:
    assert TcbInfo.parse(encode_tcb_info(info)) == info


@given(identity=identities)
@settings(deadline=None)
def test_enclave_identities_come_back(identity: EnclaveIdentity) -> None:
    assert EnclaveIdentity.parse(encode_enclave_identity(identity)) == identity

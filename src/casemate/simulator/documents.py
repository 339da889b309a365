"""TCB info and enclave identity in Intel's form, from the values that the verifier reads them into.

Intel SGX and TDX Provisioning Certification Service API, versions 3 and 4: "TCB info" (V2 and V3) and
"Enclave identity" (V2), members in the order in which Intel's service writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from casemate.formats.sgx.collateral import EnclaveIdentity, IsvLevel, TcbInfo, TcbLevel, TdxModule


def encode_tcb_info(info: TcbInfo) -> bytes:
    """The JSON that reads as ``info``: version 2 for version 2, which knows SGX only, else version 3."""
    document: dict[str, Any] = {} if info.version == 2 else {"id": info.id.value}
    document |= {
        "version": info.version,
        "issueDate": _date(info.issue_date),
        "nextUpdate": _date(info.next_update),
        "fmspc": info.fmspc.hex().upper(),
        "pceId": info.pce_id.hex(),
        "tcbType": info.tcb_type,
        "tcbEvaluationDataNumber": info.tcb_evaluation_data_number,
    }
    if info.tdx_module is not None:
        document["tdxModule"] = _module(info.tdx_module)
        document["tdxModuleIdentities"] = [
            {"id": identity.id, **_module(identity), "tcbLevels": _isv_levels(identity.levels)}
            for identity in info.tdx_module_identities
        ]
    tcb = _tcb_v2 if info.version == 2 else _tcb_v3
    document["tcbLevels"] = [{"tcb": tcb(level), **_standing(level)} for level in info.levels]
    return msgspec.json.encode(document)


def encode_enclave_identity(identity: EnclaveIdentity) -> bytes:
    """The JSON that reads as ``identity``, version 2."""
    return msgspec.json.encode(
        {
            "id": identity.id.value,
            "version": 2,
            "issueDate": _date(identity.issue_date),
            "nextUpdate": _date(identity.next_update),
            "tcbEvaluationDataNumber": identity.tcb_evaluation_data_number,
            "miscselect": identity.misc_select.hex().upper(),
            "miscselectMask": identity.misc_select_mask.hex().upper(),
            "attributes": identity.attributes.hex().upper(),
            "attributesMask": identity.attributes_mask.hex().upper(),
            "mrsigner": identity.mrsigner.hex().upper(),
            "isvprodid": identity.isvprodid,
            "tcbLevels": _isv_levels(identity.levels),
        }
    )


def _tcb_v2(level: TcbLevel) -> dict[str, Any]:
    svns = {f"sgxtcbcomp{number:02}svn": svn for number, svn in enumerate(level.sgx_components, start=1)}
    return svns | {"pcesvn": level.pce_svn}


def _tcb_v3(level: TcbLevel) -> dict[str, Any]:
    tcb = {"sgxtcbcomponents": _components(level.sgx_components), "pcesvn": level.pce_svn}
    if level.tdx_components is not None:
        tcb["tdxtcbcomponents"] = _components(level.tdx_components)
    return tcb


def _components(svns: Iterable[int]) -> list[dict[str, int]]:
    return [{"svn": svn} for svn in svns]


def _module(module: TdxModule) -> dict[str, str]:
    return {
        "mrsigner": module.mrsigner.hex().upper(),
        "attributes": module.attributes.hex().upper(),
        "attributesMask": module.attributes_mask.hex().upper(),
    }


def _isv_levels(levels: Iterable[IsvLevel]) -> list[dict[str, Any]]:
    return [{"tcb": {"isvsvn": level.isvsvn}, **_standing(level)} for level in levels]


def _standing(level: TcbLevel | IsvLevel) -> dict[str, Any]:
    standing: dict[str, Any] = {"tcbDate": _date(level.tcb_date), "tcbStatus": level.status.value}
    # Intel leaves the member out where there is no advisory.
    return standing | ({"advisoryIDs": list(level.advisory_ids)} if level.advisory_ids else {})


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""Collateral as people keep it: one file for each thing, as Intel's service answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from casemate.formats.sgx.collateral import Collateral


def tcb_info_file(collateral: Collateral) -> bytes:
    return _signed(b"tcbInfo", collateral.tcb_info, collateral.tcb_info_signature)


def qe_identity_file(collateral: Collateral) -> bytes:
    return _signed(b"enclaveIdentity", collateral.qe_identity, collateral.qe_identity_signature)


def write_collateral(collateral: Collateral, folder: Path) -> dict[str, Any]:
    """Four files, and the members of a line that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tcb.json").write_bytes(tcb_info_file(collateral))
    (folder / "qe.json").write_bytes(qe_identity_file(collateral))
    (folder / "root.crl").write_bytes(collateral.root_ca_crl)
    (folder / "pck.crl").write_bytes(collateral.pck_crl)
    names = {"tcb_info": "tcb.json", "qe_identity": "qe.json", "root_crl": "root.crl", "pck_crl": "pck.crl"}
    return {member: str(folder / name) for member, name in names.items()}


def write_certificates(collateral: Collateral, folder: Path) -> Path:
    """The chains, one certificate a file."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = (collateral.pck_crl_issuer_chain + collateral.tcb_info_issuer_chain).split(b"-----BEGIN")
    for number, block in enumerate(blocks[1:]):
        (folder / f"{number}.pem").write_bytes(b"-----BEGIN" + block)
    return folder


def _signed(member: bytes, document: bytes, signature: bytes) -> bytes:
    return b'{"%s":%s,"signature":"%s"}' % (member, document, signature.hex().encode())

"""What Intel signs about platforms and its own enclaves: TCB info, enclave identity, and all of it together.

Intel SGX and TDX Provisioning Certification Service API, versions 3 and 4: "TCB info" (V2 and V3) and
"Enclave identity" (V2). :class:`Collateral` is the JSON form that verifiers exchange (Intel's
``sgx_ql_qve_collateral_t`` with its fields by name). Unknown members are ignored, because Intel adds some; an
unknown version, subject or status is refused. Not checked here: signatures, validity, whether a level stands
twice, which of the documents belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, TypeVar

import msgspec

from casemate.errors import FormatError
from casemate.formats.sgx import intel_json
from casemate.formats.sgx.intel_json import MAX_COLLATERAL_SIZE, as_shape, date_of, read_json

__all__ = [
    "ISV_STATUSES",
    "MAX_COLLATERAL_SIZE",
    "PLATFORM_STATUSES",
    "Collateral",
    "EnclaveId",
    "EnclaveIdentity",
    "IsvLevel",
    "TcbInfo",
    "TcbInfoId",
    "TcbLevel",
    "TcbStatus",
    "TdxModule",
    "TdxModuleIdentity",
    "parse_signed",
]


class TcbStatus(Enum):
    """What Intel says about a TCB level, or what follows from several; the value is Intel's word.

    The last two are in none of Intel's documents: they follow when a trust domain was launched before its
    platform was brought up to date.
    """

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"

    # As for Tee: members are looked up where every quote is judged.
    __hash__ = object.__hash__


#: What a level of a platform may be: all that TCB info can say.
PLATFORM_STATUSES: Final = (
    TcbStatus.UP_TO_DATE,
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.REVOKED,
)
#: What a level of an enclave or of a TDX module may be.
ISV_STATUSES: Final = (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)


class TcbInfoId(StrEnum):
    """Which technology TCB info is about."""

    SGX = "SGX"
    TDX = "TDX"


class EnclaveId(StrEnum):
    """Which of Intel's enclaves an identity is about."""

    #: The quoting enclaves of SGX and of TDX.
    QE = "QE"
    TD_QE = "TD_QE"
    #: The enclaves that verify quotes and that appraise them.
    QVE = "QVE"
    QAE = "QAE"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbLevel:
    """One level of a platform's TCB.

    Attributes:
        sgx_components: The least security version of each of the 16 components of CPUSVN.
        tdx_components: The least security version of each of the 16 components of TEE_TCB_SVN; ``None`` for
            SGX.
        pce_svn: The least security version of the provisioning certification enclave.
        tcb_date: What was known until then was mended at this level.
        status: What Intel says about platforms of this level, one of :data:`PLATFORM_STATUSES`.
        advisory_ids: Intel's security advisories that concern it.
    """

    sgx_components: tuple[int, ...]
    tdx_components: tuple[int, ...] | None = None
    pce_svn: int
    tcb_date: datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsvLevel:
    """One level of an enclave or of a TDX module.

    Attributes:
        isvsvn: The least security version.
        tcb_date: What was known until then was mended at this level.
        status: What Intel says about this level, one of :data:`ISV_STATUSES`.
        advisory_ids: Intel's security advisories that concern it.
    """

    isvsvn: int
    tcb_date: datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxModule:
    """What a genuine TDX module looks like.

    Attributes:
        mrsigner: Expected MRSIGNERSEAM, 48 bytes.
        attributes: Expected SEAMATTRIBUTES under the mask, 8 bytes as they lie.
        attributes_mask: 8 bytes.
    """

    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxModuleIdentity(TdxModule):
    """What genuine TDX modules of one major version look like, and how each stands.

    Attributes:
        id: ``TDX_`` and the major version, the second byte of TEE_TCB_SVN, in hexadecimal.
        levels: The levels, as they stand in the document.
    """

    id: str
    levels: tuple[IsvLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """TCB info of one family of platforms.

    Attributes:
        id: What it is about; version 2 does not say it and speaks of SGX.
        version: 2 or 3.
        issue_date: From when it is valid.
        next_update: Until when it is valid.
        fmspc: The family, 6 bytes.
        pce_id: The provisioning certification enclave, 2 bytes.
        tcb_type: How levels are compared.
        tcb_evaluation_data_number: Grows with each of Intel's TCB recoveries.
        tdx_module: TDX modules of major version 0; ``None`` for SGX.
        tdx_module_identities: TDX modules of later versions; empty for SGX.
        sgx_component_names: What the components of CPUSVN are, in Intel's words, each empty where they say
            nothing; none at all, where they say nothing of any.
        tdx_component_names: The same of TEE_TCB_SVN.
        levels: The levels, as they stand in the document.
    """

    id: TcbInfoId
    version: int
    issue_date: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    tcb_type: int
    tcb_evaluation_data_number: int
    tdx_module: TdxModule | None = None
    tdx_module_identities: tuple[TdxModuleIdentity, ...] = ()
    sgx_component_names: tuple[str, ...] = ()
    tdx_component_names: tuple[str, ...] = ()
    levels: tuple[TcbLevel, ...]

    @classmethod
    def parse(cls, data: bytes) -> TcbInfo:
        """Read the JSON that Intel signed.

        Raises:
            FormatError: Not JSON that is read strictly, another version than 2 or 3, neither about SGX nor
                TDX, a member is missing or malformed, or an unknown status.
        """
        value = read_json(data, _TCB_INFO)
        version = as_shape(value, intel_json.Versioned, _TCB_INFO).version
        if version == 2:
            return _tcb_info_v2(value)
        if version != 3:
            raise FormatError("TCB info version", expected="2 or 3", got=str(version))
        subject = as_shape(value, intel_json.Identified, _TCB_INFO).id
        read = {TcbInfoId.SGX: _sgx_tcb_info_v3, TcbInfoId.TDX: _tdx_tcb_info_v3}
        return read[_named(TcbInfoId, subject, "TCB info id", _TCB_INFO)](value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveIdentity:
    """What a genuine enclave of Intel looks like, and how each of its versions stands.

    Attributes:
        id: Which enclave.
        issue_date: From when it is valid.
        next_update: Until when it is valid.
        tcb_evaluation_data_number: Grows with each of Intel's TCB recoveries.
        misc_select: Expected MISCSELECT under its mask, 4 bytes.
        misc_select_mask: 4 bytes.
        attributes: Expected ATTRIBUTES under its mask, 16 bytes.
        attributes_mask: 16 bytes.
        mrsigner: Expected MRSIGNER, 32 bytes.
        isvprodid: Expected ISVPRODID.
        levels: The levels, as they stand in the document.
    """

    id: EnclaveId
    issue_date: datetime
    next_update: datetime
    tcb_evaluation_data_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[IsvLevel, ...]

    @classmethod
    def parse(cls, data: bytes) -> EnclaveIdentity:
        """Read the JSON that Intel signed.

        Raises:
            FormatError: Not JSON that is read strictly, another version than 2, an unknown enclave, a member
                is missing or malformed, or a status that enclaves do not have.
        """
        where = "enclave identity"
        value = read_json(data, where)
        version = as_shape(value, intel_json.Versioned, where).version
        if version != 2:
            raise FormatError("enclave identity version", expected="2", got=str(version))
        read = as_shape(value, intel_json.EnclaveIdentityV2, where)
        return cls(
            id=_named(EnclaveId, read.id, "enclave identity id", where),
            issue_date=date_of(read.issue_date, where),
            next_update=date_of(read.next_update, where),
            tcb_evaluation_data_number=read.tcb_evaluation_data_number,
            misc_select=bytes.fromhex(read.miscselect),
            misc_select_mask=bytes.fromhex(read.miscselect_mask),
            attributes=bytes.fromhex(read.attributes),
            attributes_mask=bytes.fromhex(read.attributes_mask),
            mrsigner=bytes.fromhex(read.mrsigner),
            isvprodid=read.isvprodid,
            levels=_isv_levels(read.tcb_levels, where),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Everything besides the quote that its appraisal needs, as Intel's service gave it.

    Attributes:
        pck_crl_issuer_chain: Certificates of the issuer of ``pck_crl`` and of the root, PEM.
        root_ca_crl: CRL of the root, DER.
        pck_crl: CRL of the PCK's issuer, DER.
        tcb_info_issuer_chain: Certificates of the signer of ``tcb_info`` and of the root, PEM.
        tcb_info: The signed bytes of the member ``tcbInfo``.
        tcb_info_signature: r and s, 64 bytes.
        qe_identity_issuer_chain: Certificates of the signer of ``qe_identity`` and of the root, PEM.
        qe_identity: The signed bytes of the member ``enclaveIdentity``.
        qe_identity_signature: r and s, 64 bytes.
        pck_certificate_chain: Certificates of the PCK, its issuer and the root, PEM, for a quote that does
            not bring them; ``None`` for all others.
    """

    pck_crl_issuer_chain: bytes
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: bytes
    tcb_info: bytes
    tcb_info_signature: bytes
    qe_identity_issuer_chain: bytes
    qe_identity: bytes
    qe_identity_signature: bytes
    pck_certificate_chain: bytes | None = None

    @classmethod
    def parse_json(cls, data: bytes) -> Collateral:
        """Read the exchanged form: CRLs and signatures in hexadecimal, chains and documents as strings.

        Raises:
            FormatError: Not that JSON, or more than :data:`MAX_COLLATERAL_SIZE` bytes.
        """
        read = as_shape(read_json(data, "collateral"), intel_json.CollateralJson, "collateral")
        values = msgspec.structs.asdict(read)
        return cls(
            **{
                name: bytes.fromhex(text) if name in _IN_HEXADECIMAL else text.encode()
                for name, text in values.items()
                if text is not None
            }
        )

    def to_json(self) -> bytes:
        """The exchanged form."""
        values = {
            name: value.hex() if name in _IN_HEXADECIMAL else value.decode()
            for name, value in asdict(self).items()
            if value is not None
        }
        return msgspec.json.format(msgspec.json.encode(values), indent=1) + b"\n"


_IN_HEXADECIMAL = frozenset({"root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"})


def parse_signed(data: bytes, member: str) -> tuple[bytes, bytes]:
    """What Intel's service answers with: a document and its signature.

    Args:
        data: ``{"tcbInfo":…,"signature":"…"}``, or with ``enclaveIdentity`` in the place of ``tcbInfo``.
        member: The name of the document in it.

    Returns:
        The signed bytes, unchanged, and the signature over them: r and s, 64 bytes.

    Raises:
        FormatError: Not JSON that is read strictly, or a member is missing or malformed.
    """
    # Strictly first: only where no key comes twice do both readings mean the same member.
    signature = as_shape(read_json(data, member), intel_json.Signed, member).signature
    return intel_json.raw_member(data, member), bytes.fromhex(signature)


_TCB_INFO = "TCB info"
_Id = TypeVar("_Id", TcbInfoId, EnclaveId)


def _tcb_info_v2(value: object) -> TcbInfo:
    read = as_shape(value, intel_json.TcbInfoV2, _TCB_INFO)
    # The first member is PCESVN; the components follow in their order.
    flat = [(level, *msgspec.structs.astuple(level.tcb)) for level in read.tcb_levels]
    levels = tuple(_tcb_level(level, tuple(sgx), None, pce_svn) for level, pce_svn, *sgx in flat)
    return _tcb_info(read, TcbInfoId.SGX, levels)


def _sgx_tcb_info_v3(value: object) -> TcbInfo:
    read = as_shape(value, intel_json.SgxTcbInfoV3, _TCB_INFO)
    levels = tuple(
        _tcb_level(level, tuple(c.svn for c in level.tcb.sgxtcbcomponents), None, level.tcb.pcesvn)
        for level in read.tcb_levels
    )
    names = _names(level.tcb.sgxtcbcomponents for level in read.tcb_levels)
    return replace(_tcb_info(read, TcbInfoId.SGX, levels), sgx_component_names=names)


def _tdx_tcb_info_v3(value: object) -> TcbInfo:
    read = as_shape(value, intel_json.TdxTcbInfoV3, _TCB_INFO)
    levels = tuple(
        _tcb_level(
            level,
            tuple(c.svn for c in level.tcb.sgxtcbcomponents),
            tuple(c.svn for c in level.tcb.tdxtcbcomponents),
            level.tcb.pcesvn,
        )
        for level in read.tcb_levels
    )
    module = read.tdx_module
    info = _tcb_info(
        read,
        TcbInfoId.TDX,
        levels,
        module=TdxModule(
            mrsigner=bytes.fromhex(module.mrsigner),
            attributes=bytes.fromhex(module.attributes),
            attributes_mask=bytes.fromhex(module.attributes_mask),
        ),
        identities=tuple(
            TdxModuleIdentity(
                mrsigner=bytes.fromhex(identity.mrsigner),
                attributes=bytes.fromhex(identity.attributes),
                attributes_mask=bytes.fromhex(identity.attributes_mask),
                id=identity.id,
                levels=_isv_levels(identity.tcb_levels, _TCB_INFO),
            )
            for identity in read.tdx_module_identities
        ),
    )
    return replace(
        info,
        sgx_component_names=_names(level.tcb.sgxtcbcomponents for level in read.tcb_levels),
        tdx_component_names=_names(level.tcb.tdxtcbcomponents for level in read.tcb_levels),
    )


def _names(levels: Iterable[Sequence[intel_json.Component]]) -> tuple[str, ...]:
    """What the components are, as the first level that says so calls them; Intel's all say the same."""
    for level in levels:
        names = tuple(component.name for component in level)
        if any(names):
            return names
    return ()


def _tcb_info(
    read: intel_json.TcbInfoBase,
    subject: TcbInfoId,
    levels: tuple[TcbLevel, ...],
    module: TdxModule | None = None,
    identities: tuple[TdxModuleIdentity, ...] = (),
) -> TcbInfo:
    return TcbInfo(
        id=subject,
        version=read.version,
        issue_date=date_of(read.issue_date, _TCB_INFO),
        next_update=date_of(read.next_update, _TCB_INFO),
        fmspc=bytes.fromhex(read.fmspc),
        pce_id=bytes.fromhex(read.pce_id),
        tcb_type=read.tcb_type,
        tcb_evaluation_data_number=read.tcb_evaluation_data_number,
        tdx_module=module,
        tdx_module_identities=identities,
        levels=levels,
    )


def _tcb_level(
    level: intel_json.Level, sgx: tuple[int, ...], tdx: tuple[int, ...] | None, pce_svn: int
) -> TcbLevel:
    return TcbLevel(
        sgx_components=sgx,
        tdx_components=tdx,
        pce_svn=pce_svn,
        tcb_date=date_of(level.tcb_date, _TCB_INFO),
        status=_status(level.tcb_status, PLATFORM_STATUSES, _TCB_INFO),
        advisory_ids=level.advisory_ids,
    )


def _isv_levels(levels: Sequence[intel_json.IsvLevelV2], where: str) -> tuple[IsvLevel, ...]:
    return tuple(
        IsvLevel(
            isvsvn=level.tcb.isvsvn,
            tcb_date=date_of(level.tcb_date, where),
            status=_status(level.tcb_status, ISV_STATUSES, where),
            advisory_ids=level.advisory_ids,
        )
        for level in levels
    )


def _status(word: str, allowed: Sequence[TcbStatus], where: str) -> TcbStatus:
    for status in allowed:
        if status.value == word:
            return status
    raise FormatError(
        "TCB status",
        expected="one of " + ", ".join(status.value for status in allowed),
        got=word,
        where=where,
    )


def _named(kind: type[_Id], word: str, subject: str, where: str) -> _Id:
    for name in kind:
        if name.value == word:
            return name
    raise FormatError(subject, expected=" or ".join(kind), got=word, where=where)

"""Every check of an appraisal, with the place in a specification that asks for it.

"QVL" is Intel's SGX and TDX Quote Verification Library; its sections 4.1.2.4.x are those of ``VerifyQuote``
in its API. "SDM" is volume 3D of Intel's Software Developer's Manual, "TDX" Intel's TDX module ABI
specification. The list is closed: evidence is affirmed only when each check that concerns its kind of
enclave has been made and has passed.
"""

from __future__ import annotations

from enum import Enum, unique
from functools import cache

from casemate.formats.sgx.quote import Tee

_BOTH = (Tee.SGX, Tee.TDX)
_SGX = (Tee.SGX,)
_TDX = (Tee.TDX,)


@unique
class Stage(Enum):
    """A part of the procedure: what its checks depend on, and so how long their outcome holds."""

    #: On what the manufacturer says: one outcome for each set of collateral.
    ENDORSEMENTS = "endorsements"
    #: On the platform's certificate chain.
    PLATFORM = "platform"
    #: On the quoting enclave and its attestation key.
    QUOTING_ENCLAVE = "quoting enclave"
    #: On the TDX module that the quote speaks of.
    TDX_MODULE = "TDX module"
    #: On the security versions of platform, quoting enclave and TDX module together.
    STANDING = "standing"
    #: On the quote itself.
    QUOTE = "quote"
    #: On the instant of the appraisal.
    TIME = "time"
    #: On what the evidence says, and what the relying party accepts.
    POLICY = "policy"


@unique
class Requirement(Enum):
    """One check: its name, where it comes from, its stage, and the kinds of enclave that it concerns."""

    ENCLAVE_NAMED = ("policy names an enclave", "RFC 9334 section 8.5", Stage.POLICY, _BOTH)
    #: Made only where a policy has alternatives.
    ALTERNATIVES = ("policy: one of its alternatives", "policy", Stage.POLICY, ())

    QUOTE_FORMAT = ("quote format", "QVL 4.1.2.4.2", Stage.QUOTE, _BOTH)
    QE_VENDOR = ("quoting enclave vendor", "QVL 4.1.2.4.2", Stage.QUOTE, _BOTH)
    CERTIFICATION_DATA = ("certification data type", "QVL 4.1.2.4.2", Stage.QUOTE, _BOTH)

    PCK_CHAIN_FORMAT = ("PCK chain: format", "QVL VerifyPCKCertificate", Stage.PLATFORM, _BOTH)
    PCK_CHAIN_ROOT = ("PCK chain: trusted root", "QVL VerifyPCKCertificate", Stage.PLATFORM, _BOTH)
    PCK_CHAIN_ROLES = (
        "PCK chain: roles",
        "QVL VerifyPCKCertificate, 4.1.2.4.4",
        Stage.PLATFORM,
        _BOTH,
    )
    PCK_CHAIN_SIGNATURES = (
        "PCK chain: issuers and signatures",
        "QVL VerifyPCKCertificate",
        Stage.PLATFORM,
        _BOTH,
    )
    PCK_CHAIN_BEGUN = ("PCK chain: validity has begun", "RFC 5280 section 4.1.2.5", Stage.TIME, _BOTH)
    PCK_CHAIN_EXPIRY = ("PCK chain: not expired", "QVL VerifyPCKCertificate", Stage.TIME, _BOTH)

    CRL_CHAIN_FORMAT = ("PCK CRL issuer chain: format", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    CRL_CHAIN_ROOT = (
        "PCK CRL issuer chain: trusted root",
        "QVL VerifyPCKCertificate",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    CRL_CHAIN_ROLES = ("PCK CRL issuer chain: roles", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    CRL_CHAIN_SIGNATURES = (
        "PCK CRL issuer chain: issuers and signatures",
        "QVL VerifyPCKCertificate",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    CRL_CHAIN_BEGUN = (
        "PCK CRL issuer chain: validity has begun",
        "RFC 5280 section 4.1.2.5",
        Stage.TIME,
        _BOTH,
    )
    CRL_CHAIN_EXPIRY = ("PCK CRL issuer chain: not expired", "QVL VerifyPCKCertificate", Stage.TIME, _BOTH)
    CRL_CHAIN_KEY = ("PCK CRL issuer chain: the PCK's issuer", "QVL 4.1.2.4.6", Stage.PLATFORM, _BOTH)

    TCB_CHAIN_FORMAT = ("TCB info issuer chain: format", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_CHAIN_ROOT = ("TCB info issuer chain: trusted root", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_CHAIN_ROLES = ("TCB info issuer chain: roles", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_CHAIN_SIGNATURES = (
        "TCB info issuer chain: issuers and signatures",
        "QVL VerifyTCBInfo",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    TCB_CHAIN_BEGUN = (
        "TCB info issuer chain: validity has begun",
        "RFC 5280 section 4.1.2.5",
        Stage.TIME,
        _BOTH,
    )
    TCB_CHAIN_EXPIRY = ("TCB info issuer chain: not expired", "QVL VerifyTCBInfo", Stage.TIME, _BOTH)

    QE_CHAIN_FORMAT = (
        "QE identity issuer chain: format",
        "QVL VerifyEnclaveIdentity",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    QE_CHAIN_ROOT = (
        "QE identity issuer chain: trusted root",
        "QVL VerifyEnclaveIdentity",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    QE_CHAIN_ROLES = (
        "QE identity issuer chain: roles",
        "QVL VerifyEnclaveIdentity",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    QE_CHAIN_SIGNATURES = (
        "QE identity issuer chain: issuers and signatures",
        "QVL VerifyEnclaveIdentity",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    QE_CHAIN_BEGUN = (
        "QE identity issuer chain: validity has begun",
        "RFC 5280 section 4.1.2.5",
        Stage.TIME,
        _BOTH,
    )
    QE_CHAIN_EXPIRY = (
        "QE identity issuer chain: not expired",
        "QVL VerifyEnclaveIdentity",
        Stage.TIME,
        _BOTH,
    )

    ROOT_CRL_FORMAT = ("root CRL: format", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    ROOT_CRL_ISSUER = ("root CRL: issuer", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    ROOT_CRL_SIGNATURE = ("root CRL: signature", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    ROOT_CRL_BEGUN = ("root CRL: validity has begun", "RFC 5280 section 5.1.2.4", Stage.TIME, _BOTH)
    ROOT_CRL_EXPIRY = ("root CRL: not expired", "QVL VerifyPCKCertificate", Stage.TIME, _BOTH)

    PCK_CRL_FORMAT = ("PCK CRL: format", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    PCK_CRL_ISSUER = ("PCK CRL: issuer", "QVL 4.1.2.4.6", Stage.ENDORSEMENTS, _BOTH)
    PCK_CRL_SIGNATURE = ("PCK CRL: signature", "QVL VerifyPCKCertificate", Stage.ENDORSEMENTS, _BOTH)
    PCK_CRL_BEGUN = ("PCK CRL: validity has begun", "RFC 5280 section 5.1.2.4", Stage.TIME, _BOTH)
    PCK_CRL_EXPIRY = ("PCK CRL: not expired", "QVL VerifyPCKCertificate", Stage.TIME, _BOTH)

    ROOT_REVOKED = ("root: not revoked", "RFC 5280 section 6.1", Stage.PLATFORM, _BOTH)
    INTERMEDIATE_REVOKED = ("PCK issuer: not revoked", "QVL VerifyPCKCertificate", Stage.PLATFORM, _BOTH)
    PCK_REVOKED = ("PCK certificate: not revoked", "QVL 4.1.2.4.7", Stage.PLATFORM, _BOTH)
    TCB_SIGNER_REVOKED = ("TCB info signer: not revoked", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    QE_SIGNER_REVOKED = (
        "QE identity signer: not revoked",
        "QVL VerifyEnclaveIdentity",
        Stage.ENDORSEMENTS,
        _BOTH,
    )

    TCB_INFO_SIGNATURE = ("TCB info: signature", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_INFO_FORMAT = ("TCB info: format", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_INFO_TYPE = ("TCB info: type", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_INFO_DUPLICATES = ("TCB info: each level once", "QVL VerifyTCBInfo", Stage.ENDORSEMENTS, _BOTH)
    TCB_INFO_BEGUN = (
        "TCB info: validity has begun",
        "PCS API 4, TCB info issueDate",
        Stage.TIME,
        _BOTH,
    )
    TCB_INFO_EXPIRY = ("TCB info: not expired", "QVL VerifyTCBInfo", Stage.TIME, _BOTH)

    QE_IDENTITY_SIGNATURE = ("QE identity: signature", "QVL VerifyEnclaveIdentity", Stage.ENDORSEMENTS, _BOTH)
    QE_IDENTITY_FORMAT = ("QE identity: format", "QVL VerifyEnclaveIdentity", Stage.ENDORSEMENTS, _BOTH)
    QE_IDENTITY_DUPLICATES = (
        "QE identity: each level once",
        "QVL VerifyEnclaveIdentity",
        Stage.ENDORSEMENTS,
        _BOTH,
    )
    QE_IDENTITY_BEGUN = (
        "QE identity: validity has begun",
        "PCS API 4, enclave identity issueDate",
        Stage.TIME,
        _BOTH,
    )
    QE_IDENTITY_EXPIRY = ("QE identity: not expired", "QVL VerifyEnclaveIdentity", Stage.TIME, _BOTH)

    TCB_INFO_ID = ("TCB info: speaks of the quote's TEE", "QVL 4.1.2.4.9", Stage.QUOTE, _BOTH)
    QE_IDENTITY_ID = ("QE identity: speaks of the quote's TEE", "QVL 4.1.2.4.14", Stage.QUOTE, _BOTH)

    PCK_EXTENSION = ("PCK certificate: SGX extension", "QVL 4.1.2.4.10", Stage.PLATFORM, _BOTH)
    FMSPC = ("TCB info: FMSPC of the platform", "QVL 4.1.2.4.10", Stage.PLATFORM, _BOTH)
    PCE_ID = ("TCB info: PCEID of the platform", "QVL 4.1.2.4.10", Stage.PLATFORM, _BOTH)

    TDX_MODULE_SIGNER = ("TDX module: MRSIGNERSEAM", "QVL 4.1.2.4.11", Stage.TDX_MODULE, _TDX)
    TDX_MODULE_ATTRIBUTES = ("TDX module: SEAMATTRIBUTES", "QVL 4.1.2.4.11", Stage.TDX_MODULE, _TDX)

    QE_REPORT_SIGNATURE = (
        "quoting enclave: signature of the PCK",
        "QVL 4.1.2.4.12",
        Stage.QUOTING_ENCLAVE,
        _BOTH,
    )
    QE_REPORT_DATA = (
        "quoting enclave: binds the attestation key",
        "QVL 4.1.2.4.13",
        Stage.QUOTING_ENCLAVE,
        _BOTH,
    )
    QE_MISC_SELECT = ("quoting enclave: MISCSELECT", "QVL 4.1.2.4.15", Stage.QUOTING_ENCLAVE, _BOTH)
    QE_ATTRIBUTES = ("quoting enclave: ATTRIBUTES", "QVL 4.1.2.4.15", Stage.QUOTING_ENCLAVE, _BOTH)
    QE_MRSIGNER = ("quoting enclave: MRSIGNER", "QVL 4.1.2.4.15", Stage.QUOTING_ENCLAVE, _BOTH)
    QE_ISVPRODID = ("quoting enclave: ISVPRODID", "QVL 4.1.2.4.15", Stage.QUOTING_ENCLAVE, _BOTH)
    QE_LEVEL = ("quoting enclave: level", "QVL 4.1.2.4.15", Stage.STANDING, _BOTH)
    QUOTE_SIGNATURE = ("quote signature", "QVL 4.1.2.4.16", Stage.QUOTE, _BOTH)

    TCB_LEVEL = ("TCB level of the platform", "QVL 4.1.2.4.17", Stage.STANDING, _BOTH)
    TDX_MODULE_IDENTITY = ("TDX module: identity", "QVL 4.1.2.4.17.4.1", Stage.TDX_MODULE, _TDX)
    TDX_MODULE_LEVEL = ("TDX module: level", "QVL 4.1.2.4.17.4.1", Stage.STANDING, _TDX)
    TCB_STATUS = ("TCB status", "QVL 4.1.2.4.17 and policy", Stage.POLICY, _BOTH)
    ADVISORIES = ("advisories of the TCB levels", "policy", Stage.POLICY, _BOTH)
    DYNAMIC_PLATFORM = ("platform: packages may be added", "policy", Stage.POLICY, _BOTH)
    CACHED_KEYS = ("platform: root keys that Intel keeps", "policy", Stage.POLICY, _BOTH)
    SMT = ("platform: simultaneous multithreading", "policy", Stage.POLICY, _BOTH)
    TCB_NUMBER = ("TCB info: evaluation data number", "policy", Stage.POLICY, _BOTH)
    QE_NUMBER = ("QE identity: evaluation data number", "policy", Stage.POLICY, _BOTH)
    TCB_INFO_AGE = ("TCB info: age", "policy", Stage.TIME, _BOTH)
    QE_IDENTITY_AGE = ("QE identity: age", "policy", Stage.TIME, _BOTH)

    INIT = ("enclave: initialised", "SDM 3D, ATTRIBUTES.INIT", Stage.POLICY, _SGX)
    DEBUG = ("enclave: not in debug mode", "SDM 3D, ATTRIBUTES.DEBUG", Stage.POLICY, _SGX)
    PROVISION_KEY = ("enclave: no provisioning key", "SDM 3D, ATTRIBUTES.PROVISIONKEY", Stage.POLICY, _SGX)
    EINITTOKEN_KEY = ("enclave: no launch key", "SDM 3D, ATTRIBUTES.EINITTOKEN_KEY", Stage.POLICY, _SGX)
    RESERVED = (
        "enclave: reserved fields",
        "SDM 3D, REPORT, ATTRIBUTES and MISCSELECT",
        Stage.POLICY,
        _SGX,
    )
    MRENCLAVE = ("enclave: MRENCLAVE", "policy", Stage.POLICY, _SGX)
    MRSIGNER = ("enclave: MRSIGNER", "policy", Stage.POLICY, _SGX)
    ISVPRODID = ("enclave: ISVPRODID", "policy", Stage.POLICY, _SGX)
    ISVSVN = ("enclave: ISVSVN", "policy", Stage.POLICY, _SGX)
    ATTRIBUTES = ("enclave: ATTRIBUTES", "policy", Stage.POLICY, _SGX)
    MISC_SELECT = ("enclave: MISCSELECT", "policy", Stage.POLICY, _SGX)

    TD_DEBUG = ("trust domain: not in debug mode", "TDX, TDATTRIBUTES.TUD", Stage.POLICY, _TDX)
    TD_RESERVED = ("trust domain: reserved attributes", "TDX, TDATTRIBUTES", Stage.POLICY, _TDX)
    TD_SEPT_VE = (
        "trust domain: no exceptions that the host injects",
        "TDX, TDATTRIBUTES.SEPT_VE_DISABLE",
        Stage.POLICY,
        _TDX,
    )
    TD_MIGRATION = ("trust domain: not migratable", "TDX, TDATTRIBUTES.MIGRATABLE", Stage.POLICY, _TDX)
    TD_SERVICE = ("trust domain: no service TD", "TDX, MRSERVICETD", Stage.POLICY, _TDX)
    MRTD = ("trust domain: MRTD", "policy", Stage.POLICY, _TDX)
    RTMRS = ("trust domain: RTMR0 to RTMR3", "policy", Stage.POLICY, _TDX)
    MR_CONFIG_ID = ("trust domain: MRCONFIGID", "policy", Stage.POLICY, _TDX)
    MR_OWNER = ("trust domain: MROWNER", "policy", Stage.POLICY, _TDX)
    MR_OWNER_CONFIG = ("trust domain: MROWNERCONFIG", "policy", Stage.POLICY, _TDX)
    TD_ATTRIBUTES = ("trust domain: ATTRIBUTES", "policy", Stage.POLICY, _TDX)

    REPORT_DATA = ("enclave: report data", "policy", Stage.POLICY, _BOTH)

    # Members are keys in the innermost loop: identity is enough, and Enum's own hash is slow.
    __hash__ = object.__hash__

    def __init__(self, title: str, reference: str, stage: Stage, tees: tuple[Tee, ...]) -> None:
        self.title = title
        self.reference = reference
        self.stage = stage
        self.tees = tees


#: The stages that say whether evidence is genuine; the others say what it is worth.
GENUINENESS = (
    Stage.ENDORSEMENTS,
    Stage.PLATFORM,
    Stage.QUOTING_ENCLAVE,
    Stage.TDX_MODULE,
    Stage.QUOTE,
    Stage.TIME,
)


@cache
def required(tee: Tee, *stages: Stage) -> frozenset[Requirement]:
    """The checks of these stages for this kind of enclave."""
    return frozenset(
        requirement for requirement in Requirement if tee in requirement.tees and requirement.stage in stages
    )


#: The checks of a policy that depend on policy and endorsements alone, and are made once.
SETTLED = frozenset({Requirement.ENCLAVE_NAMED, Requirement.TCB_NUMBER, Requirement.QE_NUMBER})

"""Every check of an appraisal, with the place in a specification that asks for it.

"QVL" is Intel's SGX and TDX Quote Verification Library; its sections 4.1.2.4.x are those of ``VerifyQuote``
in its API. "SDM" is volume 3D of Intel's Software Developer's Manual. The list is closed: evidence is
affirmed only when each of these has been made and has passed.
"""

from __future__ import annotations

from enum import Enum, unique


@unique
class Requirement(Enum):
    """One check: its name, and where it comes from."""

    POLICY = ("policy names an enclave", "RFC 9334 section 8.5")

    QUOTE_FORMAT = ("quote format", "QVL 4.1.2.4.2")
    QE_VENDOR = ("quoting enclave vendor", "QVL 4.1.2.4.2")
    CERTIFICATION_DATA = ("certification data type", "QVL 4.1.2.4.2")

    PCK_CHAIN_FORMAT = ("PCK chain: format", "QVL VerifyPCKCertificate")
    PCK_CHAIN_ROOT = ("PCK chain: trusted root", "QVL VerifyPCKCertificate")
    PCK_CHAIN_ROLES = ("PCK chain: roles", "QVL VerifyPCKCertificate, 4.1.2.4.4")
    PCK_CHAIN_SIGNATURES = ("PCK chain: issuers and signatures", "QVL VerifyPCKCertificate")
    PCK_CHAIN_BEGUN = ("PCK chain: validity has begun", "RFC 5280 section 4.1.2.5")
    PCK_CHAIN_EXPIRY = ("PCK chain: not expired", "QVL VerifyPCKCertificate")

    CRL_CHAIN_FORMAT = ("PCK CRL issuer chain: format", "QVL VerifyPCKCertificate")
    CRL_CHAIN_ROOT = ("PCK CRL issuer chain: trusted root", "QVL VerifyPCKCertificate")
    CRL_CHAIN_ROLES = ("PCK CRL issuer chain: roles", "QVL VerifyPCKCertificate")
    CRL_CHAIN_SIGNATURES = ("PCK CRL issuer chain: issuers and signatures", "QVL VerifyPCKCertificate")
    CRL_CHAIN_BEGUN = ("PCK CRL issuer chain: validity has begun", "RFC 5280 section 4.1.2.5")
    CRL_CHAIN_EXPIRY = ("PCK CRL issuer chain: not expired", "QVL VerifyPCKCertificate")
    CRL_CHAIN_KEY = ("PCK CRL issuer chain: the PCK's issuer", "QVL 4.1.2.4.6")

    TCB_CHAIN_FORMAT = ("TCB info issuer chain: format", "QVL VerifyTCBInfo")
    TCB_CHAIN_ROOT = ("TCB info issuer chain: trusted root", "QVL VerifyTCBInfo")
    TCB_CHAIN_ROLES = ("TCB info issuer chain: roles", "QVL VerifyTCBInfo")
    TCB_CHAIN_SIGNATURES = ("TCB info issuer chain: issuers and signatures", "QVL VerifyTCBInfo")
    TCB_CHAIN_BEGUN = ("TCB info issuer chain: validity has begun", "RFC 5280 section 4.1.2.5")
    TCB_CHAIN_EXPIRY = ("TCB info issuer chain: not expired", "QVL VerifyTCBInfo")

    QE_CHAIN_FORMAT = ("QE identity issuer chain: format", "QVL VerifyEnclaveIdentity")
    QE_CHAIN_ROOT = ("QE identity issuer chain: trusted root", "QVL VerifyEnclaveIdentity")
    QE_CHAIN_ROLES = ("QE identity issuer chain: roles", "QVL VerifyEnclaveIdentity")
    QE_CHAIN_SIGNATURES = ("QE identity issuer chain: issuers and signatures", "QVL VerifyEnclaveIdentity")
    QE_CHAIN_BEGUN = ("QE identity issuer chain: validity has begun", "RFC 5280 section 4.1.2.5")
    QE_CHAIN_EXPIRY = ("QE identity issuer chain: not expired", "QVL VerifyEnclaveIdentity")

    ROOT_CRL_FORMAT = ("root CRL: format", "QVL VerifyPCKCertificate")
    ROOT_CRL_ISSUER = ("root CRL: issuer", "QVL VerifyPCKCertificate")
    ROOT_CRL_SIGNATURE = ("root CRL: signature", "QVL VerifyPCKCertificate")
    ROOT_CRL_BEGUN = ("root CRL: validity has begun", "RFC 5280 section 5.1.2.4")
    ROOT_CRL_EXPIRY = ("root CRL: not expired", "QVL VerifyPCKCertificate")

    PCK_CRL_FORMAT = ("PCK CRL: format", "QVL VerifyPCKCertificate")
    PCK_CRL_ISSUER = ("PCK CRL: issuer", "QVL 4.1.2.4.6")
    PCK_CRL_SIGNATURE = ("PCK CRL: signature", "QVL VerifyPCKCertificate")
    PCK_CRL_BEGUN = ("PCK CRL: validity has begun", "RFC 5280 section 5.1.2.4")
    PCK_CRL_EXPIRY = ("PCK CRL: not expired", "QVL VerifyPCKCertificate")

    INTERMEDIATE_REVOKED = ("PCK issuer: not revoked", "QVL VerifyPCKCertificate")
    PCK_REVOKED = ("PCK certificate: not revoked", "QVL 4.1.2.4.7")
    TCB_SIGNER_REVOKED = ("TCB info signer: not revoked", "QVL VerifyTCBInfo")
    QE_SIGNER_REVOKED = ("QE identity signer: not revoked", "QVL VerifyEnclaveIdentity")

    TCB_INFO_SIGNATURE = ("TCB info: signature", "QVL VerifyTCBInfo")
    TCB_INFO_FORMAT = ("TCB info: format", "QVL VerifyTCBInfo")
    TCB_INFO_ID = ("TCB info: speaks of SGX", "QVL 4.1.2.4.9")
    TCB_INFO_TYPE = ("TCB info: type", "QVL VerifyTCBInfo")
    TCB_INFO_DUPLICATES = ("TCB info: each level once", "QVL VerifyTCBInfo")
    TCB_INFO_BEGUN = ("TCB info: validity has begun", "PCS API 4, TCB info issueDate")
    TCB_INFO_EXPIRY = ("TCB info: not expired", "QVL VerifyTCBInfo")

    QE_IDENTITY_SIGNATURE = ("QE identity: signature", "QVL VerifyEnclaveIdentity")
    QE_IDENTITY_FORMAT = ("QE identity: format", "QVL VerifyEnclaveIdentity")
    QE_IDENTITY_ID = ("QE identity: speaks of the quoting enclave", "QVL 4.1.2.4.14")
    QE_IDENTITY_DUPLICATES = ("QE identity: each level once", "QVL VerifyEnclaveIdentity")
    QE_IDENTITY_BEGUN = ("QE identity: validity has begun", "PCS API 4, enclave identity issueDate")
    QE_IDENTITY_EXPIRY = ("QE identity: not expired", "QVL VerifyEnclaveIdentity")

    PCK_EXTENSION = ("PCK certificate: SGX extension", "QVL 4.1.2.4.10")
    FMSPC = ("TCB info: FMSPC of the platform", "QVL 4.1.2.4.10")
    PCE_ID = ("TCB info: PCEID of the platform", "QVL 4.1.2.4.10")

    QE_REPORT_SIGNATURE = ("quoting enclave: signature of the PCK", "QVL 4.1.2.4.12")
    QE_REPORT_DATA = ("quoting enclave: binds the attestation key", "QVL 4.1.2.4.13")
    QE_MISC_SELECT = ("quoting enclave: MISCSELECT", "QVL 4.1.2.4.15")
    QE_ATTRIBUTES = ("quoting enclave: ATTRIBUTES", "QVL 4.1.2.4.15")
    QE_MRSIGNER = ("quoting enclave: MRSIGNER", "QVL 4.1.2.4.15")
    QE_ISVPRODID = ("quoting enclave: ISVPRODID", "QVL 4.1.2.4.15")
    QE_LEVEL = ("quoting enclave: level", "QVL 4.1.2.4.15")
    QUOTE_SIGNATURE = ("quote signature", "QVL 4.1.2.4.16")

    TCB_LEVEL = ("TCB level of the platform", "QVL 4.1.2.4.17")
    TCB_STATUS = ("TCB status", "QVL 4.1.2.4.17 and policy")

    INIT = ("enclave: initialised", "SDM 3D, ATTRIBUTES.INIT")
    DEBUG = ("enclave: not in debug mode", "SDM 3D, ATTRIBUTES.DEBUG")
    PROVISION_KEY = ("enclave: no provisioning key", "SDM 3D, ATTRIBUTES.PROVISIONKEY")
    EINITTOKEN_KEY = ("enclave: no launch key", "SDM 3D, ATTRIBUTES.EINITTOKEN_KEY")
    RESERVED = ("enclave: reserved fields", "SDM 3D, REPORT, ATTRIBUTES and MISCSELECT")
    MRENCLAVE = ("enclave: MRENCLAVE", "policy")
    MRSIGNER = ("enclave: MRSIGNER", "policy")
    ISVPRODID = ("enclave: ISVPRODID", "policy")
    ISVSVN = ("enclave: ISVSVN", "policy")
    ATTRIBUTES = ("enclave: ATTRIBUTES", "policy")
    MISC_SELECT = ("enclave: MISCSELECT", "policy")
    REPORT_DATA = ("enclave: report data", "policy")

    @property
    def title(self) -> str:
        """The name of the check."""
        return self.value[0]

    @property
    def reference(self) -> str:
        """Where the check comes from."""
        return self.value[1]

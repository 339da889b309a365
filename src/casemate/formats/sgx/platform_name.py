"""Which platform a quote is about, as it says itself: enough to ask for the platform's endorsements.

Nothing of it is verified, and nothing may follow from it but a question: who answers to it with what is not
about the platform is found out by the verifier.
"""

from __future__ import annotations

from dataclasses import dataclass

from casemate.errors import FormatError
from casemate.formats.certificates import Certificate
from casemate.formats.pem import parse_certificates
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.pck_identifier import PckIdentifier, is_identifier
from casemate.formats.sgx.quote import PCK_CHAIN, Quote, Tee

#: Bytes of a quoting enclave's user data that name the platform.
_QE_ID_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFamily:
    """What platforms with the same endorsements have in common.

    Attributes:
        fmspc: Family, model, stepping, platform and custom SKU, 6 bytes.
        of_several_packages: Whether Intel's authority for platforms certifies them, and not that for
            processors.
    """

    fmspc: bytes
    of_several_packages: bool

    @classmethod
    def of_chain(cls, pem: bytes) -> PlatformFamily:
        """Read it out of the first certificate of a chain.

        Raises:
            FormatError: It is not a PCK certificate.
        """
        leaf = Certificate.parse(parse_certificates(pem, where="certificate chain of the PCK")[0])
        if leaf.sgx_extension is None:
            raise FormatError(
                "certificate chain of the PCK",
                expected="a certificate with Intel's SGX extension first",
                got=leaf.common_name,
            )
        extension = PckExtension.parse(leaf.sgx_extension)
        # Only that authority says which instance of a platform a certificate is about.
        return cls(fmspc=extension.fmspc, of_several_packages=extension.platform_instance_id is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformName:
    """How a quote names its platform.

    Attributes:
        tee: What is quoted.
        qe_id: By what its quoting enclave names the platform, 16 bytes.
        pck_chain: The certificate chain in the quote, PEM; ``None`` when it brings none.
        identifier: What it says in the place of that.
    """

    tee: Tee
    qe_id: bytes
    pck_chain: bytes | None = None
    identifier: PckIdentifier | None = None

    @classmethod
    def of(cls, quote: Quote) -> PlatformName:
        """Read it out of a quote.

        Raises:
            FormatError: The certification data say neither who certifies the platform nor which it is.
        """
        tee, qe_id = quote.tee, quote.header.user_data[:_QE_ID_SIZE]
        kind = quote.certification_type
        if kind == PCK_CHAIN:
            return cls(tee=tee, qe_id=qe_id, pck_chain=quote.certification_data)
        if is_identifier(kind):
            identifier = PckIdentifier.parse(kind, quote.certification_data)
            return cls(tee=tee, qe_id=qe_id, identifier=identifier)
        raise FormatError(
            "certification data type",
            expected="5 (certificate chain of the PCK), or 1 to 3 (PPID)",
            got=str(kind),
        )

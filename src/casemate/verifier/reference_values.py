"""Reference values: what a build says its enclave is, as the in-toto statement in the bundle.

The form is that of :mod:`casemate.formats.reference_values`. Where no key is named it is not checked who made
the statement: whoever names the file vouches for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casemate.errors import FormatError
from casemate.formats.reference_values import Sgx, read_statement
from casemate.formats.sgx.report import DEBUG, INIT, Attributes, MrEnclave, MrSigner
from casemate.keys import RsaPublicKey
from casemate.verifier.policy import AppraisalPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """The enclave of one build of one workload.

    Attributes:
        workload: Name of the workload, the statement's subject.
        image_digest: SHA-256 of the image manifest, in hexadecimal.
        simulated: The measurement was made without Gramine's platform image, for the simulator.
        mrenclave: MRENCLAVE, exact.
        mrsigner: MRSIGNER, exact.
        isvprodid: ISVPRODID, exact.
        minimum_isvsvn: The least ISVSVN.
        attributes: ATTRIBUTES in evidence where ``attributes_mask`` has ones: with INIT, without DEBUG.
        attributes_mask: See ``attributes``.
        misc_select: MISCSELECT, exact, 4 bytes.
    """

    workload: str
    image_digest: str
    simulated: bool
    mrenclave: MrEnclave
    mrsigner: MrSigner
    isvprodid: int
    minimum_isvsvn: int
    attributes: Attributes
    attributes_mask: Attributes
    misc_select: bytes

    @classmethod
    def parse(cls, data: bytes, where: str, keys: Sequence[RsaPublicKey] = ()) -> ReferenceValues:
        """Read a statement, bare or in a DSSE envelope.

        Args:
            data: JSON text.
            where: Name of the file, for errors.
            keys: One of these has to have signed the statement; with none, signatures are not looked at.

        Raises:
            FormatError: It is not a statement, is not signed for (no MRSIGNER), or is for a debug enclave.
            RefusedError: Keys are named, and none of them has signed it.
        """
        statement = read_statement(data, where, keys)
        subject, sgx = statement.subject[0], statement.predicate.sgx
        attributes = Attributes.parse(bytes.fromhex(sgx.attributes))
        if attributes.flags & DEBUG:
            raise FormatError(
                "reference values",
                expected="a production enclave",
                got="a debug enclave",
                where=where,
                hint="build without debug = true: whoever runs a debug enclave reads its memory",
            )
        return cls(
            workload=subject.name,
            image_digest=subject.digest.sha256,
            simulated=statement.predicate.simulated,
            mrenclave=MrEnclave(bytes.fromhex(sgx.mrenclave)),
            mrsigner=MrSigner(_signer(sgx, where)),
            isvprodid=sgx.isvprodid,
            minimum_isvsvn=sgx.isvsvn,
            # A statement says what the signature fixes. The processor compares that before it sets INIT (SDM
            # volume 3D, EINIT); evidence is of an enclave that has been initialised.
            attributes=attributes._replace(flags=attributes.flags | INIT),
            attributes_mask=Attributes.parse(bytes.fromhex(sgx.attributes_mask)),
            misc_select=bytes.fromhex(sgx.misc_select),
        )


def _signer(sgx: Sgx, where: str) -> bytes:
    if sgx.mrsigner is None:
        raise FormatError(
            "reference values",
            expected="those of a signed bundle",
            got="no mrsigner",
            where=where,
            hint="sign the bundle first: casemate sign BUNDLE --key URI",
        )
    return bytes.fromhex(sgx.mrsigner)


def appraisal_policy(values: ReferenceValues, report_data: bytes | None = None) -> AppraisalPolicy:
    """What has to be demanded of an enclave that is to be the one of ``values``.

    Args:
        values: The build.
        report_data: The 64 bytes that evidence must bind; ``None`` when the caller compares them.
    """
    return AppraisalPolicy(
        mrenclaves=(values.mrenclave,),
        mrsigner=values.mrsigner,
        isvprodid=values.isvprodid,
        min_isvsvn=values.minimum_isvsvn,
        attributes=values.attributes,
        attributes_mask=values.attributes_mask,
        misc_select=values.misc_select,
        report_data=report_data,
    )

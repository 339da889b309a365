"""An enclave of a simulated platform: what EREPORT, EGETKEY and the quoting enclave would give it.

Intel SDM volume 3D, "EREPORT" and "EGETKEY". Keys and MACs are made with HMAC and CMAC under the secret of
the simulated platform; they have the shape of the real ones and none of their protection.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.cmac import CMAC

from casemate.errors import FormatError, UsageError
from casemate.formats.sgx.report import (
    INIT,
    MODE64BIT,
    REPORT_DATA_SIZE,
    Attributes,
    MrEnclave,
    MrSigner,
    Report,
    ReportBody,
    TargetInfo,
)
from casemate.simulator.platform import SimulatedPlatform

_DEFAULT_ATTRIBUTES = Attributes(flags=INIT | MODE64BIT, xfrm=0xE7)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedEnclave:
    """One enclave.

    Attributes:
        platform: Where it runs.
        mrenclave: Its measurement.
        mrsigner: Its signer.
        isvprodid: Its product.
        isvsvn: Its security version.
        attributes: Its ATTRIBUTES; by default a 64-bit production enclave.
        misc_select: Its MISCSELECT, 4 bytes.
    """

    platform: SimulatedPlatform
    mrenclave: MrEnclave
    mrsigner: MrSigner
    isvprodid: int = 0
    isvsvn: int = 0
    attributes: Attributes = _DEFAULT_ATTRIBUTES
    misc_select: bytes = bytes(4)

    def quote(self, report_data: bytes, *, version: int = 3) -> bytes:
        """A quote over 64 bytes of the enclave's choice.

        Args:
            report_data: The 64 bytes.
            version: Of the quote: 3, which Intel's libraries make, 4 or 5.

        Raises:
            FormatError: Not 64 bytes, or another version.
        """
        return self.platform.quote(self._body(report_data), version=version)

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """A REPORT, 432 bytes, whose MAC the target enclave of the same platform can check.

        Raises:
            FormatError: Not a TARGETINFO of 512 bytes, or not 64 bytes of report data.
        """
        target = TargetInfo.parse(target_info)
        body = self._body(report_data)
        key_id = bytes(32)
        mac = CMAC(AES128(report_key(self.platform, target, key_id)))
        mac.update(body.to_bytes())
        return Report(body=body, key_id=key_id, mac=mac.finalize()).to_bytes()

    def my_target_info(self) -> bytes:
        """The TARGETINFO, 512 bytes, for reports to this enclave."""
        return TargetInfo(
            mrenclave=self.mrenclave, attributes=self.attributes, misc_select=self.misc_select
        ).to_bytes()

    def key(self, name: str) -> bytes:
        """A sealing key, 16 bytes, bound to the platform and to the measurement or the signer.

        Args:
            name: ``_sgx_mrenclave`` or ``_sgx_mrsigner``, as Gramine calls them.

        Raises:
            UsageError: Another name.
        """
        match name:
            case "_sgx_mrenclave":
                identity: tuple[bytes, ...] = (self.mrenclave,)
            case "_sgx_mrsigner":
                identity = (self.mrsigner, self.isvprodid.to_bytes(2, "little"))
            case _:
                raise UsageError("enclave key", expected="_sgx_mrenclave or _sgx_mrsigner", got=name)
        # A new ISVSVN gives a new key, and a debug enclave never has that of a production enclave.
        svn = self.isvsvn.to_bytes(2, "little")
        return self.platform.derive_key(name.encode(), *identity, svn, self.attributes.to_bytes())

    def _body(self, report_data: bytes) -> ReportBody:
        if len(report_data) != REPORT_DATA_SIZE:
            raise FormatError(
                "report data", expected=f"{REPORT_DATA_SIZE} bytes", got=f"{len(report_data)} bytes"
            )
        return ReportBody(
            cpu_svn=self.platform.sgx_extension.cpu_svn,
            misc_select=self.misc_select,
            attributes=self.attributes,
            mrenclave=self.mrenclave,
            mrsigner=self.mrsigner,
            isvprodid=self.isvprodid,
            isvsvn=self.isvsvn,
            report_data=report_data,
        )


def report_key(platform: SimulatedPlatform, target: TargetInfo, key_id: bytes) -> bytes:
    """The key, 16 bytes, of the MAC of reports to ``target``: what the target itself gets from EGETKEY."""
    return platform.derive_key(b"report", target.to_bytes(), key_id)

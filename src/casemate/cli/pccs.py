"""``--pccs``: fetch what a verifier needs from a PCCS, from ``casemate serve collateral`` or from Intel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from casemate.collateral.upstream import Upstream
    from casemate.formats.sgx.collateral import Collateral
    from casemate.formats.sgx.platform_name import PlatformFamily

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Seconds for each of the documents, retries included.
_PATIENCE: Final = 25.0
_ATTEMPT: Final = 12.0
_OPTIONS: Final = ("pccs", "pccs_ca", "pccs_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pccs:
    """Whom to ask.

    Attributes:
        url: Where the service is.
        ca: Authorities that certify it, PEM, in the place of the system's.
        proxy: Through whom; ``None`` for directly.
    """

    url: str
    ca: Path | None
    proxy: str | None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Pccs | None:
        """Take what :func:`pccs_options` say out of ``options``; ``None`` when it is not asked for.

        Raises:
            click.UsageError: How to reach a service is said, and not which.
        """
        url, ca, proxy = (options.pop(name) for name in _OPTIONS)
        if url is not None:
            return cls(url=url, ca=ca, proxy=proxy)
        for name, value in (("--pccs-ca", ca), ("--pccs-proxy", proxy)):
            if value is not None:
                raise click.UsageError(f"Without --pccs, {name} says nothing.")
        return None

    def upstream(self) -> Upstream:
        """The service.

        Raises:
            UsageError: What was asked for is no address, or no file of authorities.
        """
        from casemate.adapters.intel_pcs import (
            SERVICE,
            CacheUpstream,
            IntelUpstream,
            Limits,
            UpstreamAddress,
            proxy_address,
        )

        address = UpstreamAddress.parse(self.url)
        proxy = None if self.proxy is None else proxy_address(self.proxy)
        limits = Limits(connect=5, read=_ATTEMPT, answer=_ATTEMPT, call=_PATIENCE, attempts=2)
        # Intel's service is not a PCCS: it has the root's CRL elsewhere, and lets the asker choose
        # certificates.
        if address.host == UpstreamAddress.parse(SERVICE).host:
            return IntelUpstream(address, ca=self.ca, proxy=proxy, limits=limits)
        return CacheUpstream(address, ca=self.ca, proxy=proxy, limits=limits)

    def collateral_for(self, evidence: bytes) -> Collateral:
        """What the service has about the platform of a quote.

        Raises:
            FormatError: It is no quote, or one that does not say which platform made it.
            UpstreamError: A document does not come.
            UsageError: As for :meth:`upstream`.
        """
        from casemate.collateral.gathering import gather
        from casemate.formats.sgx.platform_name import PlatformName
        from casemate.formats.sgx.quote import Quote

        return gather(self.upstream(), PlatformName.of(Quote.parse(evidence)))

    def collateral_of(self, family: PlatformFamily) -> Collateral:
        """What the service has about enclaves on a family of platforms.

        Raises:
            UpstreamError: A document does not come.
            UsageError: As for :meth:`upstream`.
        """
        from casemate.collateral.gathering import gather_for_family
        from casemate.collateral.names import Tee

        return gather_for_family(self.upstream(), Tee.SGX, family)


def pccs_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say whom to ask; see :meth:`Pccs.taken_from`."""
    command = function
    for option in (
        click.option(
            "--pccs-proxy",
            metavar="URL",
            help="Ask through this HTTP proxy; those of the environment are not used.",
        ),
        click.option(
            "--pccs-ca",
            type=_FILE,
            help="Who certifies the service of --pccs, PEM, in the place of the system's authorities.",
        ),
        click.option(
            "--pccs",
            metavar="URL",
            help="Fetch the collateral: from a PCCS, from casemate serve collateral, or from Intel at "
            "https://api.trustedservices.intel.com.",
        ),
    ):
        command = option(command)
    return command

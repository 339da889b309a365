"""By what ``casemate serve broker`` judges evidence: collateral from a file, or fetched and renewed."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from casemate.cli.listening import utc_now
from casemate.cli.pccs import Pccs
from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.broker.policy import Appraiser, ReferenceAppraiser
    from casemate.formats.sgx.collateral import Collateral
    from casemate.formats.sgx.platform_name import PlatformFamily

AppraiserOf = Callable[["Collateral"], "ReferenceAppraiser"]


def appraiser_under_collateral(
    document: bytes, appraiser_of: AppraiserOf
) -> tuple[Appraiser, AbstractContextManager[object]]:
    """An appraiser under the collateral in a document, and nothing that goes on beside it.

    Raises:
        FormatError: It is not collateral.
    """
    from casemate.formats.sgx.collateral import Collateral

    return appraiser_of(Collateral.parse_json(document)), nullcontext()


def appraiser_under_service(
    pccs: Pccs, families: tuple[str, ...], appraiser_of: AppraiserOf
) -> tuple[Appraiser, AbstractContextManager[object]]:
    """An appraiser under what a service gives, and the renewal that goes on beside it.

    Args:
        pccs: The service.
        families: Values of ``--fmspc``.
        appraiser_of: An appraiser under these endorsements.

    Raises:
        RefusedError: What the service gives is not good.
        UpstreamError: It gives none.
        UsageError: A family is not named rightly, or the service cannot be asked as it was asked for.
    """
    from casemate.broker.renewal import FamilyAppraiser, Renewal, RenewedAppraiser

    wanted = {family.fmspc: family for family in map(_family, families)}
    renewed = {
        fmspc: RenewedAppraiser(
            f"FMSPC {fmspc.hex()}", partial(pccs.collateral_of, family), appraiser_of, clock=utc_now
        )
        for fmspc, family in wanted.items()
    }
    return FamilyAppraiser(renewed), Renewal(tuple(renewed.values()))


def _family(text: str) -> PlatformFamily:
    from casemate.formats.sgx.platform_name import PlatformFamily

    found = re.fullmatch("([0-9A-Fa-f]{12})(?::(platform|processor))?", text)
    if found is None:
        raise UsageError(
            "family of platforms",
            expected="FMSPC or FMSPC:processor, 12 hexadecimal digits",
            got=text,
            where="--fmspc",
            hint="casemate verify quote --explain says the FMSPC of the platform that made a quote",
        )
    return PlatformFamily(fmspc=bytes.fromhex(found[1]), of_several_packages=found[2] in {None, "platform"})

"""Whom a collateral service asks: Intel's Provisioning Certification Service, or another cache of it.

One request is one connection of HTTPS. Answers are bounded in time and size, decoded, and otherwise left as
they came; nothing of them is trusted.
"""

from casemate.adapters.intel_pcs.address import ProxyAddress, UpstreamAddress, proxy_address
from casemate.adapters.intel_pcs.exchange import Limits, Means
from casemate.adapters.intel_pcs.services import CERTIFICATES, SERVICE, CacheUpstream, IntelUpstream

__all__ = [
    "CERTIFICATES",
    "SERVICE",
    "CacheUpstream",
    "IntelUpstream",
    "Limits",
    "Means",
    "ProxyAddress",
    "UpstreamAddress",
    "proxy_address",
]

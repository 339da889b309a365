"""The collateral service: Intel's endorsements, kept near, checked before they are kept, and renewed in time.

Speaks the API of Intel's Provisioning Certificate Caching Service (PCCS), versions 3 and 4, so that quote
provider libraries and verifiers that know a PCCS need not be told of another service. It trusts neither the
service that it asks nor whoever fills it by hand: nothing is stored before its signatures and its window were
checked up to the root. It is not trusted by verifiers either, who check everything again.

A functional core and an ASGI application. Stores and upstream services are adapters
(:mod:`casemate.collateral.store`, :mod:`casemate.collateral.upstream`).
"""

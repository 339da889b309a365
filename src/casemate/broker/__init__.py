"""The key broker: releases secrets to enclaves whose evidence the policy accepts.

Charter: RFC 9334's Relying Party, with Trustee's RCAR protocol. It decides nothing about evidence itself: the
verifier appraises, the policy decides, the store keeps secrets wrapped.
"""

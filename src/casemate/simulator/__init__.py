"""A software platform: it replaces the processor and its keys, and nothing else.

Charter: it makes a fresh root for every platform, so that nothing in the source is a secret or a trust
anchor. What it produces differs from the real thing in its root only. It is never a default
and never a fallback.
"""

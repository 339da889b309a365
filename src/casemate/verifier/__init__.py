"""Appraisal of evidence: a functional core that is told the bytes, the trust roots, the policy and the time.

Charter: RFC 9334's Verifier. No files, no sockets, no clock. An unknown version, field value, algorithm or
status refuses. The result is a value that carries every reason.
"""

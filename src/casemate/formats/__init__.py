"""Bytes to values and back, one module per format.

Charter: no I/O, no clock, no policy. A parser gives a frozen value or raises
:class:`~casemate.errors.FormatError`; nothing else escapes, whatever the bytes.
"""

"""Casemate takes an ordinary Python web service to production inside Intel SGX with Gramine.

Charter: this file holds the version and nothing else, so that importing any one room loads only that room.
"""

__version__ = "0.1.0"

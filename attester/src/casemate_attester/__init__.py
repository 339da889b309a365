"""Inside the enclave: attest, receive secrets, run the application.

Charter: every line of this package is in the trusted computing base of every workload. It imports the
standard library and ``cryptography``, nothing else; it never imports the toolchain. What comes from the
host (environment, arguments, files that are not measured, time, DNS, the network) is untrusted here.
"""

__version__ = "0.1.0"

"""The structures of Intel SGX and DCAP: SIGSTRUCT, reports, quote, PCK extension, collateral.

Charter: as :mod:`casemate.formats`. Names and offsets are those of the Intel SDM volume 3D and of Intel's
DCAP documents; each module says which.
"""

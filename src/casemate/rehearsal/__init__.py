"""Run a bundle on this machine as Gramine would, without SGX.

Charter: the application sees the bundle's root file system and nothing else, with the manifest's mounts,
arguments and environment, and ``/dev/attestation`` backed by the simulator.
"""

"""Where things lie: in the image (for the container runtime) and in the enclave (for the application).

Everything that the enclave may open lies below ``ENCLAVE_ROOT`` in the image and nothing else does, because
container runtimes put their own ``/etc/hosts``, ``/etc/resolv.conf`` and ``/etc/hostname`` into its root. The
manifest mounts ``ENCLAVE_ROOT`` as the enclave's root. Paths do not depend on where anything was built.
"""

from __future__ import annotations

#: In the image: the folder that the manifest mounts as the enclave's root.
ENCLAVE_ROOT = "/enclave"
#: In the image: Gramine's loader, platform image and LibOS, when a Gramine was there to take them from.
GRAMINE_ROOT = "/gramine"
#: In the image: prefix of the measured manifest and the SIGSTRUCT (``.manifest.sgx``, ``.sig``).
MANIFEST_PREFIX = "/casemate/app"

# In the enclave.
PYTHON_HOME = "/opt/python"
APPLICATION_ROOT = "/app"
#: The C library and its loader: Gramine's patched one, or this machine's for a simulated bundle.
GLIBC_ROOT = "/lib/glibc"
#: Libraries of this machine that are needed by name, each under its soname.
NATIVE_ROOT = "/lib/native"
WORKLOAD_CONFIGURATION = "/etc/casemate/workload.json"
BROKER_CA = "/etc/casemate/broker-ca.pem"
#: Compiled locales; Gramine's C library was built for another folder, and is told this one (``LOCPATH``).
LOCALE_FOLDER = "/usr/lib/locale"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
#: Number of the user that the application seems to be, and of its group.
IDENTITY = 1000


def interpreter_path(version: str) -> str:
    """The interpreter in the enclave; ``version`` is ``"3.11"``."""
    return f"{PYTHON_HOME}/bin/python{version}"


def standard_library(version: str) -> str:
    """The standard library in the enclave."""
    return f"{PYTHON_HOME}/lib/python{version}"


def site_packages(version: str) -> str:
    """The installed distributions in the enclave."""
    return f"{standard_library(version)}/site-packages"

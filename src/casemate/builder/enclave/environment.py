"""The environment of an application, before its secrets: nothing of the host's passes through unasked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from casemate.builder.layout import CA_BUNDLE, LOCALE_FOLDER
from casemate.builder.native.libraries import ENCLAVE_LIBRARY_PATH
from casemate.builder.native.system_files import time_zone
from casemate.project import Project

#: The only writable folder that every application gets: memory of the enclave.
TEMPORARY_FOLDER: Final = "/tmp"  # noqa: S108 - the enclave's own
#: Numerical libraries start one thread for each processor of the host, which the enclave has no room for. Set
#: whether or not a library is seen: wheels carry them under names of their own. Those of other systems
#: (VECLIB_MAXIMUM_THREADS) and those that no library reads (TBB_NUM_THREADS) are left out.
_THREAD_POOLS: Final = (
    "ARROW_IO_THREADS",
    "BLIS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
#: joblib's locks and processes do not work in Gramine: it computes in one thread, and starts no ``lscpu``.
_SERIAL: Final = {"JOBLIB_MULTIPROCESSING": "0", "LOKY_MAX_CPU_COUNT": "1", "TOKENIZERS_PARALLELISM": "false"}
#: Packages that write beside themselves or below HOME: the variable that names another folder, by a package.
_FOLDERS: Final = (
    ("matplotlib", "MPLCONFIGDIR", "matplotlib"),
    ("numba", "NUMBA_CACHE_DIR", "numba"),
    ("huggingface_hub", "HF_HOME", "huggingface"),
)
#: Its files are taken where the application sets a locale; Python itself needs none, in its UTF-8 mode.
DEFAULT_LOCALE: Final = "C.UTF-8"
_SITE_PACKAGES: Final = "/site-packages/"


def environment(project: Project, paths: Collection[str]) -> dict[str, str]:
    """The variables with a measured value, by name.

    PYTHONHASHSEED is not among them: unset, hashes are random at each start, so that nobody can choose keys
    that collide; and the isolated interpreter would not read it.

    Args:
        project: What ``casemate.toml`` says.
        paths: Every file of the enclave.
    """
    cache = f"{TEMPORARY_FOLDER}/.cache"
    packages = _packages(paths)
    return {
        "HOME": TEMPORARY_FOLDER,
        **dict.fromkeys(("LANG", "LC_ALL"), DEFAULT_LOCALE),
        # Each further arena takes 64 MiB of address space, all of which an enclave without EDMM has to have.
        "MALLOC_ARENA_MAX": "1",
        "REQUESTS_CA_BUNDLE": CA_BUNDLE,
        "SSL_CERT_FILE": CA_BUNDLE,
        "TMPDIR": TEMPORARY_FOLDER,
        "TZ": time_zone(project),
        "XDG_CACHE_HOME": cache,
        **dict.fromkeys(_THREAD_POOLS, "1"),
        **_SERIAL,
        **{name: f"{cache}/{folder}" for package, name, folder in _FOLDERS if package in packages},
        **({"LOCPATH": LOCALE_FOLDER} if any(path.startswith(f"{LOCALE_FOLDER}/") for path in paths) else {}),
        **dict(project.env),
        "LD_LIBRARY_PATH": ":".join(ENCLAVE_LIBRARY_PATH),
    }


def _packages(paths: Collection[str]) -> frozenset[str]:
    """Names of the installed packages that have a file in the enclave."""
    inside = (path.partition(_SITE_PACKAGES)[2] for path in paths)
    return frozenset(place.partition("/")[0] for place in inside if place)

"""Run by the interpreter that is to be described, isolated; prints what it says about itself as JSON.

Not imported by Casemate. Interpreters that are too old understand it, too, so that they are refused by
version.
"""

from __future__ import annotations

import sys

# First of all: what is loaded before any other code.
_LOADED = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}


def describe() -> dict[str, object]:
    """What :class:`casemate.builder.closure.Interpreter` needs, with texts for paths."""
    import _imp  # noqa: PLC0415 - after the list of what is loaded at start, as all of these
    import importlib.machinery  # noqa: PLC0415
    import os  # noqa: PLC0415
    import site  # noqa: PLC0415
    import sysconfig  # noqa: PLC0415

    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    dynload = f"{sys.base_exec_prefix}/{sys.platlibdir}/python{version}/lib-dynload"
    names: list[str] = getattr(_imp, "_frozen_module_names", list)()
    frozen = [name for name in names if _imp.is_frozen(name)]
    return {
        "implementation": sys.implementation.name,
        "version": version,
        "release": ".".join(map(str, sys.version_info[:3])),
        "system": f"{os.uname().sysname} {os.uname().machine}",
        "libc": libc(),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "virtual": sys.prefix != sys.base_prefix,
        "base_executable": getattr(sys, "_base_executable", None) or sys.executable,
        "running": os.path.realpath("/proc/self/exe"),
        "prefix": os.path.realpath(sys.base_prefix),
        "stdlib": os.path.realpath(sysconfig.get_path("stdlib")),
        "dynload": os.path.realpath(dynload),
        "suffixes": importlib.machinery.EXTENSION_SUFFIXES,
        "libpython": libpython(),
        "builtin": sorted(sys.builtin_module_names),
        "frozen": sorted(name for name in frozen if "hello" not in name),
        "frozen_is_used": getattr(sys.modules["os"].__spec__, "origin", None) == "frozen",
        "loaded": {name: real(file) for name, file in _LOADED.items() if name != "__main__"},
        "build_time_module": build_time_module(),
        "site_packages": [os.path.realpath(folder) for folder in site.getsitepackages([sys.base_prefix])],
    }


def real(file: str | None) -> str | None:
    """The path of a file with its links resolved."""
    import os  # noqa: PLC0415

    return None if file is None else os.path.realpath(file)


def build_time_module() -> str:
    """The module that :mod:`sysconfig` imports by a name that it puts together."""
    import sysconfig  # noqa: PLC0415

    name: str = sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
    return name


def libc() -> str:
    """``"glibc 2.36"``, or an empty text for any other C library."""
    import os  # noqa: PLC0415

    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def libpython() -> str | None:
    """The shared library in which this interpreter runs, if it is not the program itself."""
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 - without pathlib it starts faster
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if path.rpartition("/")[2].startswith("libpython"):
                return f"/{path}"
    return None


if __name__ == "__main__":
    import json

    json.dump(describe(), sys.stdout)

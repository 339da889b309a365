"""A ``casemate.toml`` with comments for someone who has never heard of SGX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the file will say.

    Attributes:
        name: ``app.name``.
        source: ``app.source``.
        requirements: ``app.requirements``; ``None``: there are none.
        is_locked: Whether the file of the requirements exists.
        serve: ``app.serve``, or ``None``.
        interface: ``app.interface``, or ``None``.
        command: ``app.command``, or ``None``.
        port: ``app.port``.
        env: Variables of the application.
        unset: Variables that the application reads and nobody sets: pairs of name and place.
        secrets: Pairs of destination and resource.
        mounts: Writable folders in memory.
        broker: Pair of address and CA file, or ``None``.
        foreign: Modules that are imported and that no requirements provide.
        image: What ``--from`` names, for an application that lies in an image.
    """

    name: str
    source: str
    requirements: str | None
    is_locked: bool
    serve: str | None
    interface: str | None
    command: tuple[str, ...] | None
    port: int
    env: Sequence[tuple[str, str]]
    unset: Sequence[tuple[str, str]]
    secrets: Sequence[tuple[str, str]]
    mounts: Sequence[str]
    broker: tuple[str, str] | None
    foreign: Sequence[str] = ()
    image: str | None = None


def render_project(draft: Draft) -> str:
    """The text of the file."""
    parts = (
        _head(draft),
        _app(draft),
        _closure(),
        _enclave(),
        _env(draft),
        _mounts(draft),
        _secrets(draft),
        _broker(draft),
    )
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(draft: Draft) -> list[str]:
    source = f" --from {draft.image}" if draft.image else ""
    return [
        "# How Casemate runs this application in an enclave: memory that the machine's owner, its operating",
        "# system and its administrators can neither read nor change (Intel SGX). What this file says is",
        "# part of the enclave's measurement (MRENCLAVE), the number by which it is recognised from outside.",
        "# So nothing secret belongs here, and a change here makes another enclave.",
        "#",
        f"# Next: casemate build .{source} -o build/bundle",
    ]


def _app(draft: Draft) -> list[str]:
    place = "of the image " if draft.source.startswith("/") else ""
    lines = [
        "[app]",
        f"name = {_text(draft.name)}",
        f"source = {_text(draft.source)}".ljust(33)
        + f" # the folder {place}in which Python finds the application",
    ]
    if draft.image is not None:
        lines.append('requirements = ""                 # what the image has installed is taken')
    elif draft.requirements is None and draft.foreign:
        comment = f"to be changed: nothing provides {', '.join(draft.foreign)}; name a lock file"
        lines.append('requirements = ""'.ljust(33) + f" # {comment}")
    elif draft.requirements is None:
        lines.append('requirements = ""                 # the application needs nothing but Python')
    else:
        comment = "exactly these versions are installed" if draft.is_locked else "missing: run `uv lock`"
        lines.append(f"requirements = {_text(draft.requirements)}".ljust(33) + f" # {comment}")
    if draft.serve is not None:
        kind = "a WSGI" if draft.interface == "wsgi" else "an ASGI"
        lines.append(f"serve = {_text(draft.serve)}".ljust(33) + f" # {kind} application: module:name")
        lines.append(f"interface = {_text(draft.interface or '')}")
    else:
        command = ", ".join(_text(word) for word in draft.command or ())
        lines.append(f"command = [{command}]  # it brings its own server, and its own TLS")
    lines.append(f"port = {draft.port}".ljust(33) + " # HTTPS; TLS ends inside the enclave")
    return lines


def _closure() -> list[str]:
    return [
        "# What goes into the image beside what the import statements reach. `casemate build` asks where it",
        "# cannot tell, and `casemate rehearse` names what was missing.",
        "# [closure]",
        '# include = ["module:xml.dom.minidom", "data/*.csv"]  # modules by name, files below source',
        '# source = ["pkg"]                                    # packages that read their own source',
    ]


def _enclave() -> list[str]:
    return [
        "[enclave]",
        'size = "512M"                     # memory for everything, Python included; a power of two',
        "threads = 16                      # four of them are Gramine's own",
        "# subprocesses = true             # each child would be an enclave of this size; refused without",
        "isvprodid = 1                     # which of your products this is, in the signature",
        "isvsvn = 1                        # raise it when a release mends a security fault",
    ]


def _env(draft: Draft) -> list[str]:
    lines = [
        "# The application's environment. The machine's own is not passed on: its owner could choose it.",
        '# What he may choose needs a rule: REGION = { pass = true, one_of = ["eu", "us"], default = "eu" }',
        "[env]",
        *(f"{_key(name)} = {_text(value)}" for name, value in draft.env),
    ]
    if draft.unset:
        lines.append("# The application also reads these, and has no default for them:")
        lines.extend(f'# {name} = ""  # {where}' for name, where in draft.unset)
    return lines


def _mounts(draft: Draft) -> list[str]:
    return [
        "# All files are read-only, except below /tmp and below these folders. They lie in the enclave's",
        '# memory ("tmpfs") and are gone when it ends; { encrypted = "KEY", host = "/folder" } keeps them.',
        "[mounts]",
        *(f'{_key(path)} = "tmpfs"' for path in draft.mounts),
    ]


def _secrets(draft: Draft) -> list[str]:
    lines = [
        "# What the enclave gets from the broker when it has proven what it is: a file, a variable env:NAME,",
        "# or the key of an encrypted folder (/dev/attestation/keys/NAME). Right: its name at the broker.",
        "[secrets]",
    ]
    if draft.secrets:
        return lines + [f"{_key(destination)} = {_text(resource)}" for destination, resource in draft.secrets]
    return [*lines, f'# "/run/secrets/key" = "kbs:///default/{PurePosixPath(draft.name)}/key"']


def _broker(draft: Draft) -> list[str]:
    lines = [
        "# Who releases the secrets (`casemate serve broker`). The certificate of its CA is measured into",
        "# the enclave, so no other broker can feed it.",
    ]
    if draft.broker is None:
        return [*lines, "# [broker]", '# url = "https://broker.internal:8080"', '# ca = "broker-ca.pem"']
    url, ca = draft.broker
    return [*lines, "[broker]", f"url = {_text(url)}", f"ca = {_text(ca)}"]


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's, except for DEL, which TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare: Iterable[bool] = (c.isascii() and (c.isalnum() or c in "-_") for c in name)
    return name if name and all(bare) else _text(name)

"""The table ``[env]``: variables with a measured value, and those that the host may choose by a rule."""

from __future__ import annotations

import re
from typing import Any, Final

from casemate.errors import ProjectError
from casemate.project.places import OWN_VARIABLES, VARIABLE
from casemate.project.reading import Table, quote, type_name
from casemate.project.values import Secret
from casemate_attester.errors import ConfigurationError
from casemate_attester.variables import DEFAULT_LENGTH, MAX_LENGTH, Absent, Variable, decides_what_runs

#: What the value of a variable may not hold, because Gramine's parser does not take it in a manifest.
_UNWRITABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]|'''")
_RULE: Final = ("pass", "one_of", "pattern", "max_length", "default", "required")
_FORM: Final = 'write NAME = "value", or NAME = { pass = true, one_of = ["a", "b"] }'


def read_environment(
    table: Table, secrets: tuple[Secret, ...]
) -> tuple[tuple[tuple[str, str], ...], tuple[Variable, ...]]:
    """The variables with a value, and those that the host may choose; both sorted by name.

    Raises:
        ProjectError: A name or a value that cannot be one, a rule that is none, a variable that is also a
            secret, or one that no host may choose.
    """
    measured: list[tuple[str, str]] = []
    chosen: list[Variable] = []
    for name in sorted(table.values):
        check_variable(table, name, name)
        if any(secret.destination == f"env:{name}" for secret in secrets):
            raise table.error(name, name, expected="one of [env] and [secrets]", got="both")
        value = table.values[name]
        if isinstance(value, dict):
            chosen.append(_chosen(Table(value, name=f"env.{name}", where=table.where), name))
        else:
            measured.append((name, _text(table, name, value)))
    return tuple(measured), tuple(chosen)


def check_variable(table: Table, key: str, name: str) -> None:
    """Refuse a ``name`` that no variable can have, or that Casemate sets itself.

    Raises:
        ProjectError: It is one of these.
    """
    table.matching(
        key, name, VARIABLE, subject="name of a variable", expected="letters, digits and underscores"
    )
    if name in OWN_VARIABLES:
        raise table.error(
            key,
            "name of a variable",
            expected="one that is left to the application",
            got=quote(name),
            hint="Casemate sets it from what it has put into the image",
        )


def _text(table: Table, name: str, value: Any) -> str:
    if not isinstance(value, str):
        hint = f'write {name} = "…"'
        raise table.error(name, f"type of {name}", expected="a text", got=type_name(value), hint=hint)
    if _UNWRITABLE.search(value):
        raise table.error(
            name,
            name,
            expected="a text without control characters but tabs and line breaks, and without '''",
            got=quote(value),
            hint="Gramine's manifest cannot hold it: encode it, and decode it in the application",
        )
    return value


def _chosen(table: Table, name: str) -> Variable:
    table.refuse_unknown(_RULE)
    if table.values.get("pass") is not True:
        got = "nothing" if "pass" not in table.values else "something else"
        raise table.error("pass", "pass", expected="true", got=got, hint=_FORM)
    if decides_what_runs(name):
        raise table.error(
            "pass",
            "variable that the host may choose",
            expected="none that decides which code runs, which peers are believed or what is given away",
            got=quote(name),
            hint="write its value: it is measured then",
        )
    if not {"one_of", "pattern", "max_length"} & table.values.keys():
        raise table.error(
            "pass",
            "rule of a variable that the host may choose",
            expected="one_of, pattern or max_length",
            got="none",
            hint="whoever starts the enclave is the attacker: say what the application can take",
        )
    required = table.boolean("required", default="default" not in table.values)
    default = _default(table, required=required)
    try:
        return Variable(
            name=name,
            one_of=table.texts("one_of", ()),
            pattern=table.optional_text("pattern"),
            max_length=table.number("max_length", DEFAULT_LENGTH, lowest=1, highest=MAX_LENGTH),
            absent=Absent.STOP if required else Absent.UNSET if default is None else Absent.DEFAULT,
            default=default,
        )
    except ConfigurationError as error:
        raise ProjectError(
            f"{error.subject} of {name}",
            expected=error.expected,
            got=error.got,
            where=table.place(_key_of(error.subject)),
            hint=error.hint,
        ) from error


def _key_of(subject: str) -> str:
    return subject if subject in _RULE else "pass"


def _default(table: Table, *, required: bool) -> str | None:
    if "default" not in table.values:
        return None
    if required:
        raise table.error("required", "required", expected="no default beside it", got="true")
    value = table.values["default"]
    if not isinstance(value, str):
        raise table.error("default", "type of default", expected="a text", got=type_name(value))
    return value

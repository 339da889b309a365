"""Variables whose value the host chooses, and the measured rule that each value has to meet.

Gramine passes such a variable on as it is (``passthrough``), so what the host may choose is decided here,
before any code of the application runs. A value is judged in time that grows with its length and that of the
pattern alone: a regular expression that tries again could be kept busy for years by a value made for it.
"""

import re
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from enum import Enum
from typing import Self

from casemate_attester.errors import ConfigurationError, VariableError
from casemate_attester.strict_json import Fields

__all__ = ["DEFAULT_LENGTH", "MAX_LENGTH", "Absent", "Pattern", "Variable", "admit", "decides_what_runs"]

DEFAULT_LENGTH = 256
#: Linux passes on 128 KiB for each variable; nobody writes a rule for as much.
MAX_LENGTH = 4096

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
#: What decides which code runs, which peers are believed, where either is looked for, or what is given away.
#: Some of it the C library and the interpreter read before any of these rules can be applied.
_DECISIVE = re.compile(
    r"LD_.*|PYTHON.*|GLIBC_TUNABLES|MALLOC_.*|GCONV_PATH|LOCPATH|NLSPATH|BASH_ENV|ENV|IFS|PATH|HOME|TMPDIR|TEMP|TMP"
    r"|XDG_.*|TZ|TZDIR|RES_OPTIONS|LOCALDOMAIN|HOSTALIASES|RESOLV_.*|KRB5_.*|OMP_TOOL.*|CASEMATE_.*"
    r"|SSL_CERT_.*|SSLKEYLOGFILE|(?:.*_)?CA_BUNDLE|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH|OPENSSL_.*|(?:.*_)?PROXY"
    r"|PGSSL.*|PGSERVICE.*|PGREQUIRE.*|PGCHANNELBINDING|PGPASSFILE|PGSYSCONFDIR|LDAPTLS_.*|LDAPCONF|LDAPRC"
    r"|ODBC.*INI|RA_TLS_.*|SECRET_PROVISION_.*",
    re.IGNORECASE,
)
#: One piece of a pattern: a character, escaped or not, or a set of them, and how often.
_PIECE = re.compile(
    r"(?:\\(?P<escaped>[!-/:-@\[-`{-~])|\[(?P<set>(?:\\[!-/:-@\[-`{-~]|[ -Z_-~])+)\]"
    r"|(?P<plain>[^\\\[\](){}*+?|^$.]))"
    r"(?P<times>[?*+]|\{(?P<least>[0-9]{1,4})(?P<more>,(?P<most>[0-9]{1,4})?)?\})?"
)
#: One character of a set, or the first and the last of a row of them.
_MEMBER = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?")
_MAX_PIECES = 64
_TIMES = {None: (1, 1), "?": (0, 1), "*": (0, MAX_LENGTH), "+": (1, MAX_LENGTH)}


class Absent(Enum):
    """What happens when the host gives a variable no value."""

    STOP = "stop"
    UNSET = "unset"
    DEFAULT = "default"


def decides_what_runs(name: str) -> bool:
    """Whether no host may choose the variable ``name``, whatever the rule."""
    return _DECISIVE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Pattern:
    """Pieces, each a set of characters and how often one of them has to come, at least and at most.

    What is written is a regular expression without groups, alternatives, ``.``, ``^`` and ``$``, in printable
    ASCII, and means the same as it does to Python's ``re.fullmatch``.
    """

    pieces: tuple[tuple[frozenset[str], int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pattern that ``text`` writes.

        Raises:
            ValueError: It is none; the message says from where on.
        """
        if not (text.isascii() and text.isprintable()):
            raise ValueError("other characters than printable ASCII")
        pieces: list[tuple[frozenset[str], int, int]] = []
        place = 0
        while place < len(text):
            piece = _PIECE.match(text, place)
            if piece is None or len(pieces) == _MAX_PIECES:
                fault = "more than can be read" if piece else "what is none"
                raise ValueError(f"{fault} from character {place + 1} on")
            pieces.append(_piece(piece))
            place = piece.end()
        return cls(tuple(pieces))

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` is what the pattern describes."""
        reached = 1  # bit n: the first n characters can be had by the pieces so far
        for characters, least, most in self.pieces:
            allowed = sum(1 << place for place, character in enumerate(text) if character in characters)
            run, reached = reached, reached if least == 0 else 0
            for count in range(1, most + 1):
                run = (run & allowed) << 1
                if run == 0:
                    break
                reached |= run if count >= least else 0
        return reached >> len(text) & 1 == 1


def _piece(piece: re.Match[str]) -> tuple[frozenset[str], int, int]:
    if piece["least"] is None:
        least, most = _TIMES[piece["times"]]
    else:
        least = int(piece["least"])
        most = least if piece["more"] is None else int(piece["most"] or MAX_LENGTH)
    if not least <= most <= MAX_LENGTH:
        raise ValueError(f"{piece['times']}")
    if piece["set"] is None:
        return frozenset(piece["escaped"] or piece["plain"]), least, most
    characters: set[str] = set()
    for member in _MEMBER.finditer(piece["set"]):
        first = member[1][-1]
        last = member[2][-1] if member[2] else first
        if last < first:
            raise ValueError(f"{member[0]}, which is the wrong way round")
        characters.update(map(chr, range(ord(first), ord(last) + 1)))
    return frozenset(characters), least, most


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that the host may choose, and what it may choose.

    Attributes:
        name: Its name.
        one_of: The values that are allowed; empty: any that the rest allows.
        pattern: What the whole value has to match; ``None``: anything printable.
        max_length: Most characters.
        absent: What happens when the host says nothing.
        default: The value then, where it is :attr:`Absent.DEFAULT`.
    """

    name: str
    one_of: tuple[str, ...] = ()
    pattern: str | None = None
    max_length: int = DEFAULT_LENGTH
    absent: Absent = Absent.STOP
    default: str | None = None

    def __post_init__(self) -> None:
        where = f"variables: {ascii(self.name[:60])[1:-1]}"
        _require(_NAME.fullmatch(self.name), "name", "a name", ascii(self.name)[:80], where)
        _require(
            not decides_what_runs(self.name),
            "variable that the host may choose",
            "none that decides which code runs, which peers are believed or what is given away",
            self.name,
            where,
        )
        _require(
            1 <= self.max_length <= MAX_LENGTH, "max_length", f"1 to {MAX_LENGTH}", self.max_length, where
        )
        _require(not (self.one_of and self.pattern), "rule", "one of one_of and pattern", "both", where)
        if self.pattern is not None:
            try:
                Pattern.parse(self.pattern)
            except ValueError as fault:
                raise ConfigurationError(
                    "pattern",
                    expected="characters and [sets] of them, each with ?, *, +, {n} or {n,m} behind it",
                    got=str(fault),
                    where=where,
                    hint="escape with \\ what is meant as itself; there are no groups, | and .",
                ) from None
        is_default = self.absent is Absent.DEFAULT
        _require(
            is_default == (self.default is not None), "default", "a value for what is absent", "none", where
        )
        _require(
            self.default is None or self.accepts(self.default),
            "default",
            self.rule,
            ascii(self.default)[:80],
            where,
        )
        for value in self.one_of:
            _require(
                value.isprintable(), "one_of", "texts without control characters", ascii(value)[:80], where
            )

    @property
    def rule(self) -> str:
        """What a value has to be, in words."""
        if self.one_of:
            return "one of " + ", ".join(f'"{value}"' for value in self.one_of)
        kind = "printable text" if self.pattern is None else f"text that matches {self.pattern}"
        return f"{kind}, at most {self.max_length} characters"

    def accepts(self, value: str) -> bool:
        """Whether the host may choose ``value``."""
        if self.one_of:
            return value in self.one_of
        if len(value) > self.max_length:
            return False
        return value.isprintable() if self.pattern is None else Pattern.parse(self.pattern).matches(value)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The value that an object of the document holds."""
        words = "|".join(item.value for item in Absent)
        absent = Absent(fields.text("absent", pattern=words, expected=words))
        result = cls(
            name=fields.text("name"),
            one_of=fields.texts("one_of"),
            pattern=fields.text("pattern") if "pattern" in fields else None,
            max_length=fields.integer("max_length", low=1, high=MAX_LENGTH),
            absent=absent,
            default=fields.text("default") if absent is Absent.DEFAULT else None,
        )
        fields.done()
        return result

    def to_json(self) -> dict[str, object]:
        """In terms of JSON."""
        document: dict[str, object] = {
            "name": self.name,
            "one_of": list(self.one_of),
            "max_length": self.max_length,
            "absent": self.absent.value,
        }
        if self.pattern is not None:
            document["pattern"] = self.pattern
        if self.default is not None:
            document["default"] = self.default
        return document


def _require(condition: object, subject: str, expected: str, got: object, where: str) -> None:
    if not condition:
        raise ConfigurationError(subject, expected=expected, got=str(got), where=where)


def admit(variables: Iterable[Variable], environment: MutableMapping[str, str]) -> None:
    """Let through what the host has chosen, and set what it has not where there is a default.

    What is let through is set anew: the host can give a name twice, of which Python shows the first value and
    a shell takes the last.

    Args:
        variables: The rules.
        environment: The environment of this process; it is changed.

    Raises:
        VariableError: A value that breaks its rule, or none where there has to be one; it is not shown.
    """
    for variable in variables:
        value = environment.get(variable.name)
        if value is None and variable.default is not None:
            environment[variable.name] = variable.default
        elif value is None and variable.absent is Absent.STOP:
            _refuse(variable, "nothing")
        elif value is not None and not variable.accepts(value):
            _refuse(variable, f"another text of length {len(value)}")
        elif value is not None:
            del environment[variable.name]  # unsetenv(3), which takes every one of the name
            environment[variable.name] = value


def _refuse(variable: Variable, got: str) -> None:
    raise VariableError(
        f"variable {variable.name}",
        expected=variable.rule,
        got=got,
        where="environment",
        hint="give it such a value where the enclave is started: in a pod, below env of the container",
    )

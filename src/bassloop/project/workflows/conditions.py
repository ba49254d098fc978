"""Evaluate the `if:` of GitHub Actions' jobs and steps, as far as possible without running anything.

The rules are those of GitHub's expressions: `&&` and `||` return one of their operands, strings are compared ignoring
case, and values of different types are compared as numbers. Values that aren't known before a run are UNKNOWN, and so
is everything that depends on them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class _Unknown:
    """The type of UNKNOWN."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """The ref of a branch whose name isn't known."""


UNKNOWN: Final = _Unknown()
BRANCH: Final = _Branch()
HEADS = "refs/heads/"
PULL_REQUEST = "refs/pull/1/merge"

Scalar: TypeAlias = "str | float | bool | None"
Value: TypeAlias = "Scalar | tuple[str, ...] | _Unknown | _Branch"
"""A tuple represents a list."""

NAMES: Mapping[str, Value] = {
    "github.ref": BRANCH,
    "github.ref_type": "branch",
    "github.actor": "octocat",
    "github.triggering_actor": "octocat",
    "github.event.deleted": False,
    "github.event.head_commit.message": "",
    "runner.os": "Linux",
    "needs.*.result": ("success",),
    "job.status": "success",
}
"""The values that are known for every push."""

PATTERNS: tuple[tuple[re.Pattern[str], Value], ...] = (
    (re.compile(r"github\.event\.(pull_request|inputs|schedule|release)(\..*)?|inputs\..*"), None),
    (re.compile(r"needs\.[^.]+\.result|steps\.[^.]+\.(outcome|conclusion)"), "success"),
    (re.compile(r"steps\.[^.]+\.outputs\.cache-hit"), ""),
)
"""The same, by a pattern of the name."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?))|"
    r"(?P<name>[a-z_][\w-]*(?:\.(?:[\w-]+|\*)|\['[^']*'\])*)|(?P<sign>&&|\|\||[=!<>]=|[!<>(),]))",
    re.IGNORECASE,
)
_GLOB = re.compile(r"[*?+!\[\]]")
_WRAPPED = re.compile(r"\s*\$\{\{(.*)\}\}\s*", re.DOTALL)


def evaluate(
    condition: str, names: Mapping[str, Value], cases: Sequence[Mapping[str, Value]] = ({},)
) -> bool | None:
    """Return whether a condition is true; None if that isn't known, or if it's true in some cases and false in others.

    It counts as true if it's true in one case and isn't known to be false in any other.

    Args:
        names: known values, by names such as `matrix.os`.
        cases: further known values for each case, such as each event that starts the job.
    """
    wrapped = _WRAPPED.fullmatch(condition)
    expression = wrapped[1] if wrapped else condition
    values = [_value(expression, {**names, **case}) for case in cases]
    known = {_is_true(value) for value in values if not isinstance(value, _Unknown)}
    if known == {False} and UNKNOWN in values:
        return None
    return known.pop() if len(known) == 1 else None


_OF_PULL_REQUESTS = tuple(
    f"github.event.pull_request.{side}.{key}"
    for side in ("head", "base")
    for key in ("ref", "sha", "repo.full_name", "repo.fork", "repo.owner.login")
)


def event_cases(name: str, options: Mapping[str, Any]) -> Iterator[Mapping[str, Value]]:
    """Yield the known values for an event that starts a workflow, once for each branch if its options list branches."""
    branches = options.get("branches")
    listed = [str(branch) for branch in branches] if isinstance(branches, list) else []
    if not listed or any(map(_GLOB.search, listed)):
        listed = [""]
    for branch in listed:
        case: dict[str, Value] = {"github.event_name": name}
        if name == "pull_request":
            case |= {"github.ref": PULL_REQUEST, "github.base_ref": branch or UNKNOWN}
            case |= dict.fromkeys(_OF_PULL_REQUESTS, UNKNOWN)
        else:
            case |= {"github.base_ref": "", "github.head_ref": ""}
        if name == "push" and branch:
            case |= {"github.ref": f"{HEADS}{branch}", "github.ref_name": branch}
        yield case


_OF_EVENTS = frozenset(
    {"github.ref", "github.ref_name", "github.ref_type", "github.base_ref", "github.event_name"}
    | {"always", "success", "contains", "startswith", "endswith", "true", "false"}
)
_BRANCHES = re.compile(
    r"(?P<start>startswith\s*\([^,()]*,\s*)?'(?:refs/heads/)?(?P<name>[\w./-]+)'", re.I
)
_OTHER_BRANCH = "~"
"""Stands for the branches that a condition doesn't name. No branch can have this name."""


def allowed_when(
    condition: str,
    events: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, Value] = MappingProxyType({}),
) -> dict[str, list[str]] | None:
    """Return the events and branches for which a condition is true, as `when` of a check says it.

    Each event is tried with each branch that the condition or the event's options name, and with another one. The
    result is None if the condition depends on anything else, is never true, or is true for combinations that no single
    `when` can say.

    Args:
        events: the options of each event that starts the workflow, by its name.
        names: further known values.
    """
    if not names_in(condition) <= _OF_EVENTS | names.keys():
        return None
    named = {
        found["name"] + ("**" if found["start"] else ""): found["name"]
        + (_OTHER_BRANCH if found["start"] else "")
        for found in _BRANCHES.finditer(condition)
        if found["name"] not in events
    }
    allowed: dict[str, list[str] | None] = {}
    for event, options in events.items():
        listed = options.get("branches")
        only = [str(each) for each in listed] if isinstance(listed, list) else []
        if any(map(_GLOB.search, only)) or options.keys() & {"branches-ignore"}:
            return None
        samples = {each: each for each in only} or {**named, "": _OTHER_BRANCH}
        true = []
        for pattern, sample in samples.items():
            runs = evaluate(condition, names, tuple(event_cases(event, {"branches": [sample]})))
            if runs is None:
                return None
            true += [pattern] if runs else []
        if true:
            allowed[event] = None if "" in true else true
            if "" in true and len(true) < len(samples):
                return None
    if not allowed or any(each != next(iter(allowed.values())) for each in allowed.values()):
        return None
    branches = next(iter(allowed.values()))
    return {"events": list(allowed)} | ({} if branches is None else {"branches": branches})


def text_of(expression: str, names: Mapping[str, Value]) -> str | None:
    """Return an expression's value as the text that GitHub inserts; None if it isn't known."""
    value = _value(expression, names)
    return as_text(value) if isinstance(value, str | float | bool | None) else None


def as_text(value: Scalar) -> str:
    """Return a value as GitHub inserts it into a text."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _value(expression: str, names: Mapping[str, Value]) -> Value:
    try:
        return _Parser(expression, names).parse()
    except (ValueError, RecursionError):
        return UNKNOWN


def names_in(condition: str) -> set[str]:
    """Return the names that a condition depends on."""
    return {found["name"].lower() for found in _TOKEN.finditer(condition) if found["name"]}


@dataclass
class _Parser:
    text: str
    names: Mapping[str, Value]
    tokens: list[re.Match[str]] = field(default_factory=list)

    def parse(self) -> Value:
        """Return the expression's value. Raises ValueError for invalid syntax."""
        end, text = 0, self.text.rstrip()
        while end < len(text):
            token = _TOKEN.match(text, end)
            if token is None:
                raise ValueError(text)
            self.tokens.append(token)
            end = token.end()
        self.tokens.reverse()
        value = self._or()
        if self.tokens:
            raise ValueError(text)
        return value

    def _take(self, *signs: str) -> str | None:
        if self.tokens and self.tokens[-1]["sign"] in signs:
            return self.tokens.pop()["sign"]
        return None

    def _or(self) -> Value:
        value = self._and()
        while self._take("||"):
            value = _either(value, self._and(), wanted=True)
        return value

    def _and(self) -> Value:
        value = self._comparison()
        while self._take("&&"):
            value = _either(value, self._comparison(), wanted=False)
        return value

    def _comparison(self) -> Value:
        value = self._not()
        while sign := self._take("==", "!=", "<", "<=", ">", ">="):
            value = _compare(sign, value, self._not())
        return value

    def _not(self) -> Value:
        if self._take("!"):
            value = self._not()
            return value if isinstance(value, _Unknown) else not _is_true(value)
        if self._take("("):
            value = self._or()
            self._expect(")")
            return value
        return self._operand()

    def _operand(self) -> Value:
        if not self.tokens:
            raise ValueError(self.text)
        token = self.tokens.pop()
        if token["text"]:
            return token["text"][1:-1].replace("''", "'")
        if token["number"]:
            return _number(token["number"])
        if token["name"] is None:
            raise ValueError(self.text)
        name = re.sub(r"\['([^']*)'\]", r".\1", token["name"]).lower()
        if self._take("("):
            return _call(name, self._arguments())
        return self._named(name)

    def _arguments(self) -> list[Value]:
        if self._take(")"):
            return []
        values = [self._or()]
        while self._take(","):
            values.append(self._or())
        self._expect(")")
        return values

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            raise ValueError(self.text)

    def _named(self, name: str) -> Value:
        literal: dict[str, Value] = {"true": True, "false": False, "null": None}
        for table in (literal, self.names, NAMES):
            if name in table:
                return table[name]
        return next((value for form, value in PATTERNS if form.fullmatch(name)), UNKNOWN)


def _either(left: Value, right: Value, *, wanted: bool) -> Value:
    """Return the value of `||` (wanted is True) or `&&` for two operands."""
    if isinstance(left, _Unknown):
        decides = not isinstance(right, _Unknown) and _is_true(right) is wanted
        return right if decides else UNKNOWN
    return left if _is_true(left) is wanted else right


def _is_true(value: Value) -> bool:
    return value is not None and value != "" and value != 0


def _compare(sign: str, left: Value, right: Value) -> Value:
    match left, right:
        case (_Branch(), str(text)) | (str(text), _Branch()):
            differ = not text.startswith(HEADS)
            return sign == "!=" if differ and sign in ("==", "!=") else UNKNOWN
    if any(isinstance(each, (_Unknown, _Branch, tuple)) for each in (left, right)):
        return UNKNOWN
    one: str | float
    two: str | float
    if isinstance(left, str) and isinstance(right, str):
        one, two = left.lower(), right.lower()
    else:
        one, two = _number(left), _number(right)
    match sign:
        case "==":
            return one == two
        case "!=":
            return one != two
    if isinstance(one, str) or isinstance(two, str):
        return UNKNOWN
    return {"<": one < two, "<=": one <= two, ">": one > two, ">=": one >= two}[sign]


def _number(value: Value) -> float:
    """Convert a value to a number like GitHub."""
    match value:
        case None:
            return 0.0
        case bool() | float():
            return float(value)
        case str():
            try:
                text = value.strip()
                return float(int(text, 16) if text[:2].lower() == "0x" else text or 0)
            except ValueError:
                return math.nan
    return math.nan


def _call(name: str, arguments: list[Value]) -> Value:
    constant = {"always": True, "success": True, "failure": False, "cancelled": False}
    if name in constant and not arguments:
        return constant[name]
    tests: dict[str, Callable[[str, str], bool]] = {
        "contains": lambda text, part: part in text,
        "startswith": str.startswith,
        "endswith": str.endswith,
    }
    match arguments:
        case [_Branch(), str(part)] if name == "startswith":
            if HEADS.startswith(part):
                return True
            return UNKNOWN if part.startswith(HEADS) else False
        case [str(text), *values] if name == "format":
            return _format(text, values)
        case [tuple(values), str(part)] if name == "contains":
            return part.lower() in values
        case [(str() | None) as text, str(part)] if name in tests:
            return tests[name]((text or "").lower(), part.lower())
    return UNKNOWN


def _format(text: str, values: list[Value]) -> Value:
    for number, value in enumerate(values):
        if not isinstance(value, str):
            return UNKNOWN
        text = text.replace(f"{{{number}}}", value)
    return text

"""Policies: the rules that a repository's owners and the operator set for its hook and checks. No I/O.

The owners' file is `.bassloop.toml`, read from the default branch only, so that a head has no say in who
may run it. The operator's file (setting POLICY_PATH) has defaults for all repositories, and rules for some
by name, which override the owners'.
"""

from __future__ import annotations

import glob
import re
import tomllib
import unicodedata
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from bassloop.project import MAX_FILE, TomlLines, encoding_problem, load_toml, syntax_problem
from bassloop.project.declaration import CheckDeclaration
from bassloop.project.reading import advise_on_key, value_problem
from bassloop.repository_files import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping


RunnersOfCheck = Literal["sender", "trusted", "both"]
"""The runners that run a check: the sender's, a trusted one, or first one and then the other."""

OnDifference = Literal["fail", "trust"]
"""The outcome that counts when a check fails on its sender's runner and passes on a trusted one."""

MAX_TRUSTED = 50

NAME = r"^([A-Za-z0-9][A-Za-z0-9_-]{0,99}|@[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9_.-]{1,100})$"
"""A login, or a team as GitHub mentions it: `@ORGANIZATION/TEAM`."""

MAX_PROBLEMS = 20
MAX_NAME_PATTERN = 1_000
"""The maximum length of a pattern of checks' names, which have 255 characters at most."""

HooksFrom = Literal["head", "base", "default"]
Hold = Literal["nobody", "first-timers", "outsiders"]

_PATTERN = re.compile(r"(\*|[A-Za-z0-9_.-]+/(\*|[A-Za-z0-9_.-]+))\Z")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


Model = TypeVar("Model", bound=BaseModel)


def _compiled(checks: dict[str, RunnersOfCheck]) -> dict[str, RunnersOfCheck]:
    """Compile the patterns, which `fnmatch` then remembers. A file has room for enough to take a second."""
    for pattern in checks:
        fnmatchcase("", fold_name(pattern))
    return checks


class TrustRules(BaseModel):
    """The table `[trust]` of one policy file; None where it says nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    runners: (
        Annotated[
            list[Annotated[str, Field(pattern=NAME)]],
            Field(max_length=MAX_TRUSTED),
        ]
        | None
    ) = None
    checks: (
        Annotated[
            dict[Annotated[str, Field(max_length=MAX_NAME_PATTERN)], RunnersOfCheck],
            Field(max_length=1000),
            AfterValidator(_compiled),
        ]
        | None
    ) = None
    require_signature: bool | None = None
    spot_check: Annotated[float, Field(ge=0, le=1)] | None = None
    on_difference: OnDifference | None = None


@dataclass(frozen=True, slots=True)
class NamedUser:
    """A user or team that a policy names, whose runners are a fallback or trusted.

    Args:
        login: a login, or `@ORGANIZATION/TEAM`.
        trusted: whether the operator named them. Owners could otherwise name anybody, so those whom they name must be
        able to write to the repository.
    """

    login: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The policy that says which runners' signatures a repository's checks need.

    Args:
        runners: the users whose runners are trusted.
        checks: which runners run the checks with these names, in which `*` and `?` match.
        require_signature: whether a run that isn't signed counts as failed.
        spot_check: the fraction of runs succeeding elsewhere that are repeated on a trusted runner.
        on_difference: the outcome of a check that failed on its sender's runner and passed on a trusted one. The
        other way round, it always fails.
    """

    runners: tuple[NamedUser, ...] = ()
    checks: Mapping[str, RunnersOfCheck] = field(default_factory=dict)
    require_signature: bool = False
    spot_check: float = 0.0
    on_difference: OnDifference = "fail"

    def runners_of(self, check: str) -> RunnersOfCheck:
        """Return which runners run the check with this name. Case and the like are ignored."""
        name = fold_name(check)
        for pattern, runners in self.checks.items():
            if fnmatchcase(name, fold_name(pattern)):
                return runners
        return "sender"

    @property
    def is_demanding(self) -> bool:
        """True if any check may need a trusted runner.

        Then the hook's own thunks need one, too, since their output becomes part of the checks' thunks.
        """
        return self.spot_check > 0 or any(each != "sender" for each in self.checks.values())


def fold_name(check: str) -> str:
    """Normalise a check's name: case, width and accents, which GitHub may ignore when it compares names.

    Otherwise, a hook could start `TEST`, which no policy names, where `test` is required.
    """
    decomposed = unicodedata.normalize("NFKD", check)
    plain = "".join(each for each in decomposed if not unicodedata.combining(each))
    return " ".join(plain.casefold().split())


class PolicyError(Exception):
    """A policy file can't be used. The message has a line for each mistake."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of one repository. Times are in seconds.

    Args:
        hooks_from: whether a fork's head is checked by its own hook, by that of its base branch, which its author
            chooses, or by that of the default branch.
        hold: the authors whose pull requests from forks need an approval before the hook runs.
        fallback: the users whose runners are used if the sender has none.
        events: the events without a commit that run the default branch's hook.
        supersede: whether a push cancels what still runs for the head that it replaces.
        runner_wait: how long a check waits for a runner.
        check_limit: how long a check may run.
        checks: how long the checks with these names may run.
        trust: the runners that have to confirm checks.
    """

    hooks_from: HooksFrom = "head"
    hold: Hold = "nobody"
    fallback: tuple[NamedUser, ...] = ()
    events: frozenset[str] = frozenset()
    supersede: bool = True
    runner_wait: float = 600.0
    check_limit: float = 4 * 3600.0
    checks: Mapping[str, float] = field(default_factory=dict)
    trust: TrustPolicy = field(default_factory=TrustPolicy)

    def limit(self, check: str) -> float:
        """Return how long the check with this name may run."""
        return self.checks.get(check, self.check_limit)


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"{value[:60]!r} is not {what}")
        return value

    return AfterValidator(check)


Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]
Login = Annotated[str, _matching(_LOGIN, "a GitHub login")]
EventName = Annotated[str, _matching(_EVENT, "an event's name")]


def _limits(checks: object) -> object:
    """Return the limits in `[checks]`; everything else there declares checks (:mod:`bassloop.project`)."""
    if not isinstance(checks, dict):
        return checks
    return {
        name: value for name, value in checks.items() if not isinstance(value, dict | str | list)
    }


class Rules(BaseModel):
    """One file's rules for a repository; None where it has none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    hooks_from: HooksFrom | None = None
    hold: Hold | None = None
    fallback: list[Login] | None = Field(None, max_length=10)
    events: list[EventName] | None = Field(None, max_length=100)
    supersede: bool | None = None
    runner_wait: Annotated[float, Field(ge=0, le=7 * 86400)] | None = None
    check_limit: Seconds | None = None
    checks: Annotated[dict[str, Seconds], BeforeValidator(_limits)] | None = Field(
        None, max_length=1000
    )
    trust: TrustRules | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_runners_of_checks(cls, value: object) -> object:
        """Treat `runners` in `[checks.NAME]` as an entry of `[trust.checks]`, with the lowest precedence."""
        if not isinstance(value, dict) or not isinstance(checks := value.get("checks"), dict):
            return value
        declared = {
            pattern: check["runners"]
            for name, check in checks.items()
            if isinstance(check, dict) and "runners" in check
            # A check with a matrix is started as NAME (VALUES).
            for pattern in (glob.escape(name), f"{glob.escape(name)} (*)")
        }
        trust = value.get("trust", {})
        if not declared or not isinstance(trust, dict):
            return value
        named = trust.get("checks", {})
        if not isinstance(named, dict):
            return value
        added = {name: runners for name, runners in declared.items() if name not in named}
        return {**value, "trust": {**trust, "checks": {**named, **added}}}


class OperatorRules(BaseModel):
    """The operator's file: rules for all repositories, and for some by name or pattern."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    default: Rules = Field(default_factory=Rules)
    repository: dict[Annotated[str, _matching(_PATTERN, "OWNER/NAME, OWNER/* or *")], Rules] = (
        Field(default_factory=dict)
    )

    def overrides(self, repository: str) -> list[Rules]:
        """Return the rules that override a repository's own, the strongest last."""
        owner = repository.partition("/")[0]
        found = {pattern.lower(): rules for pattern, rules in self.repository.items()}
        patterns = ("*", f"{owner}/*".lower(), repository.lower())
        return [found[pattern] for pattern in patterns if pattern in found]


def read_operator_rules(text: str, name: str) -> OperatorRules:
    """Parse the operator's file. Raises PolicyError, which calls the file `name`."""
    return _validated(OperatorRules, text, name)


def read_rules(content: bytes) -> Rules:
    """Parse a repository's own file. Raises PolicyError."""
    if len(content) > MAX_FILE:
        raise PolicyError(f"{CONFIG_FILE} is longer than {MAX_FILE >> 10} KiB")
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        raise PolicyError(encoding_problem(CONFIG_FILE, content, error)) from error
    return _validated(Rules, text, CONFIG_FILE)


def resolve_policy(base: Policy, operator: OperatorRules, repository: str, owners: Rules) -> Policy:
    """Return the policy of a repository.

    Args:
        base: the policy from the settings.
        owners: the rules in the repository's own file.
    """
    policy = _with(base, operator.default, trusted=True)
    policy = _with(policy, _shortened(owners, policy), trusted=False)
    for rules in operator.overrides(repository):
        policy = _with(policy, rules, trusted=True)
    return policy


def _with(policy: Policy, rules: Rules, *, trusted: bool) -> Policy:
    changes: dict[str, Any] = rules.model_dump(exclude_none=True)
    if "fallback" in changes:
        changes["fallback"] = tuple(NamedUser(login, trusted) for login in changes["fallback"])
    if "events" in changes:
        changes["events"] = frozenset(changes["events"])
    if rules.trust is not None:
        named = rules.trust.model_dump(exclude_none=True)
        if "runners" in named:
            named["runners"] = tuple(NamedUser(login, trusted) for login in named["runners"])
        changes["trust"] = replace(policy.trust, **named)
    return replace(policy, **changes)


def _shortened(owners: Rules, operator: Policy) -> Rules:
    """Return the owners' rules with times capped by the operator's."""
    longest: dict[str, float] = {
        "runner_wait": operator.runner_wait,
        "check_limit": operator.check_limit,
    }
    changes: dict[str, Any] = {
        name: min(getattr(owners, name), limit)
        for name, limit in longest.items()
        if getattr(owners, name) is not None
    }
    if owners.checks is not None:
        changes["checks"] = {
            name: min(limit, operator.check_limit) for name, limit in owners.checks.items()
        }
    return owners.model_copy(update=changes)


def _validated(model: type[Model], text: str, name: str) -> Model:
    try:
        return model.model_validate(load_toml(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(syntax_problem(name, text, str(error))) from error
    except ValidationError as error:
        lines = TomlLines(text)
        raise PolicyError(
            "\n".join(_problem(name, lines, each) for each in error.errors()[:MAX_PROBLEMS])
        ) from error


def _problem(name: str, lines: TomlLines, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"] if part != "[key]")
    what = value_problem(error)
    if error["type"] == "extra_forbidden" and (advice := _advice(error, name)):
        what = f"there is no such setting: {advice}"
    elif error["type"] == "extra_forbidden":
        model = OperatorRules if len(error["loc"]) == 1 and name != CONFIG_FILE else Rules
        similar = get_close_matches(str(error["loc"][-1]), model.model_fields, n=1, cutoff=0.7)
        meant = f" (did you mean {similar[0]}?)" if similar else ""
        what = f"there is no such setting{meant}; the settings are {', '.join(sorted(model.model_fields))}"
    elif error["type"] == "float_type" and error["loc"][0] == "checks":
        what = "it must be a table, a command in quotes, or a time limit in seconds"
    line = lines.line(error["loc"])
    return f"{name}:{line}: {where}: {what}"[:500] if line else f"{name}: {where}: {what}"[:500]


def _advice(error: Any, name: str) -> str | None:
    """Return what to do about a key of a repository's file that belongs elsewhere, or that other systems have."""
    if name != CONFIG_FILE or len(error["loc"]) != 1:
        return None
    key = str(error["loc"][0]).lower()
    if key in ("jobs", "tasks", "steps", "pipeline", "stages"):
        return "a check is a table of its own, such as [checks.test]"
    if key == "name":
        return "each check has its name in its table's header, such as [checks.test]"
    if key == "on":
        return 'a check says it, with when = { events = ["push"] }'
    if key in CheckDeclaration.model_fields:
        return f"{key} belongs to a check, below a line such as [checks.test]"
    return advise_on_key(key)

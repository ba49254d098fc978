"""What is decided for a repository: by its owners in a file of theirs, and by the operator.

The owners' file is `.bassloop.toml` on the default branch, and is read from there only: a head has no
say in who may run it. The operator's (setting POLICY_PATH) has a part for all repositories that say
nothing, and parts for some by name, which win over what those say themselves.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNERS_FILE = ".bassloop.toml"
MAX_FILE = 64 << 10

HooksFrom = Literal["head", "base"]
Hold = Literal["nobody", "first-timers", "outsiders"]

_PATTERN = re.compile(r"(\*|[A-Za-z0-9_.-]+/(\*|[A-Za-z0-9_.-]+))\Z")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


Model = TypeVar("Model", bound=BaseModel)


class PolicyError(Exception):
    """A file of policies that can't be used: a line for each thing that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """Whose runners carry out what nobody else's does.

    Args:
        vouched: whether the operator named them; one that the owners named must be able to write to
            the repository, or they could name anybody.
    """

    login: str
    vouched: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one repository. Times are in seconds.

    Args:
        hooks_from: whether a fork's head brings its own hook, or the branch that it is for has it.
        hold: whose pull requests from forks wait for somebody who may write, before their hook is
            evaluated.
        fallback: whose runners carry out what is sent by somebody who has none.
        events: which events without a commit evaluate the hook of the default branch.
        supersede: whether a push cancels what still runs for the head that it replaces.
        runner_wait: how long a check waits for a runner.
        check_limit: how long a check may run.
        checks: how long the checks of these names may run.
    """

    hooks_from: HooksFrom = "head"
    hold: Hold = "nobody"
    fallback: tuple[Fallback, ...] = ()
    events: frozenset[str] = frozenset()
    supersede: bool = True
    runner_wait: float = 600.0
    check_limit: float = 4 * 3600.0
    checks: Mapping[str, float] = field(default_factory=dict)

    def limit(self, check: str) -> float:
        """How long the check of a name may run."""
        return self.checks.get(check, self.check_limit)


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"{value[:60]!r} is no {what}")
        return value

    return AfterValidator(check)


Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]
Login = Annotated[str, _matching(_LOGIN, "GitHub login")]
EventName = Annotated[str, _matching(_EVENT, "event")]


class Rules(BaseModel):
    """What a file says of a repository; what it leaves out is decided elsewhere."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    hooks_from: HooksFrom | None = None
    hold: Hold | None = None
    fallback: list[Login] | None = Field(None, max_length=10)
    events: list[EventName] | None = Field(None, max_length=100)
    supersede: bool | None = None
    runner_wait: Annotated[float, Field(ge=0, le=7 * 86400)] | None = None
    check_limit: Seconds | None = None
    checks: dict[str, Seconds] | None = Field(None, max_length=1000)


class OperatorRules(BaseModel):
    """The operator's file: rules for all repositories, and for some of a name or a pattern."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    default: Rules = Rules()
    repository: dict[Annotated[str, _matching(_PATTERN, "OWNER/NAME, OWNER/* or *")], Rules] = (
        Field(default_factory=dict)
    )

    def of(self, repository: str) -> list[Rules]:
        """The rules that win over what a repository says, the strongest last."""
        owner = repository.partition("/")[0]
        found = {pattern.lower(): rules for pattern, rules in self.repository.items()}
        patterns = ("*", f"{owner}/*".lower(), repository.lower())
        return [found[pattern] for pattern in patterns if pattern in found]


def read_operator_rules(text: str, name: str) -> OperatorRules:
    """The operator's file. Raises PolicyError, naming the file as `name`."""
    return _validated(OperatorRules, text, name)


def read_rules(content: bytes) -> Rules:
    """A repository's own file. Raises PolicyError."""
    if len(content) > MAX_FILE:
        raise PolicyError(f"{OWNERS_FILE} is longer than {MAX_FILE >> 10} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise PolicyError(f"{OWNERS_FILE} is not UTF-8 text") from error
    return _validated(Rules, text, OWNERS_FILE)


def decide_policy(
    base: Policy, operator: OperatorRules, repository: str, owners: Rules | None
) -> Policy:
    """What holds for a repository. Pure.

    Args:
        base: what the settings say.
        owners: what the repository's own file says; None when it has none.
    """
    policy = _with(base, operator.default, vouched=True)
    if owners is not None:
        policy = _bounded(_with(policy, owners, vouched=False), policy)
    for rules in operator.of(repository):
        policy = _with(policy, rules, vouched=True)
    return policy


def _with(policy: Policy, rules: Rules, *, vouched: bool) -> Policy:
    said: dict[str, Any] = {name: getattr(rules, name) for name in rules.model_fields_set}
    said = {name: value for name, value in said.items() if value is not None}
    if "fallback" in said:
        said["fallback"] = tuple(Fallback(login, vouched) for login in said["fallback"])
    if "events" in said:
        said["events"] = frozenset(said["events"])
    return replace(policy, **said)


def _bounded(policy: Policy, operator: Policy) -> Policy:
    """Owners may have their checks wait and run for less long than the operator lets them."""
    longest, patience = operator.check_limit, operator.runner_wait
    return replace(
        policy,
        runner_wait=min(policy.runner_wait, patience),
        check_limit=min(policy.check_limit, longest),
        checks={name: min(limit, longest) for name, limit in policy.checks.items()},
    )


def _validated(model: type[Model], text: str, name: str) -> Model:
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name} is not TOML: {error}") from error
    except RecursionError as error:
        raise PolicyError(f"{name} is nested too deeply") from error
    except ValidationError as error:
        raise PolicyError("\n".join(_problem(name, each) for each in error.errors())) from error


def _problem(name: str, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"] if part != "[key]")
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        model = OperatorRules if len(error["loc"]) == 1 and name != OWNERS_FILE else Rules
        what = f"there is no such setting; there are {', '.join(sorted(model.model_fields))}"
    return f"{name}: {where}: {what}"[:500]

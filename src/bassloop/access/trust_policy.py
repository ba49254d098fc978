"""The part of a policy that says whose word a check needs: trusted runners, signatures, spot checks. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Mapping

RunnersOfCheck = Literal["sender", "trusted", "both"]
"""Whose runners run a check: the sender's, a trusted one, or first one and then the other."""

OnDifference = Literal["fail", "trust"]
"""What becomes of a check that failed on its sender's runner, and passed on a trusted one."""

MAX_TRUSTED = 50

NAME = r"^([A-Za-z0-9][A-Za-z0-9_-]{0,99}|@[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9_.-]{1,100})$"
"""A login, or a team as GitHub mentions it: `@ORGANIZATION/TEAM`."""


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
    checks: Annotated[dict[str, RunnersOfCheck], Field(max_length=1000)] | None = None
    require_signature: bool | None = None
    spot_check: Annotated[float, Field(ge=0, le=1)] | None = None
    on_difference: OnDifference | None = None


@dataclass(frozen=True, slots=True)
class NamedUser:
    """A user whose runners a policy names: as a fallback, or as trusted.

    Args:
        login: a login, or `@ORGANIZATION/TEAM`.
        trusted: whether the operator named them. One whom the owners named must be able to write to the
            repository, or they could name anybody.
    """

    login: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The policy that says which runners' signatures a repository's checks need.

    Args:
        runners: the users whose runners are trusted.
        checks: whose runners run the checks with these names, in which `*` and `?` match.
        require_signature: whether a run that isn't signed counts as failed.
        spot_check: the share of what succeeded elsewhere that a trusted runner runs again.
        on_difference: whether a check fails that failed on its sender's runner and passed on a trusted one,
            or the trusted one is believed. The other way round, it fails in any case.
    """

    runners: tuple[NamedUser, ...] = ()
    checks: Mapping[str, RunnersOfCheck] = field(default_factory=dict)
    require_signature: bool = False
    spot_check: float = 0.0
    on_difference: OnDifference = "fail"

    def runners_of(self, check: str) -> RunnersOfCheck:
        """Return whose runners run the check with this name, however it is spelled."""
        for pattern, runners in self.checks.items():
            if fnmatchcase(fold_name(check), fold_name(pattern)):
                return runners
        return "sender"

    @property
    def is_demanding(self) -> bool:
        """True if any check may need a trusted runner.

        Then the hook's own thunks need one too: what they answer goes into the thunks of checks.
        """
        return self.spot_check > 0 or any(each != "sender" for each in self.checks.values())


def fold_name(check: str) -> str:
    """Return a check's name without what GitHub may ignore when it compares names: case, width, accents.

    Otherwise a hook could start `TEST`, which no policy names, where `test` is required.
    """
    decomposed = unicodedata.normalize("NFKD", check)
    plain = "".join(each for each in decomposed if not unicodedata.combining(each))
    return " ".join(plain.casefold().split())

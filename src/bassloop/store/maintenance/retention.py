"""Retention: decides which runs to remove. No file, no clock, no database."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of runs: seconds they are kept after their end, and bytes of logs. None: no bound."""

    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds on what is kept.

    Args:
        everywhere: the bounds on all repositories. `seconds` applies to each repository without
            bounds of its own, `bytes` to all repositories together.
        repositories: the bounds of single repositories (OWNER/NAME, in any case), in addition.
        only: consider this repository alone, and apply `everywhere` to it.
    """

    everywhere: Bounds = Bounds()
    repositories: Mapping[str, Bounds] = field(default_factory=dict)
    only: str | None = None

    @property
    def bounded(self) -> bool:
        """True if anything is ever removed."""
        return any(each != Bounds() for each in (self.everywhere, *self.repositories.values()))


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as retention sees it.

    Args:
        over: it may be removed: it has ended, and GitHub has its conclusion.
        bytes: the size of its logs.
    """

    id: str
    repository: str
    ended_at: float
    over: bool
    bytes: int


def select_expired(runs: Sequence[StoredRun], retention: Retention, now: float) -> list[StoredRun]:
    """Return the runs to remove, oldest first. The runs must be given oldest first.

    A bound on bytes removes the oldest runs until the rest is within it. A run that may not be removed
    counts, and stays.
    """
    only = None if retention.only is None else retention.only.lower()
    considered = [run for run in runs if only in (None, run.repository.lower())]
    own = {name.lower(): bounds for name, bounds in retention.repositories.items()}
    expired = {run.id for run in considered if _too_old(run, own, retention.everywhere, now)}
    by_repository: defaultdict[str, list[StoredRun]] = defaultdict(list)
    for run in considered:
        by_repository[run.repository.lower()].append(run)
    for name, bounds in own.items():
        expired |= _too_large(by_repository[name], expired, bounds.bytes)
    expired |= _too_large(considered, expired, retention.everywhere.bytes)
    return [run for run in considered if run.over and run.id in expired]


def _too_old(run: StoredRun, own: Mapping[str, Bounds], everywhere: Bounds, now: float) -> bool:
    seconds = own.get(run.repository.lower(), Bounds()).seconds
    seconds = everywhere.seconds if seconds is None else seconds
    return seconds is not None and run.over and run.ended_at < now - seconds


def _too_large(runs: Iterable[StoredRun], expired: set[str], limit: int | None) -> set[str]:
    """Return the ids of the oldest runs without which the others are within a limit of bytes."""
    staying = [run for run in runs if run.id not in expired]
    excess = 0 if limit is None else sum(run.bytes for run in staying) - limit
    found = set()
    for run in staying:
        if excess <= 0:
            break
        if run.over:
            found.add(run.id)
            excess -= run.bytes
    return found

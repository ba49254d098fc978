"""Which runs have had their time. Pure: no file, no clock."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long runs are kept, in seconds after their end, and how many bytes of logs. None: no bound."""

    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept.

    Args:
        everywhere: the time holds for every repository without one of its own; the bytes are those of
            all repositories together.
        repositories: bounds of single repositories (OWNER/NAME in any case), besides.
        only: look at this repository alone, and let `everywhere` speak of it.
    """

    everywhere: Bounds = Bounds()
    repositories: Mapping[str, Bounds] = field(default_factory=dict)
    only: str | None = None

    @property
    def bounded(self) -> bool:
        """Whether anything is ever to go."""
        return any(each != Bounds() for each in (self.everywhere, *self.repositories.values()))


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run that is stored. `over` says that it may go: it has ended, and GitHub knows."""

    id: str
    repository: str
    ended_at: float
    over: bool
    bytes: int


def overdue(runs: Sequence[KeptRun], retention: Retention, now: float) -> list[KeptRun]:
    """Those of the runs, given oldest first, that have had their time, oldest first.

    A bound on bytes lets the oldest go until the rest is within it; a run that may not go counts, and
    stays.
    """
    only = None if retention.only is None else retention.only.lower()
    seen = [run for run in runs if only in (None, run.repository.lower())]
    own = {name.lower(): bounds for name, bounds in retention.repositories.items()}
    going = {run.id for run in seen if _too_old(run, own, retention.everywhere, now)}
    by_repository: defaultdict[str, list[KeptRun]] = defaultdict(list)
    for run in seen:
        by_repository[run.repository.lower()].append(run)
    for name, bounds in own.items():
        going |= _beyond(by_repository[name], going, bounds.bytes)
    going |= _beyond(seen, going, retention.everywhere.bytes)
    return [run for run in seen if run.over and run.id in going]


def _too_old(run: KeptRun, own: Mapping[str, Bounds], everywhere: Bounds, now: float) -> bool:
    seconds = own.get(run.repository.lower(), Bounds()).seconds
    seconds = everywhere.seconds if seconds is None else seconds
    return seconds is not None and run.over and run.ended_at < now - seconds


def _beyond(runs: Iterable[KeptRun], going: set[str], limit: int | None) -> set[str]:
    staying = [run for run in runs if run.id not in going]
    excess = 0 if limit is None else sum(run.bytes for run in staying) - limit
    found = set()
    for run in staying:
        if excess <= 0:
            break
        if run.over:
            found.add(run.id)
            excess -= run.bytes
    return found

"""Budgets: how much a script may use of the machine that it runs on."""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import greenlet

from bassloop.bass.errors import Exhausted
from bassloop.bass.values import Cell, Object, Scope

if TYPE_CHECKING:
    from types import FrameType


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a session.

    * `steps`: calls, and values that builtins go through.
    * `live`: bytes of values that are alive at once, estimated.
    * `seconds`: of running; the time that the script waits doesn't count.
    * `output`: bytes that it logs and emits.
    * `depth`: calls within calls that aren't in tail position; simple calls may nest deeper.

    `setting` is what to change to give a script more, for messages: a text with `{}` for the limit in capitals.
    """

    steps: int = 50_000_000
    live: int = 256 << 20
    seconds: float = 300.0
    output: int = 1 << 20
    depth: int = 20_000
    setting: str = ""


FRAMES_PER_CALL = 16
"""How many of Python's frames a nested call takes, generously estimated."""

SLICE = 2_000
"""Steps between two checkpoints, which take some milliseconds."""

STEP_BYTES = 600
"""What a step leaves alive, roughly and at most; builtins that make more say so (`Meter.allocate`)."""


@final
class Meter:
    """Counts what a session uses of its budget. A budget that is used up stays so."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.slice = SLICE
        self.frames = budget.depth * FRAMES_PER_CALL
        self.steps = 0
        self.output = 0
        self.seconds = 0.0
        self.roots: list[Any] = []
        self._since: float | None = None
        self._allocated = 0
        self._weigh_at = budget.live // 2

    def count(self, steps: int) -> None:
        """Count steps. Raises `Exhausted`."""
        self.steps += steps
        budget = self.budget
        if self.steps > budget.steps:
            raise self._spent("steps", f"the script took more than {budget.steps:,} steps")
        self.pause()
        self.resume()
        if self.seconds > budget.seconds:
            raise self._spent("seconds", f"the script ran for more than {budget.seconds:g} seconds")
        self.allocate(steps * STEP_BYTES)

    def allocate(self, size: int) -> None:
        """Count bytes that a builtin is about to make at once. Raises `Exhausted`."""
        self._allocated += size
        if self._allocated >= self._weigh_at:
            self._weigh(size)

    def write(self, size: int) -> None:
        """Count bytes of output. Raises `Exhausted`."""
        self.output += size
        if self.output > self.budget.output:
            raise self._spent("output", f"the script wrote more than {self.budget.output:,} bytes")

    def too_deep(self) -> Exhausted:
        """Return the error of a script whose calls nest too deeply."""
        return self._spent(
            "depth",
            "the script nests its calls too deep; put the call in tail position, or use foldl",
        )

    def resume(self) -> None:
        """Note that the script runs from now on."""
        if self._since is None:
            self._since = time.monotonic()

    def pause(self) -> None:
        """Note that the script waits from now on."""
        if self._since is not None:
            self.seconds += time.monotonic() - self._since
            self._since = None

    def _spent(self, budget: str, text: str) -> Exhausted:
        setting = self.budget.setting.format(budget.upper())
        fix = f"; {setting} is the limit" if setting else ""
        return Exhausted(budget, f"{text}: its budget ({budget}) is used up{fix}")

    def _weigh(self, coming: int) -> None:
        """Weigh what is really alive, and decide when to do so again. Raises `Exhausted`."""
        live = self.budget.live
        weight = _weight(self.roots, live) + (coming if coming > 1 << 16 else 0)
        if weight > live:
            raise self._spent(
                "live", f"the script keeps more than {live >> 20} MiB of values alive"
            )
        self._allocated = 0
        self._weigh_at = max((live - weight) // 2, live // 16)


def _weight(roots: list[Any], enough: int) -> int:
    """Return the bytes of all values that can be reached from roots and from the running fiber's frames.

    Counting stops above `enough`.
    """
    seen: set[int] = set()
    stack: list[Any] = list(roots)
    frame: FrameType | None = sys._getframe(2)
    fiber = greenlet.getcurrent()
    while frame is not None and fiber.parent is not None:
        stack.extend(frame.f_locals.values())
        frame = frame.f_back
    total = 0
    while stack and total <= enough:
        item = stack.pop()
        mark = id(item)
        if mark in seen:
            continue
        seen.add(mark)
        if isinstance(item, Object):
            total += sys.getsizeof(item) + (150 if item.__class__ is Scope else 0)
            if isinstance(item, Cell):
                stack.append(item.a)
                stack.append(item.d)
            else:
                stack.extend(gc.get_referents(item))
        elif isinstance(item, str | bytes):
            total += sys.getsizeof(item)
        elif isinstance(item, dict | list | tuple):
            total += sys.getsizeof(item)
            stack.extend(item.values() if isinstance(item, dict) else item)
    return total

"""Budgets: how far a script may go.

They end what would never end by itself. Where memory and time have to be bounded too, as for hooks, scripts are
evaluated in a process that the kernel limits (`bassloop.evaluator`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from bassloop.bass.errors import Exhausted


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a session.

    * `steps`: calls, and values that builtins call something for.
    * `output`: bytes that it logs and prints.
    * `depth`: calls within calls that aren't in tail position; simple calls may nest deeper.

    `setting` is what to change to give a script more, for messages: a text with `{}` for the limit in capitals.
    """

    steps: int = 50_000_000
    output: int = 1 << 20
    depth: int = 20_000
    setting: str = ""


FRAMES_PER_CALL = 16
"""The frames of Python's that a nested call takes, generously estimated."""


@final
class Meter:
    """Counts what a session uses of its budget. A budget that is used up stays so."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.frames = budget.depth * FRAMES_PER_CALL
        self.steps = 0
        self.output = 0

    def count(self, steps: int) -> None:
        """Count steps. Raises `Exhausted`."""
        self.steps += steps
        if self.steps > self.budget.steps:
            raise self._spent("steps", f"the script took more than {self.budget.steps:,} steps")

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

    def _spent(self, budget: str, text: str) -> Exhausted:
        setting = self.budget.setting.format(budget.upper())
        fix = f"; {setting} is the limit" if setting else ""
        return Exhausted(budget, f"{text}: its budget ({budget}) is used up{fix}")

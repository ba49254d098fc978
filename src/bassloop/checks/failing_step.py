"""The step to show first: the one that broke a run, or that a stopped run was at. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store import Step


def failing_step(steps: Sequence[Step]) -> Step | None:
    """Return the step that broke a run: the first with an error that none of its inputs explains."""
    failed = {step.digest: step for step in steps if step.error}
    for step in failed.values():
        if not any(name in failed for name in step.inputs if name != step.digest):
            return step
    return next(iter(failed.values()), None)


def unfinished_step(steps: Sequence[Step]) -> Step | None:
    """Return the step that a stopped run was at: the last one that had started and not completed."""
    for step in reversed(steps):
        if step.started_at is not None and (step.completed_at is None or step.cancelled):
            return step
    return None

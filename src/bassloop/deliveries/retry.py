"""What is worth waiting for, and how long. Pure, but for chance."""

from __future__ import annotations

import random

from bassloop.github import GitHubError, RateLimited

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 600.0


def advised(error: BaseException) -> float | None:
    """How many seconds to wait, at least, before what failed is tried again; None when waiting does not
    mend it."""
    if isinstance(error, BaseExceptionGroup):
        each = [advised(inner) for inner in error.exceptions]
        known = [seconds for seconds in each if seconds is not None]
        return max(known) if len(known) == len(each) else None
    if isinstance(error, RateLimited):
        return error.retry_after
    if isinstance(error, GitHubError) and error.passing:
        return 0.0
    return None


def pause(times: int, longest: float = LONGEST_PAUSE) -> float:
    """Seconds to wait after having waited so many times in a row, with jitter."""
    growing = FIRST_PAUSE * float(2 ** min(times, 20))
    return min(growing, longest) * random.uniform(0.8, 1.2)  # noqa: S311

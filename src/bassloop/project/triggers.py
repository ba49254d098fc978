"""Which declared checks an event starts: what their Bass does, without evaluating it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bassloop.project.compiling import branch_pattern, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.project.declaration import CheckDeclaration


def started_checks(checks: Mapping[str, CheckDeclaration], event: str, branch: str) -> list[str]:
    """Return the names of the checks that an event starts, in the order in which they are started.

    Args:
        event: push, pull_request or merge_group.
        branch: the branch that was pushed, or is the target.
    """
    return [job.name for job in jobs(checks) if _is_wanted(job.check, event, branch)]


def _is_wanted(check: CheckDeclaration, event: str, branch: str) -> bool:
    when = check.when
    return (when.events is None or event in when.events) and (
        when.branches is None
        or any(re.search(branch_pattern(each), branch) for each in when.branches)
    )

"""The policies of repositories: read when an event needs one, and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from bassloop.access.policy import (
    OWNERS_FILE,
    OperatorRules,
    Policy,
    Rules,
    decide_policy,
    read_rules,
)

if TYPE_CHECKING:
    from bassloop.github import Event, GitHubRepository, Repository

KEPT_SECONDS = 300.0
MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Kept:
    rules: Rules | None
    until: float


@dataclass(eq=False)
class Policies:
    """What holds for each repository.

    Args:
        base: what the settings say, for all.
        operator: what the operator's file says.
    """

    base: Policy = field(default_factory=Policy)
    operator: OperatorRules = field(default_factory=OperatorRules)
    _kept: OrderedDict[int, _Kept] = field(default_factory=OrderedDict)
    _heeded: int = 0

    async def of(self, repository: Repository, repo: GitHubRepository) -> Policy:
        """What holds for a repository now, or did minutes ago.

        Raises PolicyError for an owners' file that can't be used, GitHubError when it can't be read.
        """
        kept = self._kept.get(repository.id)
        if kept is None or kept.until < trio.current_time():
            before = self._heeded
            content = await repo.file(OWNERS_FILE, None)
            rules = None if content is None else read_rules(content)
            kept = _Kept(rules, trio.current_time() + KEPT_SECONDS)
            if self._heeded == before:  # else it may have been read before what the event told
                self._kept[repository.id] = kept
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return decide_policy(self.base, self.operator, repository.full_name, kept.rules)

    def heed(self, event: Event) -> None:
        """Forget what an event may have changed: the default branch has a new head."""
        repository, head = event.repository, event.head
        if repository and (head is None or head.branch == repository.default_branch):
            self._kept.pop(repository.id, None)
            self._heeded += 1

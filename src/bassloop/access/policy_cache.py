"""A cache of repositories' policies, which are read from GitHub when an event needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.access.policy import OperatorRules, Policy, Rules, read_rules, resolve_policy
from bassloop.concurrency import SharedCalls, TTLCache
from bassloop.repository_files import CONFIG_FILE

if TYPE_CHECKING:
    from bassloop.github import Event, Repository, RepositoryClient

CACHE_SECONDS = 300.0
CACHE_SIZE = 10_000


@dataclass(eq=False)
class PolicyCache:
    """The policy of each repository.

    Args:
        base: the policy that the settings give to all repositories.
        operator: the operator's file.
    """

    base: Policy = field(default_factory=Policy)
    operator: OperatorRules = field(default_factory=OperatorRules)
    _owners: TTLCache[int, Rules] = field(
        default_factory=lambda: TTLCache(CACHE_SIZE, CACHE_SECONDS), init=False
    )
    _reading: SharedCalls[tuple[int, int], Rules] = field(default_factory=SharedCalls, init=False)
    _thread: trio.CapacityLimiter = field(
        default_factory=partial(trio.CapacityLimiter, 1), init=False
    )
    """A stranger's file may take some 0.1 s. Several at once would leave less of the processor to the loop."""

    async def policy_for(self, repository: Repository, repo: RepositoryClient) -> Policy:
        """Return a repository's policy, at most some minutes old.

        Concurrent callers share one request. Raises PolicyError if the owners' file can't be used, and
        GitHubError if it can't be read.
        """
        return await self.policy_of(repository.id, repository.full_name, repo)

    async def policy_of(self, repository_id: int, full_name: str, repo: RepositoryClient) -> Policy:
        """Return the policy of the repository with this id and name; see :meth:`policy_for`."""
        rules = self._owners.get(repository_id)
        if rules is None:
            generation = self._owners.generation
            rules = await self._reading.share(
                (repository_id, generation), partial(self._read, repository_id, repo, generation)
            )
        return resolve_policy(self.base, self.operator, full_name, rules)

    async def _read(self, repository_id: int, repo: RepositoryClient, generation: int) -> Rules:
        content = await repo.file(CONFIG_FILE, None)
        rules = Rules()
        if content is not None:
            rules = await trio.to_thread.run_sync(read_rules, content, limiter=self._thread)
        self._owners.store(repository_id, rules, generation=generation)
        return rules

    def apply_event(self, event: Event) -> bool:
        """Forget a policy that an event may have changed because the default branch has a new head.

        Return whether it may have. Then the caller has to notify all other nodes (`apply_notification`).
        """
        repository, head = event.repository, event.head
        if repository is None or not (head is None or head.branch == repository.default_branch):
            return False
        self._owners.forget(repository.id)
        return True

    def apply_notification(self, key: str | None) -> None:
        """Forget the policy in the repository with this id, or all of them."""
        self._owners.forget_where(lambda known: key in (None, str(known)))

"""Hooks that freeze, or eat memory: each costs its own check, and nobody else's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.repositories import commit
from tests.until import until

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

GROW = "(defn grow [n v] (if (= n 0) v (grow (- n 1) [v v])))"
HOOKS = {
    "values that are equal, and as large as they can be": f"{GROW} (= (grow 40 1) (grow 40 1))",
    "a text of what is there twice, and twice": f"{GROW} (str (grow 26 1))",
    "a digest of the same": f"{GROW} (log (json (grow 28 1)))",
    "an endless loop": "(defn f [] (f)) (f)",
    "ever more memory": '(defn f [n list] (f (+ n 1) (cons (str n) list))) (f 0 "")',
    "a text that doubles": '(defn f [text] (f (str text text))) (f "some text")',
}
GOOD = '(defn github-hook [event client] (error "this hook was evaluated"))'


async def deliver(target: Target, hook: str, *, repository: int = 0) -> str:
    """Push a commit with a hook, for a repository of its own; return the commit."""
    standin = target.world.standin
    (standin.repository_path / "project.bass").write_text(hook)
    commit(standin.repository_path)
    payload: dict[str, Any] = copy.deepcopy(dict(await standin.payload("check_suite")))
    payload["repository"]["id"] += repository
    delivered = await standin.deliver(target.daemon.url, "check_suite", payload)
    assert delivered.status == 202
    return str(payload["check_suite"]["head_sha"])


def concluded(target: Target, sha: str) -> dict[str, Any] | None:
    """The completed check run of a commit, if there is one."""
    runs = target.world.standin.check_runs
    found = [run for run in runs if run["head_sha"] == sha and run["status"] == "completed"]
    return found[0] if found else None


@pytest.mark.parametrize("name", HOOKS)
async def test_a_hook_costs_its_own_check(target: Target, name: str) -> None:
    # The fork server is warm when the attack begins, as it is in a daemon that has run for a second.
    warm = await deliver(target, GOOD)
    await until(lambda: concluded(target, warm) is not None)
    async with target.visited():
        attacks = [await deliver(target, HOOKS[name]) for _ in range(3)]
        good = await deliver(target, GOOD, repository=1000)
        await until(lambda: concluded(target, good) is not None)
        for sha in attacks:
            await until(lambda sha=sha: concluded(target, sha) is not None)  # type: ignore[misc]
    other = concluded(target, good)
    assert other is not None
    assert "this hook was evaluated" in other["output"]["summary"]
    for sha in attacks:
        check = concluded(target, sha)
        assert check is not None
        assert check["conclusion"] == "failure"
        summary = check["output"]["summary"]
        assert "HOOK_CPU" in summary or "HOOK_MEMORY" in summary or "too" in summary, summary

"""Hooks that freeze, or eat memory: each costs its own check, and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

HOOK_CPU = "1"
"""The daemon's setting: attacks that compute end soon, and all that they start may be started in a minute."""

GROW = "(defn grow [n v] (if (= n 0) v (grow (- n 1) [v v])))"
HOOKS = {
    "values that are equal, and as large as they can be": f"{GROW} (= (grow 40 1) (grow 40 1))",
    "a text of what is there twice, and twice": f"{GROW} (str (grow 26 1))",
    "JSON of the same": f"{GROW} (log (json (grow 28 1)))",
    "an endless loop": "(defn f [] (f)) (f)",
    "ever more memory": '(defn f [n list] (f (+ n 1) (cons (str n) list))) (f 0 "")',
    "a text that doubles": '(defn f [text] (f (str text text))) (f "some text")',
}

CHECKS = """
(defn grow [n text] (if (= n 0) text (grow (- n 1) (str text text))))
(def long (grow {doublings} "0123456789abcdef"))
(defn start [client sha n]
  (client:start-check
    (with-image ($ sh -c (str long n)) {{:repository "alpine" :platform {{:os "linux"}}}})
    {name} sha)
  (start client sha (+ n 1)))
(defn github-hook [event client] (start client event:payload:check_suite:head_sha 0))
"""
TIME = ("HOOK_CPU", "HOOK_SECONDS")
"""The limits of a hook's time. On a busy machine, it may reach the second one first."""

STARTS = {
    "the same check without an end": (CHECKS.format(doublings=1, name='"check"'), TIME),
    "the same check with a large command without an end": (
        CHECKS.format(doublings=16, name='"check"'),
        TIME,
    ),
    "names that are too long": (
        CHECKS.format(doublings=1, name='(grow 20 "x")'),
        ("a check's name is 1 to 255 printable characters",),
    ),
    "more checks than there may be, with names as long as they may be": (
        CHECKS.format(doublings=1, name=f'(str "{"x" * 240}" n)'),
        ("one event can start",),
    ),
}
"""Hooks that start checks, and what ends each; the last one spends the points of a minute."""


async def test_a_hook_that_starts_endless_checks_only_harms_its_own_delivery(
    target: Target,
) -> None:
    for name, (hook, ends) in STARTS.items():
        pushed: list[str] = []

        async def push(hook: str = hook, pushed: list[str] = pushed) -> None:
            pushed.append(await target.push(hook))
            await trio.sleep_forever()

        await target.withstand(name, push)
        check = await target.concluded(pushed[0], "project.bass")
        assert check["conclusion"] == "failure"
        assert any(end in check["output"]["summary"] for end in ends), name


async def test_an_expensive_hook_only_harms_its_own_check(target: Target) -> None:
    """All of them at once; the delivery of another repository doesn't wait for them."""
    async with target.used_by_others("hooks"):
        attacks = {name: await target.push(hook) for name, hook in HOOKS.items()}
        await target.other_is_concluded("hooks")
        for name, sha in attacks.items():
            check = await target.concluded(sha)
            summary = check["output"]["summary"]
            assert check["conclusion"] == "failure", f"{name}: {check['conclusion']}, {summary}"
            assert any(why in summary for why in (*TIME, "HOOK_MEMORY", "too")), summary
        await target.other_is_concluded("hooks")

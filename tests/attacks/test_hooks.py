"""Hooks that freeze, or eat memory: each costs its own check, and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.attacks

GROW = "(defn grow [n v] (if (= n 0) v (grow (- n 1) [v v])))"
HOOKS = {
    "values that are equal, and as large as they can be": f"{GROW} (= (grow 40 1) (grow 40 1))",
    "a text of what is there twice, and twice": f"{GROW} (str (grow 26 1))",
    "JSON of the same": f"{GROW} (log (json (grow 28 1)))",
    "an endless loop": "(defn f [] (f)) (f)",
    "ever more memory": '(defn f [n list] (f (+ n 1) (cons (str n) list))) (f 0 "")',
    "a text that doubles": '(defn f [text] (f (str text text))) (f "some text")',
}


async def test_a_hook_costs_its_own_check(target: Target) -> None:
    """All of them at once; the delivery of another repository doesn't wait for them."""
    async with target.used_by_others("hooks"):
        attacks = {name: await target.push(hook) for name, hook in HOOKS.items()}
        await target.other_is_concluded("hooks")
        for name, sha in attacks.items():
            check = await target.concluded(sha)
            summary = check["output"]["summary"]
            assert check["conclusion"] == "failure", f"{name}: {check['conclusion']}, {summary}"
            assert any(why in summary for why in ("HOOK_CPU", "HOOK_MEMORY", "too")), summary
        await target.other_is_concluded("hooks")

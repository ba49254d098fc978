"""Scopes: what functions made within a literal see, parents, and scopes within themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop import bass

if TYPE_CHECKING:
    from .conftest import Evaluate


@pytest.mark.parametrize(
    "made",
    [
        "(let [x 1] (fn [a b] (- a b)))",
        "(case 1 x (fn [a b] (- a b)))",
        "((fn [x] (fn [a b] (- a b))) 1)",
        "(do (provide [f] (defn f [a b] (- a b))) f)",
    ],
)
async def test_a_function_made_in_a_scope_sees_its_keys_and_not_the_names_around_it(
    evaluate: Evaluate, made: str
) -> None:
    assert await evaluate(f"((:f {{:- + :f {made}}}) 5 3)") == 8
    with pytest.raises(bass.BassError, match="unbound symbol: -"):
        await evaluate(f"((:f {{:f {made}}}) 5 3)")


@pytest.mark.parametrize(
    "parent", ["(current-scope)", "(make-scope (current-scope))", "{:b 1 (current-scope)}"]
)
async def test_a_scope_cannot_be_its_own_parent(evaluate: Evaluate, parent: str) -> None:
    with pytest.raises(bass.BassError, match="its own parent"):
        await evaluate(f"(:a {{:x 1 (let [outer (current-scope)] {parent})}} null)")
    with pytest.raises(bass.BassError, match="its own parent"):
        await evaluate("(keys {(current-scope)})")
    with pytest.raises(bass.BassError, match="its own parent"):
        await evaluate("(defop here [] scope scope) (keys {(let [x 1] (here))})")


async def test_scopes_within_themselves_are_compared(evaluate: Evaluate) -> None:
    made = "(let [s {:x %s}] (do (bind s :self s) s))"
    assert await evaluate(f"(= {made % 1} {made % 1})") is True
    assert await evaluate(f"(= {made % 1} {made % 2})") is False


async def test_a_parent_that_is_inherited_many_times_is_searched_once(evaluate: Evaluate) -> None:
    grow = "(defn grow [n s] (if (= n 0) s (grow (- n 1) (make-scope s s))))"
    assert bass.show(await evaluate(f"{grow} (keys (grow 100 {{:a 1}}))")) == "(a)"
    assert await evaluate(f"{grow} (:b (grow 100 {{:a 1}}) null)") is None


async def test_the_bindings_of_twenty_thousand_ancestors_are_read_in_one_pass(
    evaluate: Evaluate,
) -> None:
    grow = "(defn grow [n s] (if (= n 0) s (grow (- n 1) (merge s {(string->symbol (str n)) n}))))"
    assert await evaluate(
        f"{grow} (reduce-kv (fn [sum name n] (+ sum n)) 0 (grow 20000 {{}}))"
    ) == (20_000 * 20_001 // 2)

"""Numbers, comparison, text, scopes, predicates, JSON, time."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bassloop.bass import jsonform
from bassloop.bass.combiners import Applicative, Combiner, expect
from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.ground.define import function
from bassloop.bass.paths import Path
from bassloop.bass.printer import show
from bassloop.bass.streams import Sink, Source
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    Keyword,
    Pair,
    Scope,
    Symbol,
    Value,
    is_list,
    iterate,
    make_list,
    unwrap_form,
    wrap_int,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine


def bind_into(ground: Scope) -> None:
    """Bind these names."""
    _bind_numbers(ground)
    _bind_text(ground)
    _bind_scopes(ground)
    _bind_predicates(ground)


def _number(value: Value) -> int:
    found: int = expect(value, int, "an integer")
    return found


def _bind_numbers(ground: Scope) -> None:
    @function(ground, "+", "nums", "the sum of numbers")
    def add(*numbers: Value) -> Value:
        return wrap_int(sum(map(_number, numbers)))

    @function(ground, "*", "nums", "the product of numbers")
    def multiply(*numbers: Value) -> Value:
        product = 1
        for number in numbers:
            product = wrap_int(product * _number(number))
        return product

    @function(ground, "-", "[num & nums]", "the difference; of one number, its negation")
    def subtract(first: Value, *rest: Value) -> Value:
        if not rest:
            return wrap_int(-_number(first))
        return wrap_int(_number(first) - sum(map(_number, rest)))

    @function(ground, "quot", "[num denom]", "the quotient, rounded towards zero")
    def quot(one: Value, other: Value) -> Value:
        number, divisor = _number(one), _number(other)
        if divisor == 0:
            raise BassError(f"{number} can't be divided by zero")
        quotient = abs(number) // abs(divisor)
        return wrap_int(quotient if (number < 0) == (divisor < 0) else -quotient)

    @function(ground, "max", "[num & nums]", "the largest number")
    def largest(*numbers: Value) -> Value:
        return max(map(_number, numbers))

    @function(ground, "min", "[num & nums]", "the smallest number")
    def smallest(*numbers: Value) -> Value:
        return min(map(_number, numbers))

    @function(ground, "=", "[val & vals]", "whether values are equal")
    def equals(first: Value, *rest: Value) -> Value:
        return all(equal(first, other) for other in rest)

    comparisons: dict[str, Callable[[int, int], bool]] = {
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
    }
    for name, holds in comparisons.items():
        _bind_comparison(ground, name, holds)


def _bind_comparison(ground: Scope, name: str, holds: Callable[[int, int], bool]) -> None:
    @function(ground, name, "[num & nums]", f"whether each number {name} the next")
    def compare(*numbers: Value) -> Value:
        found = [_number(number) for number in numbers]
        return all(holds(a, b) for a, b in pairwise(found))


def _text(value: Value) -> str:
    found: str = expect(value, str, "a string")
    return found


def as_text(value: Value) -> str:
    """A value as `str` joins it: strings as they are, the rest as it is printed."""
    return value if isinstance(value, str) else show(value)


def _bind_text(ground: Scope) -> None:
    @function(ground, "str", "vals", "values as one string")
    def str_(*values: Value) -> Value:
        return "".join(map(as_text, values))

    @function(ground, "substring", "[str start & end]", "the bytes of a string from start to end")
    def substring(text: Value, start: Value, *end: Value) -> Value:
        data, first = _text(text).encode(), _number(start)
        last = _number(end[0]) if end else len(data)
        if not 0 <= first <= last <= len(data):
            raise BassError(f"a string of {len(data)} bytes has no {first} to {last}")
        return data[first:last].decode(errors="replace")

    @function(ground, "trim", "[str]", "a string without white space around it")
    def trim(text: Value) -> Value:
        return _text(text).strip()

    @function(ground, "symbol->string", "[sym]", "a symbol's name")
    def symbol_to_string(symbol: Value) -> Value:
        return expect(symbol, Symbol, "a symbol").name

    @function(ground, "string->symbol", "[str]", "the symbol of a name")
    def string_to_symbol(text: Value) -> Value:
        return Symbol(_text(text))

    @function(ground, "keyword->string", "[kw]", "a keyword's name")
    def keyword_to_string(keyword: Value) -> Value:
        return expect(keyword, Keyword, "a keyword").name

    @function(ground, "string->keyword", "[str]", "the keyword of a name")
    def string_to_keyword(text: Value) -> Value:
        return Keyword(_text(text))

    @function(ground, "json", "[val]", "a value's JSON")
    def json(value: Value) -> Value:
        return jsonform.dumps(value)

    @function(ground, "log", "[val & fields]", "says something in the log", needs_machine=True)
    def log(machine: Machine, value: Value, *fields: Value) -> Value:
        named = {show(fields[i]).lstrip(":"): fields[i + 1] for i in range(0, len(fields) - 1, 2)}
        machine.log(as_text(value), named)
        return value

    @function(ground, "dump", "[val]", "prints a value and returns it", needs_machine=True)
    def dump(machine: Machine, value: Value) -> Value:
        machine.log(show(value), {})
        return value

    @function(ground, "now", "[seconds]", "the time, rounded down to a multiple of seconds")
    def now(seconds: Value) -> Value:
        step = max(_number(seconds), 1)
        at = time.gmtime(int(time.time()) // step * step)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", at)


def _scope(value: Value) -> Scope:
    found: Scope = expect(value, Scope, "a scope")
    return found


def _bind_scopes(ground: Scope) -> None:
    @function(ground, "assoc", "[scope & pairs]", "a copy of a scope with more names")
    def assoc(scope: Value, *pairs: Value) -> Value:
        made = dict(_scope(scope).items())
        for index in range(0, len(pairs) - 1, 2):
            made[expect(pairs[index], Symbol, "a symbol").name] = pairs[index + 1]
        return Scope(made)

    @function(ground, "merge", "scopes", "scopes as one; the last wins")
    def merge(*scopes: Value) -> Value:
        return Scope({}, tuple(_scope(scope) for scope in reversed(scopes)))

    @function(ground, "scope->list", "[scope]", "a scope's names and values, alternating")
    def scope_to_list(scope: Value) -> Value:
        members: list[Value] = []
        for name, value in _scope(scope).items():
            members += [Symbol(name), value]
        return make_list(members)

    @function(ground, "list->scope", "[pairs]", "a scope of alternating names and values")
    def list_to_scope(pairs: Value) -> Value:
        return assoc(Scope(), *iterate(pairs))

    @function(ground, "keys", "[scope]", "a scope's names")
    def keys(scope: Value) -> Value:
        return make_list(Symbol(name) for name, _ in _scope(scope).items())

    @function(ground, "vals", "[scope]", "a scope's values")
    def vals(scope: Value) -> Value:
        return make_list(value for _, value in _scope(scope).items())

    @function(
        ground,
        "reduce-kv",
        "[f initial scope]",
        "folds a function over names and values",
        needs_machine=True,
    )
    def reduce_kv(machine: Machine, folded: Value, initial: Value, scope: Value) -> Value:
        result = initial
        for name, value in _scope(scope).items():
            result = machine.call(folded, [result, Symbol(name), value])
        return result


def _bind_predicates(ground: Scope) -> None:
    tests: dict[str, Callable[[Any], bool]] = {
        "null?": lambda value: value is None,
        "ignore?": lambda value: value is IGNORE,
        "boolean?": lambda value: isinstance(value, bool),
        "number?": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "string?": lambda value: isinstance(value, str),
        "symbol?": lambda value: isinstance(value, Symbol),
        "scope?": lambda value: isinstance(value, Scope),
        "sink?": lambda value: isinstance(value, Sink),
        "source?": lambda value: isinstance(value, Source),
        "list?": is_list,
        "pair?": lambda value: isinstance(value, Pair),
        "empty?": _is_empty,
        "thunk?": lambda value: isinstance(value, Thunk),
        "path?": lambda value: isinstance(value, Path) and not isinstance(value, Thunk),
        "applicative?": lambda value: isinstance(value, Applicative),
        "operative?": lambda value: (
            isinstance(value, Combiner) and not isinstance(value, Applicative)
        ),
        "combiner?": lambda value: isinstance(value, Combiner | Symbol | Path),
    }
    for name, holds in tests.items():
        _bind_predicate(ground, name, holds)


def _bind_predicate(ground: Scope, name: str, holds: Callable[[Any], bool]) -> None:
    @function(ground, name, "[val]", f"whether a value is {name[:-1]}")
    def predicate(value: Value) -> Value:
        return holds(unwrap_form(value))


def _is_empty(value: Value) -> bool:
    if isinstance(value, Scope):
        return not value.items()
    return value is EMPTY or value is None or value == ""

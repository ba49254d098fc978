"""Arithmetic and comparison; strings, symbols and regular expressions."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Final

import re2

from bassloop.bass import arguments
from bassloop.bass.compile.code import code
from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError, arity, bad_syntax, brief
from bassloop.bass.printer import display
from bassloop.bass.registry import builtin, function
from bassloop.bass.values import (
    IGNORE,
    INT_MAX,
    INT_MIN,
    Keyword,
    Scope,
    Symbol,
    bytes_of,
    from_list,
    plain,
    text_of,
    wrap_int,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.arguments import KeywordName, SymbolName
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


@builtin("+", "nums", "Adds numbers.\n\n=> (+ 20 20 2)", inline="+")
def add(args: list[Value], scope: Scope, machine: Machine) -> int:
    total = 0
    for arg in args:
        total += arg if arg.__class__ is int else arguments.integer(arg, "+")
    return total if INT_MIN <= total <= INT_MAX else wrap_int(total)


@builtin("*", "nums", "Multiplies numbers.\n\n=> (* 6 7)")
def multiply(args: list[Value], scope: Scope, machine: Machine) -> int:
    product = 1
    for arg in args:
        product = product * arguments.integer(arg, "*")
        if not INT_MIN <= product <= INT_MAX:
            product = wrap_int(product)
    return product


@builtin(
    "-", "[num & nums]",
    "Subtracts the other numbers from the first one, or negates a single number.\n\n=> (- 50 5 3)\n\n=> (- 42)",
    inline="-",
)  # fmt: skip
def subtract(args: list[Value], scope: Scope, machine: Machine) -> int:
    result = arguments.integer(args[0], "-")
    if len(args) == 1:
        return wrap_int(-result)
    for arg in args[1:]:
        result -= arguments.integer(arg, "-")
    return result if INT_MIN <= result <= INT_MAX else wrap_int(result)


@function("quot", "Returns the whole part of a quotient.\n\n=> (quot 85 2)")
def quotient(num: int, denom: int) -> int:
    if denom == 0:
        raise BassError(f"quot: cannot divide {num} by zero")
    result = abs(num) // abs(denom)
    return wrap_int(result if (num < 0) == (denom < 0) else -result)


@function("max", "Returns the largest number.\n\n=> (max 1 42 7)")
def largest(num: int, *nums: int) -> int:
    return max([num, *nums])


@function("min", "Returns the smallest number.\n\n=> (min 99 42 70)")
def smallest(num: int, *nums: int) -> int:
    return min([num, *nums])


@builtin(
    "=", "[val & vals]",
    """Returns whether all values are equal: of the same type, and the same all the way down.

    => (= 42 (+ 40 2) (* 6 7))

    => (= {:a 1 :b 2} {:b 2 :a 1})""",
    inline="==",
)  # fmt: skip
def same(args: list[Value], scope: Scope, machine: Machine) -> bool:
    first = args[0]
    return all(equal(other, first) for other in args[1:])


def _chain(name: str, doc: str, holds: Callable[[int, int], bool]) -> None:
    @builtin(name, "[num & nums]", doc, inline=name)
    def compare(args: list[Value], scope: Scope, machine: Machine) -> bool:
        numbers = [arguments.integer(arg, name) for arg in args]
        return all(holds(left, right) for left, right in itertools.pairwise(numbers))


_chain(">", "Returns whether each number is larger than the next one.\n\n=> (> 3 2 1)", operator.gt)
_chain(
    ">=", "Returns whether no number is smaller than the next one.\n\n=> (>= 3 2 2)", operator.ge
)
_chain(
    "<", "Returns whether each number is smaller than the next one.\n\n=> (< 1 2 3)", operator.lt
)
_chain("<=", "Returns whether no number is larger than the next one.\n\n=> (<= 2 2 3)", operator.le)


# --- strings and symbols ---


_SPACE: Final = (
    " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def _whole(joined: str) -> str:
    """Normalize concatenated strings, in which surrogate escapes may have become the bytes of one character."""
    return joined if joined.isascii() else text_of(bytes_of(joined))


@builtin(
    "str",
    "vals",
    'Concatenates strings, and other values as they print.\n\n=> (str "abc" 123 :def)',
)
def str_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return _whole("".join([display(value) for value in args]))


@function("substring", """Returns the part of a string from one offset to another, or to the end. Offsets count bytes.

    => (substring "abcdef" 2 4)""")  # fmt: skip
def substring(str: str, start: int, *end: int) -> Value:
    data = bytes_of(str)
    if len(end) > 1:
        raise arity("substring", 3, 2 + len(end))
    stop = end[0] if end else len(data)
    if not 0 <= start <= stop <= len(data):
        raise BassError(
            f"substring: there is no part from {start} to {stop} in a string of {len(data)} bytes"
        )
    return text_of(data[start:stop])


@function("trim", 'Returns a string without white space at its ends.\n\n=> (trim " hey\\n")')
def trim(str: str) -> Value:
    return str.strip(_SPACE)


@function("symbol->string", "Returns the name of a symbol.\n\n=> (symbol->string :hello)")
def symbol_to_string(sym: SymbolName) -> Value:
    return sym


@function("string->symbol", 'Returns the symbol of a name.\n\n=> (string->symbol "hello")')
def string_to_symbol(str: str) -> Value:
    return Symbol(str)


@function(
    "keyword->string", "Returns the name of a keyword.\n\n=> (keyword->string (quote :hello))"
)
def keyword_to_string(sym: KeywordName) -> Value:
    return sym


@function("string->keyword", 'Returns the keyword of a name.\n\n=> (string->keyword "hello")')
def string_to_keyword(str: str) -> Value:
    return Keyword(str)


# --- for std modules ---


@function("string-upper-case", "Returns a string in upper case.", internal=True, where="upper-case")
def upper_case(str: str) -> Value:
    # As in Go, each letter stays one letter.
    return "".join(up if len(up := char.upper()) == 1 else char for char in str)


@builtin(
    "string-contains",
    "[str substr]",
    "Returns whether a string contains another one.",
    internal=True,
)
def contains(args: list[Value], scope: Scope, machine: Machine) -> Value:
    return arguments.text(args[1], "includes?") in arguments.text(args[0], "includes?")


@builtin(
    "string-split",
    "[delim str]",
    "Returns the parts of a string between delimiters.",
    internal=True,
)
def split(args: list[Value], scope: Scope, machine: Machine) -> Value:
    text, delimiter = (arguments.text(each, "split") for each in args)
    return from_list(text.split(delimiter) if delimiter else list(text))


@builtin(
    "string-join", "[delim strs]", "Joins strings, with a delimiter between them.", internal=True
)
def join(args: list[Value], scope: Scope, machine: Machine) -> Value:
    members = arguments.items(args[1], "join")
    if len(members) < 2:
        return members[0] if members else ""
    return _whole(display(args[0]).join([display(member) for member in members]))


@function(
    "string-length", "Returns the number of bytes of a string.", internal=True, where="length"
)
def length(str: str) -> Value:
    return len(bytes_of(str))


@builtin(
    "time-measure",
    "[form]",
    "Evaluates a form, and logs how long it took.",
    internal=True,
    operative=True,
)
def measure(args: list[Value], scope: Scope, machine: Machine) -> Value:
    before = machine.host.now()
    value = code(args[0])(scope, machine)
    took = (machine.host.now() - before).total_seconds()
    machine.host.log(f"(time {brief(args[0])}) took {took:.3f} s", {})
    return value


_QUOTED: Final = re2.compile(r"\\Q(?s:.*?)(?:\\E|$)")
_ONE_BYTE: Final = re2.compile(r"^(?:[^\\]|\\[^C])*\\C")
"""Matches patterns that contain the escape `\\C`, which matches one byte and so may split a character."""


def _no_pattern(source: str, reason: str) -> BassError:
    return BassError(f"regexp:case: {brief(source)} isn't a regular expression: {reason}")


@builtin(
    "regexp-case", "[str & re-fn-pairs]",
    "Evaluates the form after the first regular expression that matches a string, with $0, $1 and $name bound.",
    internal=True, operative=True, tail_calls=True,
)  # fmt: skip
def regexp_case(args: list[Value], scope: Scope, machine: Machine) -> Value:
    if len(args) % 2 == 0:
        raise bad_syntax(f"regexp:case has no form for its last pattern, {brief(args[-1])}")
    text = arguments.text(code(args[0])(scope, machine), "regexp:case")
    quiet = re2.Options()
    quiet.log_errors = False
    for pattern, form in zip(args[1::2], args[2::2], strict=True):
        if plain(pattern) is IGNORE:
            return code(form, True)(scope, machine)
        source = arguments.text(pattern, "regexp:case")
        if _ONE_BYTE.search(_QUOTED.sub("", source)):
            raise _no_pattern(source, r"invalid escape sequence: \C")
        try:
            found = re2.compile(source, options=quiet).search(text)
        except re2.error as error:
            [reason] = error.args
            raise _no_pattern(source, reason.decode(errors="replace")) from error
        if found is None:
            continue
        matched = {"$0": found[0]}
        groups = found.groups()
        matched.update((f"${number}", group or "") for number, group in enumerate(groups, 1))
        matched.update((f"${name}", group or "") for name, group in found.groupdict().items())
        return code(form, True)(Scope(matched, (scope,), scope.grounded), machine)
    raise BassError(f"regexp:case: no branch matches {brief(text)}")

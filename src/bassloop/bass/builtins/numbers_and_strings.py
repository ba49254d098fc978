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


@builtin("+", "nums", inline="+")
def add(args: list[Value], scope: Scope, machine: Machine) -> int:
    """Adds numbers.

    => (+ 20 20 2)
    """
    total = 0
    for arg in args:
        total += arg if arg.__class__ is int else arguments.integer(arg, "+")
    return total if INT_MIN <= total <= INT_MAX else wrap_int(total)


@builtin("*", "nums")
def multiply(args: list[Value], scope: Scope, machine: Machine) -> int:
    """Multiplies numbers.

    => (* 6 7)
    """
    product = 1
    for arg in args:
        product = product * arguments.integer(arg, "*")
        if not INT_MIN <= product <= INT_MAX:
            product = wrap_int(product)
    return product


@builtin("-", "[num & nums]", inline="-")
def subtract(args: list[Value], scope: Scope, machine: Machine) -> int:
    """Subtracts the other numbers from the first one, or negates a single number.

    => (- 50 5 3)

    => (- 42)
    """
    result = arguments.integer(args[0], "-")
    if len(args) == 1:
        return wrap_int(-result)
    for arg in args[1:]:
        result -= arguments.integer(arg, "-")
    return result if INT_MIN <= result <= INT_MAX else wrap_int(result)


@function("quot")
def quotient(num: int, denom: int) -> int:
    """Returns the whole part of a quotient.

    => (quot 85 2)
    """
    if denom == 0:
        raise BassError(f"quot: cannot divide {num} by zero")
    result = abs(num) // abs(denom)
    return wrap_int(result if (num < 0) == (denom < 0) else -result)


@function("max")
def largest(num: int, *nums: int) -> int:
    """Returns the largest number.

    => (max 1 42 7)
    """
    return max([num, *nums])


@function("min")
def smallest(num: int, *nums: int) -> int:
    """Returns the smallest number.

    => (min 99 42 70)
    """
    return min([num, *nums])


@builtin("=", "[val & vals]", inline="==")
def same(args: list[Value], scope: Scope, machine: Machine) -> bool:
    """Returns whether all values are equal: of the same type, and the same all the way down.

    => (= 42 (+ 40 2) (* 6 7))

    => (= {:a 1 :b 2} {:b 2 :a 1})
    """
    first = args[0]
    return all(equal(other, first) for other in args[1:])


def _chain(name: str, doc: str, holds: Callable[[int, int], bool]) -> None:
    def compare(args: list[Value], scope: Scope, machine: Machine) -> bool:
        numbers = [arguments.integer(arg, name) for arg in args]
        return all(holds(left, right) for left, right in itertools.pairwise(numbers))

    compare.__doc__ = doc
    builtin(name, "[num & nums]", inline=name)(compare)


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


@builtin("str", "vals")
def str_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Concatenates strings, and other values as they print.

    => (str "abc" 123 :def)
    """
    return _whole("".join([display(value) for value in args]))


@function("substring")
def substring(str: str, start: int, *end: int) -> Value:
    """Returns the part of a string from one offset to another, or to the end. Offsets count bytes.

    => (substring "abcdef" 2 4)
    """
    data = bytes_of(str)
    if len(end) > 1:
        raise arity("substring", 3, 2 + len(end))
    stop = end[0] if end else len(data)
    if not 0 <= start <= stop <= len(data):
        raise BassError(
            f"substring: there is no part from {start} to {stop} in a string of {len(data)} bytes"
        )
    return text_of(data[start:stop])


@function("trim")
def trim(str: str) -> Value:
    r"""Returns a string without white space at its ends.

    => (trim " hey\n")
    """
    return str.strip(_SPACE)


@function("symbol->string")
def symbol_to_string(sym: SymbolName) -> Value:
    """Returns the name of a symbol.

    => (symbol->string :hello)
    """
    return sym


@function("string->symbol")
def string_to_symbol(str: str) -> Value:
    """Returns the symbol of a name.

    => (string->symbol "hello")
    """
    return Symbol(str)


@function("keyword->string")
def keyword_to_string(sym: KeywordName) -> Value:
    """Returns the name of a keyword.

    => (keyword->string (quote :hello))
    """
    return sym


@function("string->keyword")
def string_to_keyword(str: str) -> Value:
    """Returns the keyword of a name.

    => (string->keyword "hello")
    """
    return Keyword(str)


# --- for std modules ---


@function("string-upper-case", internal=True, where="upper-case")
def upper_case(str: str) -> Value:
    """Returns a string in upper case."""
    # As in Go, each letter stays one letter.
    return "".join(up if len(up := char.upper()) == 1 else char for char in str)


@builtin("string-contains", "[str substr]", internal=True)
def contains(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns whether a string contains another one."""
    return arguments.text(args[1], "includes?") in arguments.text(args[0], "includes?")


@builtin("string-split", "[delim str]", internal=True)
def split(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the parts of a string between delimiters."""
    text, delimiter = (arguments.text(each, "split") for each in args)
    return from_list(text.split(delimiter) if delimiter else list(text))


@builtin("string-join", "[delim strs]", internal=True)
def join(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Joins strings, with a delimiter between them."""
    members = arguments.items(args[1], "join")
    if len(members) < 2:
        return members[0] if members else ""
    return _whole(display(args[0]).join([display(member) for member in members]))


@function("string-length", internal=True, where="length")
def length(str: str) -> Value:
    """Returns the number of bytes of a string."""
    return len(bytes_of(str))


@builtin("time-measure", "[form]", internal=True, operative=True)
def measure(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Evaluates a form, and logs how long it took."""
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


@builtin("regexp-case", "[str & re-fn-pairs]", internal=True, operative=True, tail_calls=True)
def regexp_case(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Evaluates the form after the first regular expression that matches a string, with $0, $1 and $name bound."""
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
        return code(form, True)(Scope(matched, (scope,), scope.grounded is True), machine)
    raise BassError(f"regexp:case: no branch matches {brief(text)}")

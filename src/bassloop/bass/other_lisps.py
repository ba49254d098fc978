"""Bass's equivalents of names from Scheme, Clojure and Common Lisp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRINT: Final = "(log x) prints for people, (emit x *stdout*) prints a value"
_FOLD: Final = "foldl or foldr"
_MACRO: Final = "defop, whose operands aren't evaluated; (eval form scope) evaluates one"
_TRUTH: Final = "true and false"

OTHER_LISPS: Final[Mapping[str, str]] = {
    "lambda": "fn",
    "λ": "fn",
    "define": "def, or defn for a function",
    "defun": "defn",
    "defvar": "def",
    "defparameter": "def",
    "setq": "def",
    "set!": "def, which binds a name anew; values don't change",
    "defmacro": _MACRO,
    "define-syntax": _MACRO,
    "$vau": "op, or defop with a name",
    "vau": "op, or defop with a name",
    "let*": "let, whose bindings see those before them: (let [x 1 y x] y)",
    "letrec": "let",
    "begin": "do",
    "progn": "do",
    "nil": "null",
    "t": "true",
    "#t": "true",
    "#f": "false",
    "#true": _TRUTH,
    "#false": _TRUTH,
    "else": ":else, or another keyword, which is true",
    "car": "first",
    "cdr": "rest",
    "cadr": "second",
    "nth": "first, second, third",
    "count": "length",
    "reduce": _FOLD,
    "fold": _FOLD,
    "inc": "(+ x 1)",
    "dec": "(- x 1)",
    "==": "=",
    "eq?": "=",
    "eqv?": "=",
    "equal?": "=",
    "procedure?": "applicative?",
    "fn?": "applicative?",
    "boolean": "bool",
    "list-ref": "first, second, third",
    "get": "a keyword: (:name scope)",
    "hash-map": "braces: {:name 1}",
    "display": _PRINT,
    "print": _PRINT,
    "println": _PRINT,
    "printf": _PRINT,
    "pr": _PRINT,
    "prn": _PRINT,
    "require": "use or import",
    "ns": "provide",
    "throw": "error",
    "raise": "error",
    "help": "(doc name), which describes a name",
    "exit": "Ctrl-D, which leaves the prompt",
    "quit": "Ctrl-D, which leaves the prompt",
}
"""Bass's word for each, with an explanation where that isn't enough. None of them is bound in Ground."""


def in_bass(name: str) -> str | None:
    """Return what to write instead of a name from another Lisp; None for any other name."""
    if name.startswith("'"):
        return f"(quote {name[1:] or 'form'})"
    if name.startswith("`"):
        return "list and conj, which make forms"
    return OTHER_LISPS.get(name)

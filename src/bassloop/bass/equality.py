"""When two values are the same."""

from __future__ import annotations

from bassloop.bass.paths import MemoryPath
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import Annotated, Bind, Cons, Pair, Scope, Secret, Value


def equal(one: Value, other: Value) -> bool:
    """Whether two values are equal: structurally, scopes regardless of order, thunks by content.

    Deep values are compared with a list of our own, not by recursion.
    """
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        while type(a) is Annotated:
            a = a.value
        while type(b) is Annotated:
            b = b.value
        if a is b:
            continue
        if type(a) is not type(b):
            return False
        if isinstance(a, Pair | Cons):
            waiting += [(a.d, b.d), (a.a, b.a)]
        elif isinstance(a, Scope):
            ours, theirs = dict(a.items()), dict(b.items())
            if ours.keys() != theirs.keys():
                return False
            waiting += [(value, theirs[name]) for name, value in ours.items()]
        elif isinstance(a, Bind):
            if len(a.forms) != len(b.forms):
                return False
            waiting += zip(a.forms, b.forms, strict=True)
        elif isinstance(a, Thunk):
            if a.digest() != b.digest():
                return False
        elif isinstance(a, Secret):
            if a.value != b.value:
                return False
        elif isinstance(a, MemoryPath):
            if a.files is not b.files or a.path != b.path:
                return False
        elif a != b:
            return False
    return True

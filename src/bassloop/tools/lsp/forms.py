"""Looking into forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.annotated import Located
from bassloop.bass.pair import Cell, Pair, plain
from bassloop.bass.values import EMPTY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.values import Value


def listed(form: Value) -> list[Value]:
    """The members of a list, with what follows its `&` as the last one."""
    members: list[Value] = []
    # What follows `&` is one form, whatever is in it.
    while isinstance(form, Cell):
        members.append(form.a)
        form = form.d
    if form is not EMPTY:
        members.append(form)
    return members


def threaded(members: Sequence[Value]) -> Value:
    """What `(-> x (f y) g)` evaluates: `(g (f x y))`."""
    form, *calls = members
    for each in calls:
        bare = plain(each)
        # A lookup reads as a list, but is a name like any other here.
        if isinstance(bare, Cell) and each.__class__ is Located and _in_brackets(each):
            form = Located(Pair(bare.a, Pair(form, bare.d)), each.range)
        else:
            form = Pair(each, Pair(form, EMPTY))
    return form


def _in_brackets(form: Located) -> bool:
    place = form.range
    return place.source.text[place.start : place.start + 1] in ("(", "[")

"""How ground's modules bind their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bassloop.bass.combiners import NativeOperative, builtin

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.values import Scope


def function(ground: Scope, name: str, formals: str, doc: str, **needs: bool) -> Callable[..., Any]:
    """Bind a function of Python under a name, with its documentation."""

    def decorate(written: Callable[..., Any]) -> Callable[..., Any]:
        ground.bindings[name] = builtin(name, formals, written, **needs)
        ground.docs[name] = doc
        return written

    return decorate


def operative(ground: Scope, name: str, formals: str, doc: str) -> Callable[..., Any]:
    """Bind an operative of Python: it gets machine, operands and scope."""

    def decorate(written: Callable[..., Any]) -> Callable[..., Any]:
        ground.bindings[name] = NativeOperative(name, formals, written)
        ground.docs[name] = doc
        return written

    return decorate

"""`parent/child` as it is written, before it is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from bassloop.bass import errors
from bassloop.bass.combiner import Combiner
from bassloop.bass.pathname import clean
from bassloop.bass.paths import DirPath, Path
from bassloop.bass.values import Object, Text, Value, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.bindings import Binder, Failure
    from bassloop.bass.machine import Machine
    from bassloop.bass.paths import NamePath
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Code


@final
class ExtendPath(Object):
    """`parent/child` as a form: calls what the parent evaluates to with the child, a name."""

    __slots__ = ("child", "parent")
    kind = "path form"

    def __init__(self, parent: Value, child: NamePath) -> None:
        self.parent = parent
        self.child = child

    def parts(self) -> Iterator[Text | Value]:
        forms = []
        form: Value = self
        while isinstance(form, ExtendPath):
            forms.append(form)
            form = form.parent
        yield form
        slash = "" if isinstance(form, Path) else "/"
        while forms:
            child = forms.pop().child
            yield Text(slash + clean(child.slash()) + "/" * isinstance(child, DirPath))
            slash = ""

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.parent, other.parent))
        pending.append((self.child, other.child))
        return True

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.compiler import code

        children = []
        form: Value = self
        while isinstance(form, ExtendPath):
            children.append(form.child)
            form = form.parent
        children.reverse()
        if isinstance(form, DirPath):
            path: Path = form
            for child in children:
                path = path.extend(child)
            return lambda scope, machine: path
        root = code(form)

        def run(scope: Scope, machine: Machine) -> Value:
            value = root(scope, machine)
            for child in children:
                parent = strip(value)
                if not isinstance(parent, Combiner):
                    raise errors.not_callable(parent)
                value = machine.call(parent, [child], scope)
            return value

        return run

    def binder(self) -> Binder:
        from bassloop.bass.bindings import constant_binder
        from bassloop.bass.compiler import code

        evaluate = code(self)

        def bind(scope: Scope, value: Value, machine: Machine) -> Failure | None:
            return constant_binder(self, evaluate(scope, machine))(scope, value, machine)

        return bind

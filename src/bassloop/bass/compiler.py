"""Forms become closures when they are first evaluated, and from then on only run.

The head of a combination is asked at run time what it is, as the language demands: it may be an operative that
wants its operands raw. Operands are compiled when an applicative first asks for their values. One thing is
known ahead: a name of Ground that no scope under Ground has bound (`Machine.rebound` has all names that were)
means what Ground has, in every scope that descends from it (`Scope.grounded`). So `(- n 1)` can be one
closure, guarded by those two conditions each time it runs (`special.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bassloop.bass import errors
from bassloop.bass.annotated import Located, WithMeta
from bassloop.bass.bind import Bind
from bassloop.bass.combiner import Combiner, Operative, Wrapped
from bassloop.bass.errors import BassError
from bassloop.bass.machine import TAIL
from bassloop.bass.pair import Cons, Pair, end_of, plain
from bassloop.bass.scope import MISSING, Scope
from bassloop.bass.symbol import Symbol
from bassloop.bass.values import EMPTY, Object

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine
    from bassloop.bass.ranges import Range
    from bassloop.bass.values import Code, Value


def code(form: Value, tail: bool = False) -> Code:
    """A form's code, compiled at most once. In tail position it may return `TAIL` instead of a value."""
    if not isinstance(form, Object):
        return lambda scope, machine: form
    cls = form.__class__
    if cls is Located or cls is Pair:
        try:
            return form.cached_tail if tail else form.cached  # type: ignore[attr-defined,no-any-return]
        except AttributeError:
            made = form.code(tail)
            if tail:
                form.cached_tail = made  # type: ignore[attr-defined]
            else:
                form.cached = made  # type: ignore[attr-defined]
            return made
    if cls is Cons or cls is Bind:
        try:
            return form.cached  # type: ignore[attr-defined,no-any-return]
        except AttributeError:
            made = form.cached = form.code()  # type: ignore[attr-defined]
            return made
    return form.code(tail)


def annotate_code(form: Located, tail: bool) -> Code:
    """What a form does that was read from a source: errors learn from it where they happened."""
    inner = form.form
    if form.comment or form.meta:
        from bassloop.bass.construct import documented

        return documented(form, _placed(inner, False, form.range))
    return _placed(inner, tail, form.range)


def _placed(inner: Value, tail: bool, place: Range) -> Code:
    if inner.__class__ is Pair:
        return pair_code(inner, tail, place)
    if inner.__class__ is Symbol:
        return symbol_code(inner.name, place)
    made = code(inner, tail)
    if not isinstance(inner, Object) or inner.__class__ in (Located, Cons, Bind):
        return made

    def run(scope: Scope, machine: Machine) -> Value:
        try:
            return made(scope, machine)
        except BassError as error:
            error.passed(place)
            raise

    return run


def symbol_code(name: str, place: Range | None = None) -> Code:
    """The value that a name is bound to."""

    def run(scope: Scope, machine: Machine) -> Value:
        at = scope
        while True:
            value = at.vars.get(name, MISSING)
            if value is not MISSING:
                return value
            parents = at.parents
            if len(parents) == 1:
                at = parents[0]
                continue
            value = at.get(name)
            if value is not MISSING:
                return value
            error = errors.unbound(name, scope)
            if place is not None:
                error.passed(place)
            raise error

    return run


def name_of(form: Value) -> Any:
    """The name that a form is nothing but; for every other form None, which is bound in no scope."""
    if form.__class__ is Located and not form.comment and form.meta is None:
        form = form.form
    return form.name if form.__class__ is Symbol else None


def pair_code(form: Pair, tail: bool, place: Range | None = None) -> Code:
    """A combination."""
    slow = _combination(form, tail, place)
    head = form.a
    if head.__class__ is Located and not head.comment and head.meta is None:
        head = head.form
    if head.__class__ is Symbol:
        from bassloop.bass.special import compile_special

        return compile_special(head.name, form.d, tail, place, slow) or slow
    return slow


def operands_of(form: Value) -> tuple[list[Value], Value]:
    """The operands of a combination as they are written, and what follows `&` (else the empty list)."""
    members: list[Value] = []
    while form.__class__ is Pair:
        members.append(form.a)
        form = form.d
    return members, form


def evaluate_operands(operands: Value, scope: Scope, machine: Machine) -> tuple[list[Value], Value]:
    """Evaluate operands, left to right; the values, and what ends their list (the empty list, mostly)."""
    members, rest = operands_of(operands)
    args = [code(member)(scope, machine) for member in members]
    if rest is EMPTY:
        return args, EMPTY
    return args, end_of(code(rest)(scope, machine), args)


def _combination(form: Pair, tail: bool, place: Range | None) -> Code:
    members, rest = operands_of(form.d)
    if rest is EMPTY and len(members) == 1:
        return _call_one(form, members, tail, place)
    if rest is EMPTY and len(members) == 2:
        return _call_two(form, members, tail, place)
    head, named = code(form.a), name_of(form.a)
    operands = form.d
    proper = rest is EMPTY
    codes: list[Code] | None = None

    def run(scope: Scope, machine: Machine) -> Value:
        nonlocal codes
        try:
            combiner = scope.vars.get(named, MISSING)
            if combiner is MISSING:
                parents = scope.parents
                if len(parents) == 1:
                    combiner = parents[0].vars.get(named, MISSING)
                if combiner is MISSING:
                    combiner = head(scope, machine)
            while combiner.__class__ is WithMeta:
                combiner = combiner.value
            if combiner.__class__ is Wrapped and proper:
                if codes is None:
                    codes = [code(member) for member in members]
                args = [operand(scope, machine) for operand in codes]
                result = combiner.underlying.apply(args, scope, machine)
            elif isinstance(combiner, Combiner):
                result = combiner.call(operands, scope, machine)
            else:
                result = quoted_combiner(combiner).call(operands, scope, machine)
            if tail:
                return result
            while result is TAIL:
                body, inner = machine.run, machine.scope
                machine.fuel -= 1
                if machine.fuel < 0:
                    machine.refuel()
                result = body(inner, machine)
            return result
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run


def _call_one(form: Pair, members: list[Value], tail: bool, place: Range | None) -> Code:
    """A combination with one operand: the general one, with the commonest cases written out."""
    head, named = code(form.a), name_of(form.a)
    operands = form.d
    operand: Code | None = None

    def run(scope: Scope, machine: Machine) -> Value:
        nonlocal operand
        try:
            combiner = scope.vars.get(named, MISSING)
            if combiner is MISSING:
                parents = scope.parents
                if len(parents) == 1:
                    combiner = parents[0].vars.get(named, MISSING)
                if combiner is MISSING:
                    combiner = head(scope, machine)
            while combiner.__class__ is WithMeta:
                combiner = combiner.value
            if combiner.__class__ is Wrapped:
                if operand is None:
                    operand = code(members[0])
                inside = combiner.underlying
                if inside.__class__ is Operative and inside.count == 1:
                    static = inside.static
                    inner = Scope(
                        {inside.name0: operand(scope, machine)}, inside.parents, static.grounded
                    )
                    if tail:
                        machine.run = inside.run
                        machine.scope = inner
                        return TAIL
                    machine.fuel -= 1
                    if machine.fuel < 0:
                        machine.refuel()
                    result = inside.run(inner, machine)
                else:
                    result = inside.apply([operand(scope, machine)], scope, machine)
            elif isinstance(combiner, Combiner):
                result = combiner.call(operands, scope, machine)
            else:
                result = quoted_combiner(combiner).call(operands, scope, machine)
            if tail:
                return result
            while result is TAIL:
                body, inner = machine.run, machine.scope
                machine.fuel -= 1
                if machine.fuel < 0:
                    machine.refuel()
                result = body(inner, machine)
            return result
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run


def _call_two(form: Pair, members: list[Value], tail: bool, place: Range | None) -> Code:
    """The same with two operands."""
    head, named = code(form.a), name_of(form.a)
    operands = form.d
    first: Code | None = None
    second: Code | None = None

    def run(scope: Scope, machine: Machine) -> Value:
        nonlocal first, second
        try:
            combiner = scope.vars.get(named, MISSING)
            if combiner is MISSING:
                parents = scope.parents
                if len(parents) == 1:
                    combiner = parents[0].vars.get(named, MISSING)
                if combiner is MISSING:
                    combiner = head(scope, machine)
            while combiner.__class__ is WithMeta:
                combiner = combiner.value
            if combiner.__class__ is Wrapped:
                if first is None or second is None:
                    first = code(members[0])
                    second = code(members[1])
                inside = combiner.underlying
                if inside.__class__ is Operative and inside.count == 2:
                    static = inside.static
                    inner = Scope(
                        {
                            inside.name0: first(scope, machine),
                            inside.name1: second(scope, machine),
                        },
                        inside.parents,
                        static.grounded,
                    )
                    if tail:
                        machine.run = inside.run
                        machine.scope = inner
                        return TAIL
                    machine.fuel -= 1
                    if machine.fuel < 0:
                        machine.refuel()
                    result = inside.run(inner, machine)
                else:
                    result = inside.apply(
                        [first(scope, machine), second(scope, machine)], scope, machine
                    )
            elif isinstance(combiner, Combiner):
                result = combiner.call(operands, scope, machine)
            else:
                result = quoted_combiner(combiner).call(operands, scope, machine)
            if tail:
                return result
            while result is TAIL:
                body, inner = machine.run, machine.scope
                machine.fuel -= 1
                if machine.fuel < 0:
                    machine.refuel()
                result = body(inner, machine)
            return result
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run


def quoted_combiner(value: Value) -> Combiner:
    """What a quoted form is that stands at the head of a combination. Raises `BassError` if it is no combiner."""
    bare = plain(value)
    if not isinstance(bare, Combiner):
        raise errors.not_callable(value)
    return bare


def body_code(forms: list[Value], tail: bool = True) -> Code:
    """Several forms, one after another: the value of the last."""
    if not forms:
        return lambda scope, machine: None
    if len(forms) == 1:
        return code(forms[0], tail)
    if len(forms) == 2:
        before, after = code(forms[0]), code(forms[1], tail)

        def both(scope: Scope, machine: Machine) -> Value:
            before(scope, machine)
            return after(scope, machine)

        return both
    first = [code(form) for form in forms[:-1]]
    last = code(forms[-1], tail)

    def run(scope: Scope, machine: Machine) -> Value:
        for each in first:
            each(scope, machine)
        return last(scope, machine)

    return run

"""Analyse the meaning of a text, as far as possible without evaluating it.

    found = analyse(text)
    found.problems                     # errors, warnings and hints
    found.meaning(found.at(offset))    # what the name at an offset is bound to

A name is reported as unbound only if nothing can bind it. Operatives may bind names where they are called, so no names
are reported in scopes that call anything that may be an operative. (Strictly, `name/child` is a call, too, but it's
treated as a path, which it is in all real scripts.)
"""

from __future__ import annotations

from bisect import bisect_right
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from bassloop.bass import reference
from bassloop.bass.errors import in_bass
from bassloop.bass.reference import ReferenceEntry
from bassloop.tools.lsp.operatives import HANDLERS
from bassloop.tools.lsp.text_model import (
    EVALUATING,
    Context,
    Definition,
    LexicalScope,
    Problem,
    Reference,
    TextSpan,
    read,
)
from bassloop.tools.lsp.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

ROUNDS: Final = 3
"""How many times a text is walked again because it rebinds Ground's operatives."""

ALIASES: Final = 20
"""The maximum length of a chain of aliases."""

HARMLESS: Final = frozenset(
    ("time:measure", "regexp:case", "github:check-hook", "git:github", "run:linux", "run:$")
)
"""Operatives of std that don't bind anything in the scope of their calls."""

MAX_PROBLEMS: Final = 200
MAX_SUGGESTIONS: Final = 20
"""The maximum number of problems, and of suggestions of similar names, which are slow to find."""


Load: TypeAlias = "Callable[[str], Analysis | None]"
"""Returns the analysis of a file, given its path relative to the text's directory, or None if there is no such file."""


def analyse(text: str, known: Iterable[str] = (), load: Load = lambda path: None) -> Analysis:
    """Analyse a text. Never raises.

    Args:
        known: names that are bound besides Ground's.
        load: loads a file that the text uses. It's called when the text refers to one of its members.
    """
    forms, errors = read(text)
    taken: frozenset[str] = frozenset()
    for _ in range(ROUNDS):
        walk = Walk(text, forms, HANDLERS, taken)
        bound = frozenset(each.name for each in walk.definitions) & HANDLERS.keys()
        if bound <= taken:
            break
        taken |= bound
    else:
        walk.top.is_open = True
    broken = [
        Problem(TextSpan(error.range.start, error.range.end), error.message, "error")
        for error in errors
        if error.range is not None
    ]
    return Analysis(text, walk, broken, frozenset(known), load)


class Analysis:
    """The definitions and references of a text, resolved."""

    def __init__(
        self, text: str, walk: Walk, broken: list[Problem], known: frozenset[str], load: Load
    ) -> None:
        self.text = text
        self.definitions = sorted(walk.definitions, key=lambda each: each.span.start)
        self.references = sorted(walk.references, key=lambda each: each.span.start)
        self.scopes = walk.scopes
        self._known = known
        self._load = load
        self._ground = reference.ground_entries()
        # A long text may use a name as often as it defines it, so each of these is found once.
        self._meanings: dict[
            tuple[LexicalScope, str], list[Definition] | ReferenceEntry | None
        ] = {}
        self._safe: dict[tuple[LexicalScope, str], bool] = {}
        self._starts = [each.span.start for each in self.references]
        self._find_open_scopes()
        # In a text with syntax errors, names may be at any offset.
        self.problems = broken or list(islice(self._find_problems(), MAX_PROBLEMS))

    # --- queries ---

    def at(self, offset: int) -> Reference | Definition | None:
        """Return the name at an offset."""
        index = bisect_right(self._starts, offset)
        for found in reversed(self.references[max(0, index - 3) : index]):
            if offset in found.whole:
                return found
        for definition in self.definitions:
            if definition.span.start > offset:
                break
            if offset in definition.span:
                return definition
        return None

    def meanings(self, found: Reference) -> list[Definition] | ReferenceEntry | None:
        """Return a name's definitions in the nearest scope that has any, or its entry in Ground."""
        key = (found.scope, found.name)
        if key not in self._meanings:
            self._meanings[key] = self._find_meanings(*key)
        return self._meanings[key]

    def _find_meanings(
        self, used_in: LexicalScope, name: str
    ) -> list[Definition] | ReferenceEntry | None:
        scope: LexicalScope | None = used_in
        while scope is not None:
            definitions = scope.names.get(name, ())
            # Within its scope, a name that `provide` exports has its original definition.
            inner = [each for each in definitions if each.inside is not used_in]
            if inner:
                return inner
            scope = scope.parent
        return self._ground.get(name)

    def meaning(self, found: Reference | Definition | None) -> Definition | ReferenceEntry | None:
        """Return what a name (without its members) is bound to, following aliases."""
        for _ in range(ALIASES):
            if found is None:
                return None
            if isinstance(found, Definition):
                inner = found.inside.names.get(found.name) if found.inside is not None else None
                if inner:
                    found = inner[-1]
                    continue
                return found
            meanings = self.meanings(found)
            if isinstance(meanings, ReferenceEntry) or meanings is None:
                return meanings
            found = meanings[-1]
        return None

    def member(self, found: Reference, upto: int) -> Definition | ReferenceEntry | None:
        """Return the definition of a lookup's member, if it's in std or a scope literal."""
        owner = self.meaning(found)
        for name, _ in found.members[: upto + 1]:
            if not isinstance(owner, Definition):
                return None
            if owner.module is not None and owner.module.std:
                # A module's scope has Ground as its parent.
                return self._std(owner.module.std).get(name) or self._ground.get(name)
            owner = self.names_in(owner).get(name)
            if isinstance(owner, Definition):
                owner = self.meaning(owner)
        return owner

    def names_in(self, owner: Definition) -> Mapping[str, Definition]:
        """Return the names that a definition's value binds, if it's a file or a scope literal."""
        scope = owner.members
        if owner.module is not None and owner.module.file:
            file = self._load(owner.module.file)
            scope = file.scopes[0] if file is not None else None
        if scope is None:
            return {}
        return {name: definitions[-1] for name, definitions in scope.names.items()}

    def visible(self, offset: int) -> dict[str, Definition]:
        """Return the names that are bound at an offset, innermost first."""
        names: dict[str, Definition] = {}
        around = [scope for scope in self.scopes if offset in scope.span]
        for scope in sorted(around, key=lambda each: each.span.end - each.span.start):
            for name, definitions in scope.names.items():
                if not _is_key(definitions[-1]):
                    names.setdefault(name, definitions[-1])
        return names

    def outline(self) -> list[Definition]:
        """Return what the text defines, including through `provide`, in order."""
        return [
            each
            for each in self.definitions
            if each.kind not in ("parameter", "key") and each.inside is None
        ]

    # --- problems ---

    def _find_open_scopes(self) -> None:
        """Mark the scopes with calls that may bind names in them."""
        for scope in self.scopes:
            if scope.parent is not None and scope.parent.is_open:
                scope.is_open = True
            if not scope.is_open:
                scope.is_open = any(not self._evaluates(head, unbound=True) for head in scope.heads)

    def _evaluates(self, head: Reference, *, unbound: bool) -> bool:
        """Return whether a call certainly evaluates its operands. `unbound` is the result for an unbound head."""
        if _is_special(head.name):
            return False
        every = self._all_meanings(head)
        if not every:
            return unbound
        if head.members:
            if len(every) > 1:
                return False
            full = self._full_name(head)
            member = self.member(head, len(head.members) - 1)
            if member is None and full and full.partition(":")[0] in reference.module_names():
                return unbound
            return full in HARMLESS or self._is_safe(member)
        key = (head.scope, head.name)
        if key not in self._safe:
            self._safe[key] = all(self._is_safe(meaning) for meaning in every)
        return self._safe[key]

    def _all_meanings(self, found: Reference) -> list[Definition | ReferenceEntry]:
        """Return all bindings of a name in its enclosing scopes, since which one applies may depend on time."""
        every: list[Definition | ReferenceEntry] = []
        scope: LexicalScope | None = found.scope
        while scope is not None:
            every.extend(scope.names.get(found.name, ()))
            scope = scope.parent
        if found.name in self._ground:
            every.append(self._ground[found.name])
        return every

    def _is_safe(self, meaning: Definition | ReferenceEntry | None) -> bool:
        for _ in range(ALIASES):
            if isinstance(meaning, ReferenceEntry):
                return meaning.kind != "operative"
            if meaning is None:
                return False
            if meaning.kind in EVALUATING:
                return True
            if meaning.alias is not None:
                alias = meaning.alias
                every = self._all_meanings(alias)
                if alias.members:
                    meaning = self.member(alias, len(alias.members) - 1)
                elif len(every) != 1:
                    return False
                else:
                    meaning = every[0]
            elif meaning.inside is not None:
                inner = meaning.inside.names.get(meaning.name, [])
                if len(inner) != 1:
                    return False
                meaning = inner[0]
            else:
                return False
        return False

    def _is_sure(self, context: Context | None) -> bool:
        """Return whether a form in a context is certainly evaluated."""
        passed = []
        while context is not None and context.sure is None:
            passed.append(context)
            context = context.parent
        sure = context is None or bool(context.sure)
        for each in reversed(passed):
            head = each.head
            sure = (
                sure and head is not None and self._evaluates(head, unbound=not head.scope.is_open)
            )
            each.sure = sure
        return sure

    def _find_problems(self) -> Iterator[Problem]:
        suggestions = 0
        for found in self.references:
            meanings = self.meanings(found)
            if meanings is None:
                if self._is_unbound(found):
                    suggestions += 1
                    hint = self._similar(found) if suggestions <= MAX_SUGGESTIONS else ""
                    yield Problem(found.span, f"unbound symbol: {found.name}{hint}", "warning")
            elif isinstance(meanings, ReferenceEntry):
                if meanings.deprecated and not found.members:
                    yield Problem(found.span, meanings.deprecated, "hint", deprecated=True)
            else:
                yield from self._find_missing_member(found, meanings)
        for each in self.definitions:
            std = each.module.std if each.module is not None else ""
            if std and std not in reference.module_names() and not _around_open(each, self.scopes):
                hint = _did_you_mean(std, reference.module_names())
                yield Problem(each.span, f"there is no standard module .{std}{hint}", "warning")

    def _similar(self, found: Reference) -> str:
        names = set(self._ground)
        scope: LexicalScope | None = found.scope
        while scope is not None:
            names.update(scope.names)
            scope = scope.parent
        return _did_you_mean(found.name, names)

    def _is_unbound(self, found: Reference) -> bool:
        return (
            not found.scope.is_open
            and not _is_special(found.name)
            and found.name not in self._known
            and self._is_sure(found.context)
        )

    def _find_missing_member(
        self, found: Reference, meanings: list[Definition]
    ) -> Iterator[Problem]:
        """Yield a warning for a member that a std module doesn't have."""
        if not found.members or len(self._all_meanings(found)) != 1:
            return
        module = meanings[0].module
        members = self._std(module.std) if module is not None and module.std else {}
        name, span = found.members[0]
        if not members or name in members or name in self._ground or _is_special(name):
            return
        if found.scope.is_open or not self._is_sure(found.context):
            return
        hint = _did_you_mean(name, members)
        yield Problem(span, f".{meanings[0].name} does not bind {name}{hint}", "warning")

    def _full_name(self, found: Reference) -> str:
        owner = self.meaning(found)
        if isinstance(owner, Definition) and owner.module is not None and owner.module.std:
            return ":".join((owner.module.std, *(name for name, _ in found.members)))
        return ""

    def _std(self, module: str) -> Mapping[str, ReferenceEntry]:
        return reference.module_entries(module) if module in reference.module_names() else {}


def _is_special(name: str) -> bool:
    """Return whether a name is bound by the script's caller, or by `regexp:case`."""
    return name == "main" or name[0] == "$" or (len(name) > 1 and name[0] == name[-1] == "*")


def _is_key(definition: Definition) -> bool:
    return definition.kind == "key"


def _around_open(definition: Definition, scopes: list[LexicalScope]) -> bool:
    return any(
        scope.is_open and definition in scope.names.get(definition.name, ()) for scope in scopes
    )


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    if (instead := in_bass(name)) is not None:
        return f" (in Bass, that is {instead})"
    size = len(name)
    alike = [each for each in names if abs(len(each) - size) <= 3]
    similar = get_close_matches(name, sorted(alike), n=2, cutoff=0.7)
    return f" (did you mean {' or '.join(similar)}?)" if similar else ""

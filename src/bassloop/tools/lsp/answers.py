"""Compute answers for editors from an analysis, in terms of offsets, without the protocol's types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bassloop.bass import reference
from bassloop.bass.reader import call_around, word_before
from bassloop.bass.reference import ReferenceEntry
from bassloop.tools.lsp.text_model import Definition, Reference, TextSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bassloop.tools.lsp.analysis import Analysis


KINDS = {
    "function": "function",
    "operative": "operative: takes its operands as written",
    "parameter": "parameter",
    "module": "module",
    "value": "",
    "data": "",
    "key": "key",
}


class Suggestion(NamedTuple):
    """A completion, which replaces `span`."""

    label: str
    kind: str
    detail: str
    about: str
    span: TextSpan
    deprecated: bool = False


class Target(NamedTuple):
    """The location of a definition: in a file, in a std module, or (if both are "") in the text itself."""

    file: str
    std: str
    span: TextSpan


class Signature(NamedTuple):
    """A function's signature: the text of a call, the spans of its parameters, and the active one."""

    label: str
    parameters: list[TextSpan]
    active: int
    about: str


# --- hover ---


def hover(found: Analysis, offset: int) -> tuple[TextSpan, str] | None:
    """Return the hover text for the name at an offset, as Markdown, and the name's span."""
    name = found.at(offset)
    if isinstance(name, Reference):
        index = _member_index(name, offset)
        if index is not None:
            member = found.member(name, index)
            prefix = ":".join((name.name, *(each for each, _ in name.members[:index])))
            span = TextSpan(name.span.start, name.members[index][1].end)
            if isinstance(member, ReferenceEntry):
                return span, _entry(member)
            return (span, _definition(found, member, f"{prefix}:")) if member is not None else None
        meaning = found.meaning(name)
        if isinstance(meaning, ReferenceEntry):
            return name.span, _entry(meaning)
        return (name.span, _definition(found, meaning)) if meaning is not None else None
    if isinstance(name, Definition):
        meaning = found.meaning(name)
        if isinstance(meaning, Definition):
            return name.span, _definition(found, meaning)
    return None


def _entry(entry: ReferenceEntry) -> str:
    return _markdown(
        entry.call, KINDS[entry.kind], entry.deprecated, entry.paragraphs, entry.examples
    )


def _definition(found: Analysis, definition: Definition, prefix: str = "") -> str:
    formals = definition.formals
    paragraphs, examples = reference.paragraphs_of(definition.doc)
    kind = KINDS[definition.kind]
    if definition.module is not None:
        std = definition.module.std
        about = reference.module_about(std) if std in reference.module_names() else ""
        return _markdown(definition.name, "module", "", (about,) if about else (), ())
    if definition.alias is not None:
        meaning = found.meaning(definition.alias)
        if definition.alias.members:
            meaning = found.member(definition.alias, len(definition.alias.members) - 1)
        if meaning is not None:
            formals = meaning.formals
            kind = KINDS[meaning.kind]
        if isinstance(meaning, ReferenceEntry) and not definition.doc:
            paragraphs, examples = meaning.paragraphs, meaning.examples
    written = ReferenceEntry(prefix + definition.name, "", "", formals, (), (), "").call
    return _markdown(written, kind, "", paragraphs, examples)


def _markdown(
    call: str, kind: str, deprecated: str, paragraphs: Iterable[str], examples: Iterable[str]
) -> str:
    parts = [f"```clojure\n{call}\n```"]
    if kind:
        parts.append(f"*{kind}*")
    if deprecated:
        parts.append(f"**deprecated**: {deprecated}")
    parts.extend(paragraphs)
    parts.extend(f"```clojure\n{example}\n```" for example in examples)
    return "\n\n".join(parts)


# --- completion ---


def complete(found: Analysis, offset: int) -> list[Suggestion]:
    """Return completions for the word before an offset."""
    word = word_before(found.text, offset)
    if word is None or "/" in word.text:
        return []
    if word.text.startswith("."):
        span = TextSpan(word.start, offset)
        return [
            Suggestion(f".{name}", "module", "standard module", reference.module_about(name), span)
            for name in reference.module_names()
        ]
    *heads, last = word.text.removeprefix("$").split(":")
    span = TextSpan(offset - len(last), offset)
    if heads:
        return list(_members(found, heads, offset, span))
    visible = found.visible(offset)
    own = [_suggestion(found, definition, span) for definition in visible.values()]
    return own + [
        _suggested(entry, span)
        for name, entry in reference.ground_entries().items()
        if name not in visible
    ]


def _members(
    found: Analysis, heads: list[str], offset: int, span: TextSpan
) -> Iterator[Suggestion]:
    owner = found.visible(offset).get(heads[0])
    for name in heads[1:]:
        owner = found.names_in(_resolved(found, owner)).get(name) if owner is not None else None
    if owner is None:
        return
    resolved = _resolved(found, owner)
    std = resolved.module.std if resolved.module is not None else ""
    if std in reference.module_names():
        for entry in reference.module_entries(std).values():
            yield _suggested(entry, span)
        return
    for definition in found.names_in(resolved).values():
        yield _suggestion(found, definition, span)


def _resolved(found: Analysis, definition: Definition) -> Definition:
    meaning = found.meaning(definition.alias or definition)
    return meaning if isinstance(meaning, Definition) else definition


def _suggested(entry: ReferenceEntry, span: TextSpan) -> Suggestion:
    about = "\n\n".join((*entry.paragraphs, *(f"=> {each}" for each in entry.examples)))
    return Suggestion(entry.name, entry.kind, entry.call, about, span, bool(entry.deprecated))


def _suggestion(found: Analysis, definition: Definition, span: TextSpan) -> Suggestion:
    meaning = found.meaning(definition)
    known = meaning if isinstance(meaning, Definition) else definition
    call = ReferenceEntry(known.name, "", "", known.formals, (), (), "").call
    return Suggestion(definition.name, known.kind, call, known.doc, span)


# --- calls ---


def signature(found: Analysis, offset: int) -> Signature | None:
    """Return the signature of the call around an offset, if it's known."""
    call = call_around(found.text, offset)
    name = found.at(call.head) if call is not None else None
    if call is None or not isinstance(name, Reference) or name.span.start != call.head:
        return None
    meaning = found.meaning(name)
    if name.members:
        meaning = found.member(name, len(name.members) - 1)
    if isinstance(meaning, Definition) and meaning.alias is not None:
        alias = meaning.alias
        meaning = found.meaning(alias)
        if alias.members:
            meaning = found.member(alias, len(alias.members) - 1)
    if meaning is None or meaning.formals is None:
        return None
    full = ":".join((name.name, *(each for each, _ in name.members)))
    label = ReferenceEntry(full, "", "", meaning.formals, (), (), "").call
    about = (
        meaning.paragraphs
        if isinstance(meaning, ReferenceEntry)
        else reference.paragraphs_of(meaning.doc)[0]
    )
    parameters = _parameters(label, len(full) + 2)
    return Signature(
        label, parameters, _active(parameters, label, call.operand), "\n\n".join(about)
    )


def _parameters(label: str, start: int) -> list[TextSpan]:
    """Return the spans of the parameters in a signature's text: words, and patterns in brackets."""
    spans: list[TextSpan] = []
    depth = 0
    begun = start
    for at in range(start, len(label)):
        char = label[at]
        depth += (char in "([{") - (char in ")]}")
        if (char == " " and depth == 0) or depth < 0:
            if begun < at and label[begun:at] != "&":
                spans.append(TextSpan(begun, at))
            begun = at + 1
    return spans


def _active(parameters: list[TextSpan], label: str, operand: int) -> int:
    """Return the parameter that takes an operand: the one after `&` takes all the rest."""
    last = len(parameters) - 1
    takes_rest = last >= 0 and label[: parameters[last].start].endswith("& ")
    return min(operand, last) if takes_rest else operand


# --- definitions, references, outline ---


def occurrences(found: Analysis, offset: int) -> list[tuple[TextSpan, bool]]:
    """Return all occurrences of the name at an offset, in order, and whether each is a definition.

    Only names that the text binds have occurrences.
    """
    name = found.at(offset)
    if isinstance(name, Reference) and _member_index(name, offset) is not None:
        return []
    meaning = found.meaning(name)
    if not isinstance(meaning, Definition):
        return []
    places = {each.span: True for each in found.definitions if found.meaning(each) is meaning}
    for each in found.references:
        if each.name == meaning.name and found.meaning(each) is meaning:
            places.setdefault(each.span, False)
    return sorted(places.items(), key=lambda place: place[0].start)


def target(found: Analysis, offset: int) -> Target | None:
    """Return where the name at an offset is defined."""
    for definition in found.definitions:
        if definition.module is not None and offset in definition.span:
            return _module_target(definition)
    name = found.at(offset)
    if name is None:
        return None
    if isinstance(name, Reference) and (index := _member_index(name, offset)) is not None:
        return _member_target(found, name, index)
    meaning = found.meaning(name)
    return Target("", "", meaning.span) if isinstance(meaning, Definition) else None


def _module_target(definition: Definition) -> Target | None:
    module = definition.module
    if module is not None and module.file:
        return Target(module.file, "", TextSpan(0, 0))
    if module is not None and module.std in reference.module_names():
        return Target("", module.std, TextSpan(0, 0))
    return None


def _member_target(found: Analysis, name: Reference, index: int) -> Target | None:
    base = found.meaning(name)
    if isinstance(base, Definition) and base.alias is not None:
        base = _resolved(found, base)
    module = base.module if isinstance(base, Definition) else None
    member = found.member(name, index)
    if module is not None and module.std and index == 0 and isinstance(member, ReferenceEntry):
        return Target("", f"{module.std}:{member.name}", TextSpan(0, 0))
    if not isinstance(member, Definition):
        return None
    return Target(module.file if module is not None else "", "", member.span)


def outline(found: Analysis) -> list[Definition]:
    """Return what the text defines with `def` and similar forms, in order."""
    return [each for each in found.outline() if each.whole != each.span]


def _member_index(name: Reference, offset: int) -> int | None:
    if offset <= name.span.end:
        return None
    for index, (_, span) in enumerate(name.members):
        if offset <= span.end:
            return index
    return None


class RenameError(Exception):
    """The name can't be renamed like this; the message gives the reason.

    The new name may be taken, or not be a name at all. Instead of predicting all such cases, the renamed text is
    analysed: each occurrence must have the same meaning as before, and nothing else may have it.
    """


def renameable(found: Analysis, offset: int) -> TextSpan | None:
    """Return the span of the name at an offset, or None if it can't be renamed."""
    return next((span for span, _ in occurrences(found, offset) if offset in span), None)


def rename(
    found: Analysis, offset: int, name: str, analyse: Callable[[str], Analysis]
) -> list[TextSpan]:
    """Return the spans to replace with the new name, in order. Raises RenameError.

    Args:
        analyse: analyses the text with the new name.
    """
    spans = [span for span, _ in occurrences(found, offset)]
    if not spans:
        raise RenameError("only a name that this file binds can be renamed")
    if name == found.text[spans[0].start : spans[0].end]:
        return []
    renamed, moved, end = [], [], 0
    for span in spans:
        renamed.append(found.text[end : span.start])
        start = sum(map(len, renamed))
        renamed.append(name)
        moved.append(TextSpan(start, start + len(name)))
        end = span.end
    again = analyse("".join([*renamed, found.text[end:]]))
    if len(again.problems) > len(found.problems):
        raise RenameError(f"{name!r} can't be a name here: {again.problems[0].message}")
    if [span for span, _ in occurrences(again, moved[0].start)] != moved:
        raise RenameError(f"{name!r} already means something else here, or isn't a name")
    return spans

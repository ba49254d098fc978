"""What the word at a prompt may become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.cursor import word_before
from bassloop.bass.reference import entry, module_names
from bassloop.bass.scope import MISSING, Scope
from bassloop.bass.values import strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.reference import ReferenceEntry
    from bassloop.bass.values import Value


def completions(scope: Scope, text: str, offset: int) -> Iterator[tuple[int, ReferenceEntry]]:
    """What may stand for the word before an offset, and how much of the text each replaces.

    Names of the scope; after `module:` those of the module; after `.` the modules of std.
    """
    word = word_before(text, offset)
    if word is None:
        return
    if word.text.startswith("."):
        for module in module_names():
            if module.startswith(word.text[1:]):
                yield len(word.text), _plain(f".{module}")
        return
    # A thunk's word refers to a name as $name.
    path = word.text.removeprefix("$")
    *heads, last = path.split(":")
    found: Value = scope
    for head in heads:
        bound = found.get(head)
        found = None if bound is MISSING else strip(bound)
        if not isinstance(found, Scope):
            return
    # A loaded module has all of Ground below it, which nobody means.
    names = list(found.vars) if heads and found.vars else found.names()
    for name in sorted(names):
        if name.startswith(last):
            yield len(last), entry(name, found.get(name))


def _plain(name: str) -> ReferenceEntry:
    from bassloop.bass.reference import ReferenceEntry

    return ReferenceEntry(name, "", "value", None, (), (), "")

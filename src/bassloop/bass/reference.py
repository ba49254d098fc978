"""The reference documentation of Ground and of the modules of std.

`bassloop doc`, completion and hovers use it. It evaluates std's modules, but never a script.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from bassloop.bass.builtins import ground
from bassloop.bass.combiner import Applicative, Builtin, Operative
from bassloop.bass.embedding import immediate_session, run_now
from bassloop.bass.host import Host
from bassloop.bass.path import DirPath
from bassloop.bass.printer import show
from bassloop.bass.registry import TABLE
from bassloop.bass.values import (
    EMPTY,
    MISSING,
    Cell,
    Value,
    WithMeta,
    end_of,
    plain,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROUPS: Final[Mapping[str, str]] = {
    "control": "Defining, branching, evaluating, raising errors",
    "binding": "Making combiners, binding names in child scopes, matching, threading",
    "lists_and_scopes": "Lists, scopes and metadata",
    "numbers_and_strings": "Numbers and comparison, strings and symbols",
    "predicates": "Predicates",
    "streams": "Sources and sinks",
    "paths": "Paths and files",
    "commands": "Commands and images",
    "thunks": "Thunks",
    "effects": "Running, loading, logging",
    "memos": "Memos",
    "": "Values",
}
"""The titles of the groups of Ground's names, in reading order, by the module of `builtins` that defines them."""


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """The documentation of a name.

    `kind` is "function" (which evaluates its operands), "operative" (which doesn't) or "value". `formals` is printed as
    in the language, None for a value. `paragraphs` don't include the `examples`.
    """

    name: str
    module: str
    kind: str
    formals: str | None
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    deprecated: str
    group: str = ""

    @property
    def full_name(self) -> str:
        """The name as a script that uses the module writes it."""
        return f"{self.module}:{self.name}" if self.module else self.name

    @property
    def call(self) -> str:
        """A sample call, such as `(map f xs)`; the name alone if it can't be called."""
        if self.formals is None:
            return self.full_name
        if self.formals[:1] in ("[", "("):
            return f"({self.full_name} {self.formals[1:-1]}".rstrip() + ")"
        return f"({self.full_name} & {self.formals})"


@cache
def ground_entries() -> Mapping[str, ReferenceEntry]:
    """Return the entries of everything that Ground binds, in its order."""
    return {name: entry(name, value, group=_group(name)) for name, value in ground().vars.items()}


@cache
def module_names() -> tuple[str, ...]:
    """Return the names of the modules of std, sorted."""
    files = (resources.files("bassloop.bass") / "std").iterdir()
    return tuple(
        sorted(file.name.removesuffix(".bass") for file in files if file.name.endswith(".bass"))
    )


@cache
def module_entries(module: str) -> Mapping[str, ReferenceEntry]:
    """Return the entries of a module of std. Raises `KeyError` if there is no such module."""
    if module not in module_names():
        raise KeyError(module)
    # A module may need an argument when it is loaded, as .git needs an image; any value will do here.
    program = f"(load (.{module} scratch))"
    session = immediate_session(Host())
    scope = run_now(session.evaluate(program, module, DirPath(".")))
    return {name: entry(name, value, module) for name, value in scope.vars.items()}


def find(name: str) -> ReferenceEntry | None:
    """Return the entry of a name of Ground, or of `module:name`; None if there is none."""
    module, colon, member = name.partition(":")
    if colon and module in module_names():
        return module_entries(module).get(member)
    return ground_entries().get(name)


def all_names() -> Iterable[str]:
    """Yield all full names."""
    yield from ground_entries()
    for module in module_names():
        yield from (each.full_name for each in module_entries(module).values())


def similar(name: str) -> list[str]:
    """Return up to three suggestions for an unknown name, the best first: in a module, or with a similar spelling."""
    names = list(all_names())
    members = [each for each in names if each.partition(":")[2] == name]
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    return list(dict.fromkeys([*members, *close]))[:3]


def module_about(module: str) -> str:
    """Return the comment at the beginning of a module's file; "" if there is none."""
    text = (resources.files("bassloop.bass") / "std" / f"{module}.bass").read_text()
    head, _, _ = text.partition("\n\n")
    lines = head.split("\n")
    if not all(line.startswith(";") for line in lines):
        return ""
    return " ".join(" ".join(line.lstrip("; ") for line in lines).split())


def entry(name: str, value: Value, module: str = "", group: str = "") -> ReferenceEntry:
    """Return the entry of a name that is bound to a value."""
    paragraphs, examples = paragraphs_of(_text(value, "doc"))
    kind, formals = _kind_of(value)
    return ReferenceEntry(
        name, module, kind, formals, paragraphs, examples, _text(value, "deprecated"), group
    )


def paragraphs_of(doc: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paragraphs of documentation, and its examples, which begin with `=>`."""
    parts = [part for part in doc.split("\n\n") if part]
    examples = tuple(part[2:].strip() for part in parts if part.startswith("=>"))
    return tuple(part for part in parts if not part.startswith("=>")), examples


def _group(name: str) -> str:
    definition = TABLE.get(name)
    return definition.function.__module__.rpartition(".")[2] if definition else ""


def _text(value: Value, key: str) -> str:
    if not isinstance(value, WithMeta):
        return ""
    text = value.meta.get(key)
    bare = None if text is MISSING else strip(text)
    return bare if isinstance(bare, str) else ""


def _kind_of(value: Value) -> tuple[str, str | None]:
    """Return the kind of a value, and its formals."""
    bare = plain(value)
    inside: Value = bare
    while isinstance(inside, Applicative):
        inside = inside.underlying
    if not isinstance(inside, Operative | Builtin):
        return "value", None
    return "function" if inside is not bare else "operative", formals_text(inside.formals)


def formals_text(formals: Value) -> str:
    """Return the formals of a combiner as they are written: `[x & rest]`."""
    bare = plain(formals)
    if bare is EMPTY:
        return "[]"
    if not isinstance(bare, Cell):
        return show(bare)
    members: list[Value] = []
    rest = end_of(bare, members)
    words = [formals_text(member) for member in members]
    if rest is not EMPTY:
        words += ["&", formals_text(rest)]
    return f"[{' '.join(words)}]"

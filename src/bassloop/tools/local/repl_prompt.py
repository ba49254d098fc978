"""The prompt in a terminal: history, multi-line entries, completion, interrupts."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus, has_selection
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout.processors import HighlightMatchingBracketProcessor
from prompt_toolkit.patch_stdout import patch_stdout

from bassloop.bass.errors import BassError, ReadError, render
from bassloop.bass.reader import indentation, read_source, word_before
from bassloop.bass.reference import ReferenceEntry, entry, module_names
from bassloop.bass.values import MISSING, Scope, strip
from bassloop.tools.local.repl import EntryInterrupted, Gone, Stuck, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyPressEvent

    from bassloop.bass.values import Value
    from bassloop.tools.local.repl import Evaluator

PROMPT: Final = "bass> "
SHOWN: Final = 10_000
"""The maximum number of characters shown of a value."""


def converse(evaluator: Evaluator) -> int:
    """Read entries and show their values until Ctrl-D, and return the exit status."""
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=_NameCompleter(evaluator.scope),
        complete_while_typing=False,
        key_bindings=_bindings(),
        multiline=True,
        prompt_continuation=lambda width, line, wrapped: "." * (width - 1) + " ",
        input_processors=[HighlightMatchingBracketProcessor(chars="()[]{}")],
    )
    with evaluator.interruptible():
        while True:
            evaluator.reset()
            try:
                # Background tasks may print while the user is typing.
                with patch_stdout(raw=True):
                    text = session.prompt(PROMPT)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return 0
            try:
                _answer(evaluator, text)
            except Stuck:
                click.echo("interrupted, but something is still running", err=True)
                return 130


def _answer(evaluator: Evaluator, text: str) -> None:
    """Show the values of an entry. Raises Stuck, Gone."""
    try:
        for value in evaluator.evaluate(text):
            click.echo(shown(value, SHOWN))
    except BassError as error:
        head, _, rest = render(error).partition("\n")
        click.secho(head, fg="red", bold=True, err=True)
        if rest:
            click.echo(rest, err=True)
    except EntryInterrupted:
        click.echo("interrupted", err=True)
    except (Stuck, Gone):
        raise
    except Exception:  # noqa: BLE001 - the definitions survive a bug
        click.echo(traceback.format_exc(), err=True)


def incomplete(text: str) -> bool:
    """Return whether a text is an incomplete program."""
    try:
        read_source(text, "")
    except ReadError as error:
        return error.incomplete
    return False


def _history() -> History:
    """Return the history of entries, which is saved in a file if possible."""
    path = Path(platformdirs.user_state_dir("bass-loop")) / "repl-history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Entries may contain secrets.
        path.touch(mode=0o600)
        path.open("a").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    in_entry = has_focus(DEFAULT_BUFFER)  # but not while searching the history

    @bindings.add("enter", filter=in_entry & ~has_selection)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if incomplete(buffer.text):
            before = buffer.document.text_before_cursor
            buffer.insert_text("\n" + " " * indentation(before))
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter", filter=in_entry)
    def _break(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        buffer.insert_text("\n" + " " * indentation(buffer.document.text_before_cursor))

    return bindings


class _NameCompleter(Completer):
    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        for length, found in completions(self._scope, document.text, document.cursor_position):
            about = found.paragraphs[0] if found.paragraphs else ""
            yield Completion(found.name, start_position=-length, display_meta=about)


def completions(scope: Scope, text: str, offset: int) -> Iterator[tuple[int, ReferenceEntry]]:
    """Yield the completions of the word before an offset, each with the length of the text that it replaces.

    They are the names in the scope or, after `module:`, in the module; after `.`, they are std's modules.
    """
    word = word_before(text, offset)
    if word is None:
        return
    if word.text.startswith("."):
        for module in module_names():
            if module.startswith(word.text[1:]):
                yield len(word.text), ReferenceEntry(f".{module}", "", "value", None, (), (), "")
        return
    # In `$`, the word $name refers to a name.
    path = word.text.removeprefix("$")
    *heads, last = path.split(":")
    found: Value = scope
    for head in heads:
        bound = found.get(head)
        found = None if bound is MISSING else strip(bound)
        if not isinstance(found, Scope):
            return
    # Exclude Ground, which is the parent of a module's scope.
    names = list(found.vars) if heads and found.vars else found.names()
    for name in sorted(names):
        if name.startswith(last):
            yield len(last), entry(name, found.get(name))

"""The prompt on a terminal: history, entries of several lines, completion, interruption."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.filters import has_selection
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout.processors import HighlightMatchingBracketProcessor
from prompt_toolkit.patch_stdout import patch_stdout

from bassloop.bass.cursor import indentation
from bassloop.bass.errors import BassError, ReadError, render
from bassloop.bass.reader import read_source
from bassloop.tools.repl.evaluator import Gone, Interrupted, Stuck, shown
from bassloop.tools.repl.names import completions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyPressEvent

    from bassloop.bass.scope import Scope
    from bassloop.tools.repl.evaluator import Evaluator

PROMPT: Final = "bass> "
SHOWN: Final = 10_000
"""Characters of a value that are shown; a terminal is no place for more."""


def converse(evaluator: Evaluator) -> int:
    """Read entries and show their values until Ctrl-D; the exit status."""
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=_Names(evaluator.scope),
        complete_while_typing=False,
        key_bindings=_bindings(),
        multiline=True,
        prompt_continuation=lambda width, line, wrapped: "." * (width - 1) + " ",
        input_processors=[HighlightMatchingBracketProcessor(chars="()[]{}")],
    )
    with evaluator.interruptible():
        while True:
            evaluator.listen()
            try:
                # What runs in the background may speak while somebody types.
                with patch_stdout(raw=True):
                    text = session.prompt(PROMPT)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return 0
            try:
                _answer(evaluator, text)
            except Stuck:
                click.echo("interrupted, though something goes on", err=True)
                return 130


def _answer(evaluator: Evaluator, text: str) -> None:
    """Show what an entry comes to. Raises Stuck, Gone."""
    try:
        for value in evaluator.evaluate(text):
            click.echo(shown(value, SHOWN))
    except BassError as error:
        head, _, rest = render(error).partition("\n")
        click.secho(head, fg="red", bold=True, err=True)
        if rest:
            click.echo(rest, err=True)
    except Interrupted:
        click.echo("interrupted", err=True)
    except (Stuck, Gone):
        raise
    except Exception:  # noqa: BLE001 - a fault of ours is no reason to lose what was defined
        click.echo(traceback.format_exc(), err=True)


def incomplete(text: str) -> bool:
    """Whether more text could make a program of it, and this is none."""
    try:
        read_source(text, "")
    except ReadError as error:
        return error.incomplete
    return False


def _history() -> History:
    """What was entered here before; only this time's, if there is nowhere to keep it."""
    path = Path(platformdirs.user_state_dir("bass-loop")) / "repl-history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Entries may hold what is nobody else's to read.
        path.touch(mode=0o600)
        path.open("a").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=~has_selection)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if incomplete(buffer.text):
            before = buffer.document.text_before_cursor
            buffer.insert_text("\n" + " " * indentation(before))
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _break(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        buffer.insert_text("\n" + " " * indentation(buffer.document.text_before_cursor))

    return bindings


class _Names(Completer):
    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        for length, entry in completions(self._scope, document.text, document.cursor_position):
            about = entry.paragraphs[0] if entry.paragraphs else ""
            yield Completion(entry.name, start_position=-length, display_meta=about)

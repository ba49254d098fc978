"""Helpers for the commands that evaluate scripts: errors with their place, and late imports."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from bassloop.bass.session import SessionDriver
    from bassloop.tools.local.driver import EventLoop
    from bassloop.tools.local.local_host import LateImports
    from bassloop.tools.local.thunk_runner import ThunkRunner

T = TypeVar("T")


def late_imports() -> LateImports:
    """Return how a script gets an event loop, and what runs thunks, once it needs them."""
    from bassloop.tools.local.local_host import LateImports

    return LateImports(_event_loop, _thunk_runner)


def run_late(session: Callable[[SessionDriver], Coroutine[Any, Any, T]]) -> T:
    """Return what a session's coroutine returns; it gets an event loop only if it waits for something."""
    from bassloop.tools.local.driver import Interrupted, LateDriver

    driver = LateDriver(_event_loop)
    try:
        return driver.run(session(driver))
    except Interrupted as error:
        raise KeyboardInterrupt from error


def _event_loop() -> EventLoop:
    from bassloop.tools.local import trio_loop

    return trio_loop


def _thunk_runner() -> type[ThunkRunner]:
    from bassloop.tools.local.thunk_runner import ThunkRunner

    return ThunkRunner


@contextmanager
def report_script_errors() -> Iterator[None]:
    """Show a script's error with the place in its source, and exit with 1; exit with 130 on an interrupt."""
    from bassloop.bass.errors import BassError, render
    from bassloop.tools.local.driver import Interrupted

    try:
        yield
    except BassError as error:
        headline, _, trace = render(error).partition("\n")
        click.secho(headline, fg="red", bold=True, err=True)
        if trace:
            click.echo(trace, err=True)
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)

"""Entries from a pipe: each is evaluated as soon as it is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bassloop.bass.errors import BassError, ReadError, render
from bassloop.bass.reader import read_source
from bassloop.tools.repl.evaluator import EntryInterrupted, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.tools.repl.evaluator import Evaluator


def follow(evaluator: Evaluator, lines: Iterable[str]) -> int:
    """Evaluate entries, print their values, wait for what they started, and return the exit status.

    It is 1 if anything failed.
    """
    status = 0
    for text in entries(lines):
        try:
            for value in evaluator.evaluate(text):
                click.echo(shown(value))
        except BassError as error:
            click.echo(render(error), err=True)
            status = 1
    try:
        evaluator.wait()
    except BassError as error:
        click.echo(render(error), err=True)
        status = 1
    except EntryInterrupted:
        return 130
    return status


def entries(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, joined where a form continues on the next ones."""
    pending = ""
    for line in lines:
        pending += line
        try:
            read_source(pending, "")
        except ReadError as error:
            if error.incomplete:
                continue
        if pending.strip():
            yield pending
        pending = ""
    if pending.strip():
        yield pending

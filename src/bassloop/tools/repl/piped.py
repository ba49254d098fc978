"""Entries that come through a pipe: each is evaluated as soon as it is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bassloop.bass.errors import BassError, ReadError, render
from bassloop.bass.reader import read_source
from bassloop.tools.repl.evaluator import Interrupted, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.tools.repl.evaluator import Evaluator


def follow(evaluator: Evaluator, lines: Iterable[str]) -> int:
    """Evaluate what comes and print its values; the exit status, 1 if anything failed.

    At the end it waits for what was started.
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
    except Interrupted:
        return 130
    return status


def entries(lines: Iterable[str]) -> Iterator[str]:
    """Lines, joined where a form goes on in the next ones."""
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

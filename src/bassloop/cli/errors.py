"""Print errors that the caller can fix as one message on standard error, without a traceback."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def report_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these types, or a group of only these, into a message and exit status 1."""
    try:
        yield
    except kinds as error:
        raise click.ClickException(str(error)) from error
    except BaseExceptionGroup as group:
        matching, rest = group.split(kinds)
        if matching is None or rest is not None:
            raise
        raise click.ClickException("\n".join(str(error) for error in _leaves(matching))) from group


OUTPUT_CLOSED = 141
"""The exit status if the output's reader is gone, the same as if SIGPIPE had ended the command."""


@contextmanager
def report_output_errors() -> Iterator[None]:
    """Exit quietly if the reader of the output is gone, and with a message if the disk is full.

    Rich turns a broken pipe into SystemExit, which a nursery raises in a group.
    """
    try:
        yield
    except (OSError, BaseExceptionGroup) as error:
        group = error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
        full = False
        for leaf in _leaves(group):
            if not isinstance(leaf, SystemExit | BrokenPipeError):
                full = isinstance(leaf, OSError) and leaf.errno == errno.ENOSPC
                if not full:
                    raise
        # Otherwise Python would fail again when it flushes the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if full:
            raise click.ClickException(
                "the output can't be written, or a temporary file: the disk is full"
            ) from error
        sys.exit(OUTPUT_CLOSED)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error

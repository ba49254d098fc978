"""Print errors that the caller can fix as one message on standard error, without a traceback."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@contextmanager
def report_errors(
    *kinds: type[Exception], advise: Callable[[str], Iterable[str]] = lambda message: ()
) -> Iterator[None]:
    """Turn errors of these types, or a group of only these, into a message and exit status 1.

    Args:
        advise: returns lines to add to a message.
    """
    try:
        yield
    except kinds as error:
        raise click.ClickException("\n".join([str(error), *advise(str(error))])) from error
    except BaseExceptionGroup as group:
        matching, rest = group.split(kinds)
        if matching is None or rest is not None:
            raise
        message = "\n".join(dict.fromkeys(str(error) for error in _leaves(matching)))
        raise click.ClickException("\n".join([message, *advise(message)])) from group


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
        is_output_full = _is_output_full()
        # Otherwise Python would fail again when it flushes the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if full:
            if is_output_full:
                raise click.ClickException(
                    "the output can't be written: the disk is full"
                ) from error
            raise click.ClickException(
                f"a temporary file can't be written: the disk of {tempfile.gettempdir()} is full. Make room there, or "
                "set TMPDIR to a folder with more room"
            ) from error
        sys.exit(OUTPUT_CLOSED)


@contextmanager
def report_refused_files() -> Iterator[None]:
    """Exit with a message if a file that the caller named, or one of the user's, may not be read or written."""
    try:
        yield
    except OSError as error:
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        if not refused or error.filename is None:
            raise
        path = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        raise click.ClickException(
            f"{path}: {error.strerror}. Change its permissions, or those of its folder, or name another one"
        ) from error


def _is_output_full() -> bool:
    """Return whether standard output is a file on a full disk, or a device such as /dev/full."""
    number = sys.stdout.fileno()
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fstatvfs(number).f_bavail == 0
    try:
        os.write(number, b"")
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error

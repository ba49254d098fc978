"""Errors that are the caller's to fix: one message on standard error, without a traceback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def report_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds, alone or in a group of nothing else, into a message and exit status 1."""
    try:
        yield
    except kinds as error:
        raise click.ClickException(str(error)) from error
    except BaseExceptionGroup as group:
        matching, rest = group.split(kinds)
        if matching is None or rest is not None:
            raise
        raise click.ClickException("\n".join(str(error) for error in _leaves(matching))) from group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error

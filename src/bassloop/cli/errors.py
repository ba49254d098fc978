"""A person's own mistake is told in one message, without a traceback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """Turn these errors, alone or in groups of their own kind, into a message and exit status 1."""
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

"""What is wrong with a script is shown with the place marked, and without a traceback of ours."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def script_errors() -> Iterator[None]:
    """Show a script's error on standard error, and exit with 1; with 130 when it was interrupted."""
    from bassloop.bass.errors import BassError, render
    from bassloop.tools.local.driver import Interrupted

    try:
        yield
    except BassError as error:
        text = render(error)
        head, _, rest = text.partition("\n")
        click.secho(head, fg="red", bold=True, err=True)
        if rest:
            click.echo(rest, err=True)
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)

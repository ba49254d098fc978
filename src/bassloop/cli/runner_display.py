"""What `bassloop runner` shows of its events: a line for each, for people or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bassloop.runner import RunnerEvent


class RunnerDisplay:
    """Called with each event of a runner."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: RunnerEvent) -> None:
        """Show one event."""
        if self._as_json:
            line = {"event": type(event).__name__, **asdict(event)}
            click.echo(json.dumps(line, default=str))
        else:
            now = datetime.now().astimezone().strftime("%H:%M:%S")
            click.echo(f"{click.style(now, dim=True)} {event}")

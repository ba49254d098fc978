"""`bassloop runners`: the connected runners, and what they run."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, find_settings, json_lines_option

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store import Run, RuntimeRecord, Store


@click.command()
@json_lines_option
@data_dir_option
def runners(as_json: bool, data_dir: Path | None) -> None:
    """List the runners that are connected to the daemon, and what they run.

    Run it where the daemon runs, with its settings.

    \b
    Example:
      bassloop runners --json
    """
    import trio

    from bassloop.store import StoreError, find_database
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import use_store

    settings = find_settings(data_dir=data_dir)

    async def read(store: Store) -> tuple[list[RuntimeRecord], list[Run]]:
        return await store.runtimes.connected(), await store.runs.unfinished()

    with report_errors(StoreError, DaemonError):
        connected, unfinished = trio.run(use_store, settings, read)
        database = find_database(settings.database)
        served = database.is_served()
    if not served:
        # The store still has the runners of a daemon that has ended.
        raise click.ClickException(f"no daemon serves {database}; nobody is connected")
    running: dict[str | None, list[Run]] = defaultdict(list)
    for run in unfinished:
        running[run.runtime_id].append(run)
    if not connected and not as_json:
        click.echo("nobody is connected", err=True)
    for runtime in connected:
        if as_json:
            click.echo(json.dumps(_fields(runtime, running[runtime.id])))
        else:
            click.echo("\n".join(_lines(runtime, running[runtime.id])))


def _fields(runtime: RuntimeRecord, runs: list[Run]) -> dict[str, Any]:
    from bassloop.runtimes import caveats

    return {
        "id": runtime.id,
        "login": runtime.login,
        "platform": f"{runtime.os}/{runtime.arch}",
        "priority": runtime.priority,
        "kind": runtime.kind,
        "connected_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(runtime.connected_at)),
        "runs": [
            {"id": run.id, "check": run.check_name, "repository": run.repository} for run in runs
        ],
        "caveats": list(caveats(runtime.kind)),
    }


def _lines(runtime: RuntimeRecord, runs: list[Run]) -> list[str]:
    fields = _fields(runtime, runs)
    since = time.strftime("%m-%d %H:%M:%S", time.gmtime(runtime.connected_at))
    what = f"{fields['login']:<20} {fields['platform']:<14} {fields['kind']:<9}"
    lines = [f"{since} {what} priority {runtime.priority}, {runtime.id}"]
    lines += [f"{'':>14} runs {run.id}  {run.repository}  {_flat(run.check_name)}" for run in runs]
    lines += [f"{'':>14} note: {caveat}" for caveat in fields["caveats"]]
    return lines


def _flat(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)

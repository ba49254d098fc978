"""`bassloop status`: the daemon's state, in a terminal."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, find_settings
from bassloop.lifecycle import DeliveryState

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings
    from bassloop.store import (
        Delivery,
        Figures,
        NodeRecord,
        RepositoryBacklog,
        RuntimeRecord,
        Store,
    )


@click.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--up", "only_up", is_flag=True, help="Print nothing; the exit status says if it answers."
)
def status(data_dir: Path | None, as_json: bool, only_up: bool) -> None:
    """Show whether the daemon runs and is ready, what it is working on, and what waits.

    Run it where the daemon runs, with its settings. It works whether the daemon runs or not. The exit status is 0 if
    the daemon is ready (with --up: if it answers), else 1.

    \b
    Example:
      bassloop status --json
    """
    from bassloop.tools.local_daemon import answers

    settings = find_settings(data_dir=data_dir)
    if only_up:
        sys.exit(0 if answers(settings) else 1)
    state = _state(settings)
    if as_json:
        click.echo(json.dumps(state))
    else:
        for line in _lines(state):
            click.echo(line)
    sys.exit(0 if state["ready"] else 1)


def _state(settings: Settings) -> dict[str, Any]:
    """Return the daemon's state, as JSON has it."""
    import trio

    from bassloop.store import StoreError, is_served
    from bassloop.tools.local_daemon import DaemonError, readiness
    from bassloop.tools.local_store import use_store

    with report_errors(StoreError, DaemonError):
        figures, runtimes, set_aside, backlog, nodes = trio.run(use_store, settings, _read)
        running = is_served(settings.database)
    answer = readiness(settings) if running else None
    waiting_since = figures.oldest_waiting_at
    return {
        "running": running,
        "answers": answer is not None,
        "ready": bool(answer and answer["ready"]),
        "parts": answer["parts"] if answer else {},
        "deliveries": figures.deliveries,
        "oldest_waiting_seconds": (
            None if waiting_since is None else max(time.time() - waiting_since, 0.0)
        ),
        "backlog": [
            {
                "repository": each.repository,
                "waiting": each.waiting,
                "handled": each.handled,
                "oldest_seconds": max(time.time() - each.oldest_at, 0.0),
            }
            for each in backlog
        ],
        "set_aside": [delivery.guid for delivery in set_aside],
        "runs": figures.runs,
        "runtimes": [f"{each.login} {each.os}/{each.arch}" for each in runtimes] if running else [],
        "nodes": {node.name: node.role for node in nodes},
        "database_bytes": figures.database_bytes,
        "free_bytes": figures.free_bytes,
    }


async def _read(
    store: Store,
) -> tuple[Figures, list[RuntimeRecord], list[Delivery], list[RepositoryBacklog], list[NodeRecord]]:
    set_aside = await store.deliveries.newest(10, None, states=(DeliveryState.SET_ASIDE,))
    backlog, nodes = await store.deliveries.backlog(5), await store.nodes.all()
    return await store.figures(), await store.runtimes.connected(), list(set_aside), backlog, nodes


def _lines(state: dict[str, Any]) -> list[str]:
    """Return the state for people, a fact per line."""
    from bassloop.units import format_size

    lines = [f"{'daemon':>12}  {_daemon(state)}"]
    for name, part in state["parts"].items():
        mark = click.style("ok", fg="green") if part["ready"] else click.style("FIX", fg="red")
        lines.append(f"{name:>12}  {mark} {part['why']}".rstrip())
    deliveries, runs = state["deliveries"], state["runs"]
    oldest = state["oldest_waiting_seconds"]
    age = "" if oldest is None else f", the oldest for {_age(oldest)}"
    waiting, handled = deliveries[DeliveryState.RECEIVED], deliveries[DeliveryState.HANDLING]
    lines += [
        f"{'deliveries':>12}  {waiting} waiting{age}; {handled} being handled",
        f"{'runs':>12}  {runs['queued']} queued; {runs['running']} running",
        f"{'runtimes':>12}  {', '.join(state['runtimes']) or 'none connected'}",
        *(f"{'node':>12}  {name} {role}" for name, role in state["nodes"].items()),
        f"{'database':>12}  {format_size(state['database_bytes'])}; "
        f"{format_size(state['free_bytes'])} of disk free",
    ]
    for each in state["backlog"]:
        lines.append(
            f"{'backlog':>12}  {each['repository'] or 'no repository'}: {each['waiting']} waiting, "
            f"{each['handled']} being handled, the oldest for {_age(each['oldest_seconds'])}"
        )
    if state["set_aside"]:
        lines.append(f"{'set aside':>12}  {', '.join(state['set_aside'])}")
        lines.append(
            f"{'':>12}  look: bassloop deliveries show GUID; again: bassloop deliveries replay GUID"
        )
    return lines


def _daemon(state: dict[str, Any]) -> str:
    if not state["running"]:
        return click.style("not running", fg="red")
    if not state["answers"]:
        working = [name for name, role in state["nodes"].items() if role == "works"]
        if working:
            there = ", ".join(working)
            return click.style(f"not answering here; there are nodes: {there}", fg="yellow")
        return click.style("running, but it does not answer", fg="red")
    if state["ready"]:
        return click.style("ready", fg="green")
    return click.style("not ready", fg="red")


def _age(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

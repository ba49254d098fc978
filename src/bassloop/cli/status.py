"""`bassloop status`, `nodes`, `drain` and `runners`: show what is running, and what it's doing."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, find_settings, json_lines_option
from bassloop.lifecycle import DeliveryState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bassloop.settings import Settings
    from bassloop.store import (
        Delivery,
        Figures,
        NodeRecord,
        RecentSpending,
        RepositoryBacklog,
        Run,
        RuntimeRecord,
        Store,
    )


T = TypeVar("T")

GITHUB_POINTS = 900
"""How many points GitHub lets each credential spend per minute."""


@click.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--up",
    "only_up",
    is_flag=True,
    help="Print nothing; the exit status is 0 if the daemon answers.",
)
def status(data_dir: Path | None, as_json: bool, only_up: bool) -> None:
    """Show whether the daemon is running and ready, what it's working on, and what is waiting.

    Run it on the daemon's machine, with its settings, whether the daemon runs or not. The exit status is 0 if the
    daemon is ready (with --up: if it answers), otherwise 1.

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
        for line in _status_lines(state):
            click.echo(line)
    sys.exit(0 if state["ready"] else 1)


def _state(settings: Settings) -> dict[str, Any]:
    """Return the daemon's state as JSON data."""
    import trio

    from bassloop.store import StoreError, is_served
    from bassloop.tools.local_daemon import DaemonError, check_database, readiness, use_store

    with report_errors(StoreError, DaemonError):
        check_database(settings)
        running = is_served(settings.database)
        answer = readiness(settings) if running else None
        try:
            read = trio.run(use_store, settings, _read)
        except StoreError as error:
            if answer is None:
                raise
            # A running daemon can answer even if the database can't be read.
            parts = answer["parts"]
            return {
                "running": True,
                "answers": True,
                "ready": answer["ready"],
                "parts": parts,
                "error": str(error),
            }
        figures, runtimes, set_aside, backlog, nodes, spent = read
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
        "github_points": {
            credential: {
                "spent": each.points,
                "purposes": each.purposes,
                "a_minute": GITHUB_POINTS,
                "closed_seconds": max(each.closed_until - time.time(), 0.0),
            }
            for credential, each in sorted(spent.items())
        },
        "set_aside": [delivery.guid for delivery in set_aside],
        "runs": figures.runs,
        "runtimes": [f"{each.login} {each.os}/{each.arch}" for each in runtimes] if running else [],
        "nodes": {node.name: node.role for node in nodes},
        "database_bytes": figures.database_bytes,
        "free_bytes": figures.free_bytes,
    }


async def _read(
    store: Store,
) -> tuple[
    Figures,
    list[RuntimeRecord],
    list[Delivery],
    list[RepositoryBacklog],
    list[NodeRecord],
    dict[str, RecentSpending],
]:
    set_aside = await store.deliveries.newest(10, None, states=(DeliveryState.SET_ASIDE,))
    backlog, nodes = await store.deliveries.backlog(5), await store.nodes.all()
    spent = await store.api_spending.recent(time.time() - 60.0)
    figures, runtimes = await store.figures(), await store.runtimes.connected()
    return figures, runtimes, list(set_aside), backlog, nodes, spent


def _status_lines(state: dict[str, Any]) -> list[str]:
    """Return the state as text for people, one fact per line."""
    from bassloop.units import format_size

    lines = [f"{'daemon':>12}  {_daemon_line(state)}"]
    for name, part in state["parts"].items():
        mark = click.style("ok", fg="green") if part["ready"] else click.style("FIX", fg="red")
        lines.append(f"{name:>12}  {mark} {part['why']}".rstrip())
    if "error" in state:
        return [*lines, f"{'database':>12}  {click.style('FIX', fg='red')} {state['error']}"]
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
    for credential, each in state["github_points"].items():
        closed = each["closed_seconds"]
        until = f"; GitHub refuses calls for {_age(closed)} more" if closed else ""
        spent = ", ".join(
            f"{purpose.replace('_', ' ')} {points}" for purpose, points in each["purposes"].items()
        )
        lines.append(
            f"{'budget':>12}  {credential}: {each['spent']} of {each['a_minute']} points spent in the last "
            f"minute{f' ({spent})' if spent else ''}{until}"
        )
    if state["set_aside"]:
        lines.append(f"{'set aside':>12}  {', '.join(state['set_aside'])}")
        lines.append(
            f"{'':>12}  look: bassloop deliveries show GUID; again: bassloop deliveries replay GUID"
        )
    return lines


def _daemon_line(state: dict[str, Any]) -> str:
    if not state["running"]:
        return click.style("not running", fg="red")
    if not state["answers"]:
        working = [name for name, role in state["nodes"].items() if role == "works"]
        if working:
            there = ", ".join(working)
            return click.style(f"not answering here; there are nodes: {there}", fg="yellow")
        return click.style("running, but it doesn't answer", fg="red")
    if state["ready"]:
        return click.style("ready", fg="green")
    return click.style("not ready", fg="red")


def _age(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


@click.command()
@json_lines_option
@data_dir_option
def nodes(as_json: bool, data_dir: Path | None) -> None:
    """List the daemons that share a database on PostgreSQL.

    \b
    Example:
      bassloop nodes
    """
    found = _ask(data_dir, lambda store: store.nodes.all())
    for node in found:
        click.echo(json.dumps(asdict(node)) if as_json else _node_line(node))
    if not any(node.alive for node in found):
        raise click.ClickException("no node is there")


@click.command()
@click.argument("name", metavar="NODE")
@data_dir_option
def drain(name: str, data_dir: Path | None) -> None:
    """Stop a node as soon as its checks have ended, or after DRAIN_SECONDS. The other nodes take over the rest.

    \b
    Example:
      bassloop drain loop-1
    """
    if not _ask(data_dir, lambda store: store.nodes.drain(name)):
        raise click.ClickException(f"no node {name} is there; bassloop nodes lists them")
    click.echo(f"{name} drains, and ends then")


def _ask(data_dir: Path | None, ask: Callable[[Store], Awaitable[T]]) -> T:
    import trio

    from bassloop.store import StoreError
    from bassloop.tools.local_daemon import DaemonError, use_store

    settings = find_settings(data_dir=data_dir)
    if settings.database_url is None:
        raise click.ClickException(
            "the database is a file, which only one daemon uses: see bassloop status. Nodes share a "
            "PostgreSQL database (DATABASE_URL)"
        )
    with report_errors(StoreError, DaemonError):
        return trio.run(use_store, settings, ask)


def _node_line(node: NodeRecord) -> str:
    from bassloop.units import format_duration

    role = node.role
    if not node.alive:
        role += f", not heard of for {format_duration(node.seen_seconds)}"
    return f"{node.name}  {role}  ({node.address}, version {node.version})"


@click.command()
@json_lines_option
@data_dir_option
def runners(as_json: bool, data_dir: Path | None) -> None:
    """List the runners that are connected to the daemon, and what they're running.

    Run it on the daemon's machine, with its settings.

    \b
    Example:
      bassloop runners --json
    """
    import trio

    from bassloop.store import StoreError, find_database
    from bassloop.tools.local_daemon import DaemonError, use_store

    settings = find_settings(data_dir=data_dir)

    async def read(store: Store) -> tuple[list[RuntimeRecord], list[Run]]:
        return await store.runtimes.connected(), await store.runs.unfinished()

    with report_errors(StoreError, DaemonError):
        connected, unfinished = trio.run(use_store, settings, read)
        database = find_database(settings.database)
        served = database.is_served()
    if not served:
        # After a daemon has ended, the store still lists its runners.
        raise click.ClickException(f"no daemon serves {database}; nobody is connected")
    running: dict[str | None, list[Run]] = defaultdict(list)
    for run in unfinished:
        running[run.runtime_id].append(run)
    if not connected and not as_json:
        click.echo("nobody is connected", err=True)
    for runtime in connected:
        if as_json:
            click.echo(json.dumps(_runner_fields(runtime, running[runtime.id])))
        else:
            click.echo("\n".join(_runner_lines(runtime, running[runtime.id])))


def _runner_fields(runtime: RuntimeRecord, runs: list[Run]) -> dict[str, Any]:
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


def _runner_lines(runtime: RuntimeRecord, runs: list[Run]) -> list[str]:
    fields = _runner_fields(runtime, runs)
    since = time.strftime("%m-%d %H:%M:%S", time.gmtime(runtime.connected_at))
    what = f"{fields['login']:<20} {fields['platform']:<14} {fields['kind']:<9}"
    lines = [f"{since} {what} priority {runtime.priority}, {runtime.id}"]
    lines += [f"{'':>14} runs {run.id}  {run.repository}  {_flat(run.check_name)}" for run in runs]
    lines += [f"{'':>14} note: {caveat}" for caveat in fields["caveats"]]
    return lines


def _flat(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)

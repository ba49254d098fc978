"""`bassloop nodes` and `bassloop drain`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, find_settings, json_lines_option

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bassloop.store import NodeRecord, Store

T = TypeVar("T")


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
        click.echo(json.dumps(asdict(node)) if as_json else _line(node))
    if not any(node.alive for node in found):
        raise click.ClickException("no node is there")


@click.command()
@click.argument("name", metavar="NODE")
@data_dir_option
def drain(name: str, data_dir: Path | None) -> None:
    """Let a node of this name finish what it does, for DRAIN_SECONDS at most, and end; others do the rest.

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
    from bassloop.tools.local_daemon import DaemonError
    from bassloop.tools.local_store import use_store

    settings = find_settings(data_dir=data_dir)
    if settings.database_url is None:
        raise click.ClickException(
            "the database is a file, which one daemon has: see bassloop status. Nodes share a database on "
            "PostgreSQL (DATABASE_URL)"
        )
    with report_errors(StoreError, DaemonError):
        return trio.run(use_store, settings, ask)


def _line(node: NodeRecord) -> str:
    from bassloop.units import format_duration

    role = node.role
    if not node.alive:
        role += f", not heard of for {format_duration(node.seen_seconds)}"
    return f"{node.name}  {role}  ({node.address}, version {node.version})"

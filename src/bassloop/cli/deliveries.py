"""`bassloop deliveries`: list, show, replay and skip the deliveries that GitHub sent."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bassloop.cli import SuggestingGroup
from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, find_settings, json_lines_option
from bassloop.lifecycle import DeliveryState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bassloop.settings import Settings
    from bassloop.store import Delivery, Run, Store

T = TypeVar("T")

STATES = tuple(state.value for state in DeliveryState)
PAGE = 500


@click.group("deliveries", cls=SuggestingGroup)
@data_dir_option
@click.pass_context
def deliveries(context: click.Context, data_dir: Path | None) -> None:
    """List and show the deliveries of GitHub's webhook, and replay those that were set aside.

    Run it on the daemon's machine, with its settings, whether the daemon runs or not.

    \b
    Example:
      bassloop deliveries list --state set_aside
    """
    context.obj = find_settings(data_dir=data_dir)


@deliveries.command("list")
@click.option("-n", "--limit", default=30, show_default=True, help="The maximum number to list.")
@click.option(
    "--state",
    type=click.Choice(STATES),
    multiple=True,
    help="List only deliveries in this state; may be repeated.",
)
@json_lines_option
@click.pass_obj
def list_(settings: Settings, limit: int, state: tuple[str, ...], as_json: bool) -> None:
    """List deliveries, newest first.

    \b
    Example:
      bassloop deliveries list --limit 100 --state failed --state set_aside
    """

    async def read(store: Store) -> list[Delivery]:
        found: list[Delivery] = []
        while len(found) < limit:
            before = found[-1].guid if found else None
            page = await store.deliveries.newest(
                min(limit - len(found), PAGE), before, states=state
            )
            found += page
            if not page:
                break
        return found

    found = _use_store(settings, read)
    if as_json:
        for delivery in found:
            click.echo(json.dumps(_fields(delivery)))
        return
    if not found:
        click.echo("no deliveries", err=True)
    for delivery in found:
        click.echo(_line(delivery))


@deliveries.command()
@click.argument("guid")
@click.option("--body", is_flag=True, help="Print only the payload.")
@click.pass_obj
def show(settings: Settings, guid: str, body: bool) -> None:
    """Show a delivery, and the runs that it started.

    \b
    Example:
      bassloop deliveries show 72d3162e-cc78-11e3-81ab-4c9367dc0958
    """

    async def read(store: Store) -> tuple[Delivery | None, list[Run]]:
        found = await store.runs.newest(PAGE, public_only=False, delivery=guid)
        return await store.deliveries.get(guid), list(found.items)

    delivery, runs = _use_store(settings, read)
    if delivery is None:
        raise click.ClickException(f"no delivery {guid} is stored")
    if body:
        payload = _use_store(settings, lambda store: store.deliveries.body(guid))
        sys.stdout.buffer.write(payload)
        sys.stdout.buffer.write(b"\n")
        return
    for name, value in _fields(delivery).items():
        if value not in (None, ""):
            click.echo(f"{name:>12}  {_flat(str(value))}")
    for run in reversed(runs):
        click.echo(f"{'run':>12}  {run.id}  {run.state}  {_flat(run.check_name)}")
        if run.message:
            click.echo(f"{'':>12}  {_flat(run.message)}")


@deliveries.command()
@click.argument("guid")
@click.option("--url", metavar="URL", help="The daemon's address (default: setting LISTEN).")
@click.pass_obj
def replay(settings: Settings, guid: str, url: str | None) -> None:
    """Replay a delivery that failed or was set aside.

    \b
    Example:
      bassloop deliveries replay 72d3162e-cc78-11e3-81ab-4c9367dc0958
    """
    from bassloop.store import is_served
    from bassloop.tools.local_daemon import DaemonError, redeliver

    delivery = _use_store(settings, lambda store: store.deliveries.get(guid))
    if delivery is None:
        raise click.ClickException(f"no delivery {guid} is stored")
    if delivery.state not in (DeliveryState.FAILED, DeliveryState.SET_ASIDE):
        raise click.ClickException(
            f"the delivery is {delivery.state}; only one that failed or was set aside can be replayed"
        )
    if is_served(settings.database):
        with report_errors(DaemonError):
            body = _use_store(settings, lambda store: store.deliveries.body(guid))
            click.echo(_flat(redeliver(settings, delivery, body, url)))
    else:
        _use_store(settings, lambda store: store.deliveries.replay(guid))
        click.echo("it will be handled when the daemon starts")


@deliveries.command()
@click.argument("guid", nargs=-1)
@click.option("--repository", metavar="OWNER/NAME", help="Skip only deliveries of this repository.")
@click.option("--event", metavar="EVENT", help="Skip only deliveries of this event, such as push.")
@click.option(
    "--older-than", metavar="DURATION", help="Skip only deliveries older than this, such as 90m."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def skip(
    settings: Settings,
    guid: tuple[str, ...],
    repository: str | None,
    event: str | None,
    older_than: str | None,
    yes: bool,
) -> None:
    """Skip waiting deliveries that nobody needs any more, such as those from an old outage.

    Skipped deliveries can't be replayed. Deliveries that are being handled, or that have started checks, aren't
    skipped.

    \b
    Example:
      bassloop deliveries skip --repository octocat/hello --older-than 6h
    """
    from bassloop.units import parse_duration

    if not (guid or repository or event or older_than):
        raise click.UsageError(
            "which deliveries? Give a GUID, --repository, --event or --older-than (--older-than 0s skips all)"
        )
    before = None
    if older_than is not None:
        with report_errors(ValueError):
            before = time.time() - parse_duration(older_than)

    def skipped(dry_run: bool) -> list[str]:
        return _use_store(
            settings,
            lambda store: store.deliveries.skip(guid, repository, event, before, dry_run=dry_run),
        )

    count = len(skipped(dry_run=True))
    if not count:
        raise click.ClickException("no such delivery waits")
    if not yes:
        click.confirm(f"skip {_deliveries(count)} for good?", abort=True, err=True)
    click.echo(f"skipped {_deliveries(len(skipped(dry_run=False)))}")


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count:,} deliveries"


def _use_store(settings: Settings, use: Callable[[Store], Awaitable[T]]) -> T:
    import trio

    from bassloop.store import StoreError
    from bassloop.tools.local_daemon import DaemonError, use_store

    with report_errors(StoreError, DaemonError):
        return trio.run(use_store, settings, use)


def _fields(delivery: Delivery) -> dict[str, Any]:
    at = partial(time.strftime, "%Y-%m-%dT%H:%M:%SZ")
    later = delivery.not_before
    return {
        "guid": delivery.guid,
        "event": delivery.event,
        "action": delivery.action,
        "repository": delivery.repository,
        "head": delivery.head_sha,
        "sender": delivery.sender,
        "received": at(time.gmtime(delivery.received_at)),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "failures": delivery.failures,
        "postponed": delivery.postponed,
        "tried_again": None if later is None else at(time.gmtime(later)),
        "note": delivery.error,
    }


def _line(delivery: Delivery) -> str:
    at = time.strftime("%m-%d %H:%M:%S", time.gmtime(delivery.received_at))
    event = f"{delivery.event}.{delivery.action}" if delivery.action else delivery.event
    state = (
        "postponed"
        if delivery.state == DeliveryState.RECEIVED and delivery.postponed
        else delivery.state
    )
    where = f"{delivery.repository or '-'} {(delivery.head_sha or '-')[:12]}"
    parts = [f"{delivery.guid:<36}", f"{event:<24}", where, delivery.sender or "-"]
    note = f" ({_flat(delivery.error)})" if delivery.error else ""
    return f"{at} {state:<9} {' '.join(parts)}{note}"


def _flat(text: str) -> str:
    """Return untrusted text as one line without control characters, which could manipulate the terminal."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))

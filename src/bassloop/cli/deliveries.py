"""`bassloop deliveries`: what GitHub sent, what became of it, and once more, please."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import told
from bassloop.cli.run_address import daemon_address
from bassloop.cli.stored import stored

if TYPE_CHECKING:
    from bassloop.settings import Settings
    from bassloop.store import Delivery, Run, Store

STATES = ("received", "handling", "held", "done", "ignored", "failed", "set_aside")
PAGE = 500


@click.group("deliveries")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where data is kept (setting DATA_DIR)."
)
@click.pass_context
def deliveries(context: click.Context, data_dir: Path | None) -> None:
    """List and show the deliveries of GitHub's webhook, and replay those that were set aside.

    Run it where the daemon runs, with its settings. It works whether the daemon runs or not.
    """
    from bassloop.settings import SettingsError, load_settings

    with told(SettingsError):
        context.obj = load_settings(data_dir=data_dir)


@deliveries.command("list")
@click.option("-n", "--limit", default=30, show_default=True, help="How many, the newest first.")
@click.option("--state", type=click.Choice(STATES), multiple=True, help="Only those in a state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_(settings: Settings, limit: int, state: tuple[str, ...], as_json: bool) -> None:
    """List deliveries, the newest first."""

    async def read(store: Store) -> list[Delivery]:
        found: list[Delivery] = []
        while len(found) < limit:
            before = found[-1].guid if found else None
            page = await store.deliveries(min(limit - len(found), PAGE), before, states=state)
            found += page
            if not page:
                break
        return found

    found = stored(settings, read)
    if as_json:
        for delivery in found:
            click.echo(json.dumps(_fields(delivery)))
        return
    if not found:
        click.echo("there are none", err=True)
    for delivery in found:
        click.echo(_line(delivery))


@deliveries.command()
@click.argument("guid")
@click.option("--body", is_flag=True, help="Print the payload, and nothing else.")
@click.pass_obj
def show(settings: Settings, guid: str, body: bool) -> None:
    """Show one delivery, and the runs that it started."""

    async def read(store: Store) -> tuple[Delivery | None, list[Run]]:
        found = await store.runs(PAGE, public_only=False, delivery=guid)
        return await store.delivery(guid), list(found.items)

    delivery, runs = stored(settings, read)
    if delivery is None:
        raise click.ClickException(f"no delivery {guid} is stored")
    if body:
        sys.stdout.buffer.write(delivery.body)
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
@click.option("--url", metavar="URL", help="Where the daemon listens (default: setting LISTEN).")
@click.pass_obj
def replay(settings: Settings, guid: str, url: str | None) -> None:
    """Handle a delivery anew that failed or was set aside."""
    from bassloop.store import is_served

    delivery = stored(settings, lambda store: store.delivery(guid))
    if delivery is None:
        raise click.ClickException(f"no delivery {guid} is stored")
    if delivery.state not in ("failed", "set_aside"):
        raise click.ClickException(
            f"the delivery is {delivery.state}; only one that failed or was set aside is replayed"
        )
    if is_served(settings.database):
        click.echo(_redeliver(settings, delivery, url))
    else:
        stored(settings, lambda store: store.replay_delivery(guid))
        click.echo("it is handled when the daemon starts")


def _redeliver(settings: Settings, delivery: Delivery, url: str | None) -> str:
    """Deliver it to the daemon as GitHub does when it redelivers. Returns what the daemon said."""
    import httpx

    from bassloop.github import sign

    secret = settings.webhook_secret()
    if secret is None:
        raise click.ClickException("GITHUB_APP_WEBHOOK_SECRET is not set, but the daemon needs it")
    where = (url or daemon_address(settings)).rstrip("/")
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Delivery": delivery.guid,
        "X-Hub-Signature-256": sign(secret, delivery.body),
    }
    try:
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.post(
                f"{where}/integrations/github/events", content=delivery.body, headers=headers
            )
    except httpx.HTTPError as error:
        raise click.ClickException(
            f"the daemon at {where} did not answer: {error} (--url says where it listens)"
        ) from error
    said = _flat(answer.text)
    if answer.status_code != 202:
        raise click.ClickException(f"the daemon at {where} refused it: {answer.status_code} {said}")
    return said


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
    state = "postponed" if delivery.state == "received" and delivery.postponed else delivery.state
    where = f"{delivery.repository or '-'} {(delivery.head_sha or '-')[:12]}"
    parts = [f"{delivery.guid:<36}", f"{event:<24}", where, delivery.sender or "-"]
    note = f" ({_flat(delivery.error)})" if delivery.error else ""
    return f"{at} {state:<9} {' '.join(parts)}{note}"


def _flat(text: str) -> str:
    """Text of anybody's in one line for a terminal: nothing in it is more than a character."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))

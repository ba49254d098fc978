"""`bassloop status`: how the loop is, in a terminal."""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import told

if TYPE_CHECKING:
    from bassloop.settings import Settings
    from bassloop.store import Delivery, Figures, RuntimeRecord, Store

PATIENCE_SECONDS = 10.0


@click.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where data is kept (setting DATA_DIR)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--up", "only_up", is_flag=True, help="Only find out whether the daemon answers, in silence."
)
def status(data_dir: Path | None, as_json: bool, only_up: bool) -> None:
    """Show how the loop is: whether the daemon runs and is ready, and what is at work and waits.

    Run it where the daemon runs, with its settings. It works whether the daemon runs or not. The exit
    status is 0 when the daemon is ready (with --up: when it answers), and 1 when it is not.
    """
    from bassloop.settings import SettingsError, load_settings

    with told(SettingsError):
        settings = load_settings(data_dir=data_dir)
    if only_up:
        sys.exit(0 if _asked(settings, "/up") is not None else 1)
    picture = _picture(settings)
    if as_json:
        click.echo(json.dumps(picture))
    else:
        for line in _lines(picture):
            click.echo(line)
    sys.exit(0 if picture["ready"] else 1)


def _picture(settings: Settings) -> dict[str, Any]:
    """What is to be shown, as JSON has it."""
    from bassloop.cli.stored import stored
    from bassloop.store import is_served

    figures, runtimes, aside = stored(settings, _read)
    running = is_served(settings.database)
    answer = _asked(settings, "/ready") if running else None
    waiting = figures.oldest_waiting_at
    return {
        "running": running,
        "answers": answer is not None,
        "ready": bool(answer and answer["ready"]),
        "parts": answer["parts"] if answer else {},
        "deliveries": figures.deliveries,
        "oldest_waiting_seconds": None if waiting is None else max(time.time() - waiting, 0.0),
        "set_aside": [delivery.guid for delivery in aside],
        "runs": figures.runs,
        "runtimes": [f"{each.login} {each.os}/{each.arch}" for each in runtimes] if running else [],
        "database_bytes": figures.database_bytes,
        "free_bytes": figures.free_bytes,
    }


async def _read(store: Store) -> tuple[Figures, list[RuntimeRecord], list[Delivery]]:
    aside = await store.deliveries(10, None, states=("set_aside",))
    return await store.figures(), await store.runtimes(), list(aside)


def _asked(settings: Settings, path: str) -> dict[str, Any] | None:
    """What the daemon on this machine answers; None when it does not."""
    from bassloop.settings import parse_address, reached

    scheme = "https" if settings.tls_cert_path else "http"
    where = f"{scheme}://{reached(*parse_address(settings.listen))}{path}"
    # Its certificate is for its public name; this machine's own address needs none.
    unchecked = ssl._create_unverified_context() if scheme == "https" else None  # noqa: S323
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if unchecked is not None:
        handlers.append(urllib.request.HTTPSHandler(context=unchecked))
    try:
        with urllib.request.build_opener(*handlers).open(where, timeout=PATIENCE_SECONDS) as answer:
            said = answer.read()
    except urllib.error.HTTPError as error:
        said = error.read()  # not ready: it says why
    except OSError:
        return None
    try:
        found = json.loads(said) if path != "/up" else {}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _lines(picture: dict[str, Any]) -> list[str]:
    """The picture for people."""
    from bassloop.cli.units import bytes_said

    lines = [f"{'daemon':>12}  {_daemon(picture)}"]
    for name, part in picture["parts"].items():
        mark = click.style("ok", fg="green") if part["ready"] else click.style("MEND", fg="red")
        lines.append(f"{name:>12}  {mark} {part['why']}".rstrip())
    deliveries, runs = picture["deliveries"], picture["runs"]
    oldest = picture["oldest_waiting_seconds"]
    age = "" if oldest is None else f", the oldest since {_seconds(oldest)}"
    waiting, handled = deliveries["received"], deliveries["handling"]
    lines += [
        f"{'deliveries':>12}  {waiting} waiting{age}; {handled} handled",
        f"{'runs':>12}  {runs['queued']} queued; {runs['running']} running",
        f"{'runtimes':>12}  {', '.join(picture['runtimes']) or 'none connected'}",
        f"{'database':>12}  {bytes_said(picture['database_bytes'])}; "
        f"{bytes_said(picture['free_bytes'])} of disk free",
    ]
    if picture["set_aside"]:
        lines.append(f"{'set aside':>12}  {', '.join(picture['set_aside'])}")
        lines.append(f"{'':>12}  look: bassloop deliveries show GUID; again: … replay GUID")
    return lines


def _daemon(picture: dict[str, Any]) -> str:
    if not picture["running"]:
        return click.style("not running", fg="red")
    if not picture["answers"]:
        return click.style("runs, but does not answer where LISTEN says", fg="red")
    if picture["ready"]:
        return click.style("ready", fg="green")
    return click.style("not ready", fg="red")


def _seconds(seconds: float) -> str:
    """A duration for people, in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

"""`bassloop logs`: a run's logs in a terminal, as its page shows them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import told
from bassloop.cli.run_address import RunAddress, daemon_address, run_address
from bassloop.cli.sessions import session_headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import TextIOWrapper

    from bassloop.cli.log_feed import LogFeed

STATUS = {"succeeded": 0, "failed": 1, "queued": 4, "running": 4}
ENDED_OTHERWISE = 3
NOT_TO_BE_HAD = 5
PIPE_CLOSED = 141


@click.command("logs")
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Stay until the run is over.")
@click.option(
    "--vertex", metavar="V", help="Only this vertex: its number, its name, or a part of it."
)
@click.option(
    "--internal", is_flag=True, help="Also the vertexes that pages hide: a runner's own work."
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Keep colours. auto: in a terminal, unless NO_COLOR is set.",
)
@click.option("--url", metavar="URL", help="Where RUN's loop is (default: this machine's).")
@click.pass_context
def logs(
    context: click.Context,
    run: str,
    follow: bool,
    vertex: str | None,
    internal: bool,
    color: str,
    url: str | None,
) -> None:
    """Show the logs of RUN, an id or the address of a run's page.

    Those of a private repository are shown to who may read it: see `bassloop login`.

    Escape sequences are made safe: colours, attributes and links to web pages are kept in a terminal,
    nothing else, and nothing at all in a pipe. A lost connection is taken up again, without a line
    missing or coming twice.

    \b
    Exit status:
      0    the run succeeded
      1    it failed
      2    the command was not understood
      3    it ended in another way: cancelled, timed out, interrupted, …
      4    it has not ended (without --follow)
      5    there are no logs to be had: no such run, no such vertex, no answer
      130  interrupted, 141 the output was closed
    """
    from bassloop.settings import SettingsError, load_settings

    with told(SettingsError):
        server = url or daemon_address(load_settings())
    try:
        address = run_address(run, server)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="RUN") from error
    if vertex is not None:
        address = address._replace(vertex=vertex)
    context.exit(_shown(address, follow=follow, internal=internal, colour=_keeps_colour(color)))


def _shown(address: RunAddress, *, follow: bool, internal: bool, colour: bool) -> int:
    """Show the logs; returns the exit status."""
    import trio

    from bassloop.cli.log_display import LogDisplay, OutputError
    from bassloop.cli.log_feed import FeedError, LogFeed

    output = _utf8(sys.stdout)
    display = LogDisplay(
        output,
        colour=colour,
        live=follow and output.isatty(),
        names=address.vertex is None,
        internal=internal or address.vertex is not None,
    )
    headers = session_headers(address.server)
    feed = LogFeed(address, display, _say, follow=follow, headers=headers)
    try:
        try:
            trio.run(_serve, feed)
        finally:
            display.close()
    except FeedError as error:
        _say(str(error))
        return NOT_TO_BE_HAD
    except OutputError as error:
        # What is still to be flushed at the end would say the same again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.closed:
            return PIPE_CLOSED
        _say(str(error))
        return NOT_TO_BE_HAD
    if display.state not in STATUS:
        _say(f"the run ended: {display.state.replace('_', ' ')}")
    return STATUS.get(display.state, ENDED_OTHERWISE)


async def _serve(feed: LogFeed) -> None:
    from bassloop.cli.log_display import chosen
    from bassloop.cli.log_feed import FeedError

    wanted = feed.address.vertex
    if wanted is not None:
        try:
            feed.only = [chosen(await _vertexes(feed), wanted)]
        except ValueError as error:
            raise FeedError(str(error)) from error
    await feed.serve()


async def _vertexes(feed: LogFeed) -> Sequence[dict[str, Any]]:
    """The run's vertexes by now. Raises FeedError."""
    import httpx

    from bassloop.cli.log_feed import FeedError

    page = feed.address.page
    headers = [*feed.headers, ("Accept", "application/json")]
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            answer = await client.get(page, headers=headers)
        if answer.status_code == 404:
            raise FeedError(f"{page}: there is no such run, or it is not for you to see")
        vertexes: Sequence[dict[str, Any]] = answer.raise_for_status().json()["vertexes"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise FeedError(f"{page}: {error}") from error
    return vertexes


def _keeps_colour(color: str) -> bool:
    if color == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return color == "always"


def _utf8(output: Any) -> TextIOWrapper:
    """Standard output, for text in any language."""
    output.reconfigure(encoding="utf-8", errors="replace", write_through=False)
    wrapper: TextIOWrapper = output
    return wrapper


def _say(text: str) -> None:
    click.echo(f"bassloop logs: {text}", err=True)

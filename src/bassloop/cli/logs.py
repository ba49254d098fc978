"""`bassloop logs`: show a run's logs in a terminal, like its page does."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.errors import report_errors, report_output_errors
from bassloop.cli.options import read_run_address
from bassloop.lifecycle import RunState

if TYPE_CHECKING:
    from io import TextIOWrapper

    from bassloop.tools.log_feed import LogFeed
    from bassloop.tools.loop_client import RunAddress

EXIT_STATUSES: dict[str, int] = {
    RunState.SUCCEEDED: 0,
    RunState.FAILED: 1,
    RunState.QUEUED: 4,
    RunState.RUNNING: 4,
}
ENDED_OTHERWISE = 3
NO_LOGS = 5
OUTPUT_CLOSED = 141
NO_TRIAL = "there is no log: run `bassloop try` first"


@click.command("logs")
@click.argument("run", required=False)
@click.option("--last", is_flag=True, help="Show the log of the last `bassloop try`.")
@click.option(
    "--failed", is_flag=True, help="Show only why the run failed, and the relevant lines."
)
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the run has ended.")
@click.option(
    "--vertex",
    "step",
    metavar="V",
    help="Show only this step: its number, its name, or part of its name.",
)
@click.option(
    "--internal", is_flag=True, help="Include steps that pages hide: the runner's own work."
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Keep colours. auto: in a terminal, unless NO_COLOR is set.",
)
@click.option("--url", metavar="URL", help="The address of RUN's loop (default: this machine's).")
@click.pass_context
def logs(
    context: click.Context,
    run: str | None,
    last: bool,
    failed: bool,
    follow: bool,
    step: str | None,
    internal: bool,
    color: str,
    url: str | None,
) -> None:
    """Show the logs of RUN (the id of a run, or the address of its page), or those of the last trial.

    Runs of private repositories are shown to those who may read the repository: see `bassloop login`.

    In a terminal, colours, attributes and links to web pages are kept, and all other escape sequences are removed; a
    pipe gets plain text. If the connection is lost, it reconnects and continues.

    \b
    Example:
      bassloop logs https://loop.example.com/runs/0c9aXy --follow
      bassloop logs --failed https://loop.example.com/runs/0c9aXy

    \b
    Exit status:
      0    the run succeeded
      1    it failed
      2    the command line is wrong
      3    it ended in another way: cancelled, timed out, interrupted, …
      4    it has not ended (without --follow)
      5    there are no logs: no such run, no such step, no answer
      130  interrupted; 141 the output was closed
    """

    if last:
        if run is not None:
            raise click.UsageError("use either RUN or --last, not both")
        with report_output_errors():
            context.exit(
                _show_last_failures() if failed else _show_last(colour=_keeps_colour(color))
            )
    if run is None:
        raise click.UsageError("RUN is missing: a run's id or the address of its page, or --last")
    address = read_run_address(run, url)
    if failed:
        with report_output_errors():
            context.exit(_show_failure(address))
    if step is not None:
        address = address._replace(step=step)
    context.exit(_show(address, follow=follow, internal=internal, colour=_keeps_colour(color)))


def _show(address: RunAddress, *, follow: bool, internal: bool, colour: bool) -> int:
    """Show the logs, and return the exit status."""
    import trio

    from bassloop.cli.log_display import LogDisplay, OutputError
    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.log_feed import LogFeed
    from bassloop.tools.loop_client import LoopError

    output = _utf8(sys.stdout)
    display = LogDisplay(
        output,
        colour=colour,
        live=follow and output.isatty(),
        names=address.step is None,
        internal=internal or address.step is not None,
    )
    with report_errors(SignInError):
        headers = session_headers(address.server)
    feed = LogFeed(address, display, _notice, follow=follow, headers=headers)
    try:
        try:
            trio.run(_run, feed)
        finally:
            display.close()
    except LoopError as error:
        _notice(str(error))
        return NO_LOGS
    except OutputError as error:
        # Otherwise Python would fail again when it flushes the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.closed:
            return OUTPUT_CLOSED
        _notice(str(error))
        return NO_LOGS
    for name in display.lossy(feed.only):
        _notice(f"the end of this log is lost: {name}")
    if display.state not in EXIT_STATUSES:
        _notice(f"the run ended: {display.state.replace('_', ' ')}")
    return EXIT_STATUSES.get(display.state, ENDED_OTHERWISE)


def _show_failure(address: RunAddress) -> int:
    """Show why a run failed, and return the exit status: 0 if nothing has failed."""
    import trio

    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.failure_report import fetch_failure, render_failure
    from bassloop.tools.loop_client import LoopError

    with report_errors(SignInError):
        headers = session_headers(address.server)
    try:
        failure = trio.run(fetch_failure, address, headers)
    except LoopError as error:
        _notice(str(error))
        return NO_LOGS
    if failure is None:
        _notice("nothing in this run has failed")
        return 0
    click.echo(render_failure(failure, address.page))
    return 1


def _show_last_failures() -> int:
    """Show why checks of the last trial failed, and return the exit status: 0 if none did."""
    from bassloop.tools.failure_report import read_last_failures, render_failure

    try:
        failures = read_last_failures()
    except FileNotFoundError:
        _notice(NO_TRIAL)
        return NO_LOGS
    for check, failure in failures.items():
        click.echo(f"==> {check} <==\n{render_failure(failure)}\n")
    if not failures:
        _notice("no check of the last trial has failed; without --failed, its whole log is shown")
    return 1 if failures else 0


def _show_last(*, colour: bool) -> int:
    """Show the whole log of the last trial, and return the exit status: 0 if no check failed."""
    from bassloop.terminal import restyle, strip
    from bassloop.tools.failure_report import read_last_failures, read_last_log

    show = restyle if colour else strip
    try:
        for line in read_last_log():
            click.echo(show(line), color=colour)
        return 1 if read_last_failures() else 0
    except FileNotFoundError:
        _notice(NO_TRIAL)
        return NO_LOGS


async def _run(feed: LogFeed) -> None:
    """Run the feed for the step that the address names. Raises LoopError."""
    from bassloop.tools.loop_client import LoopClient, choose_step

    if feed.address.step is not None:
        run = await LoopClient(feed.address.server, feed.headers).get(feed.address.path)
        feed.only = [choose_step(run["vertexes"], feed.address.step)]
    await feed.run()


def _keeps_colour(color: str) -> bool:
    if color == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return color == "always"


def _utf8(output: Any) -> TextIOWrapper:
    """Return standard output, set to UTF-8 in any locale."""
    output.reconfigure(encoding="utf-8", errors="replace", write_through=False)
    wrapper: TextIOWrapper = output
    return wrapper


def _notice(text: str) -> None:
    click.echo(f"bassloop: {text}", err=True)

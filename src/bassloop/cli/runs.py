"""`bassloop artifacts`, `rerun`, `verify` and `mcp`: commands about the runs of a loop."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_run_address, read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.tools.loop_client import LoopClient, RunAddress
    from bassloop.tools.verification import VerificationReport


FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("artifacts")
@click.argument("run")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Download the artifacts into this folder: all, or those of PATH.",
)
@click.option("--url", metavar="URL", help="The address of RUN's loop (default: this machine's).")
def artifacts(run: str, paths: tuple[str, ...], folder: Path | None, url: str | None) -> None:
    """List the artifacts of RUN, or download them with --to.

    RUN is a run's id or the address of its page. Each file that is downloaded is compared with the SHA-256 that the
    loop lists, which `bassloop verify` compares with what the runner has signed. No file is overwritten.

    \b
    Example:
      bassloop artifacts https://loop.example.com/runs/0c9aXy
      bassloop artifacts https://loop.example.com/runs/0c9aXy --to build dist/hello.whl

    \b
    Exit status:
      0  they were listed, or downloaded
      1  some are not there, have expired, or can't be downloaded
      2  the command line is wrong
    """
    import trio

    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.loop_client import LoopClient, LoopError

    address = read_run_address(run, url)
    with report_errors(LoopError, SignInError):
        loop = LoopClient(address.server, session_headers(address.server))
        trio.run(_show, loop, address, paths, folder)


async def _show(
    loop: LoopClient, address: RunAddress, paths: tuple[str, ...], folder: Path | None
) -> None:
    from bassloop.cli.progress import show_progress
    from bassloop.tools.loop_client import download, list_artifacts
    from bassloop.units import format_size

    found = {each.path: each for each in await list_artifacts(loop, address)}
    if unknown := [path for path in paths if path not in found]:
        raise click.ClickException(f"the run has no artifact {unknown[0]}")
    wanted = [found[path] for path in paths or found]
    if not wanted:
        click.echo("this run has no artifacts", err=True)
    for number, each in enumerate(wanted):
        if folder is None:
            state = f"until {each.expires_at[:10]}" if each.kept else "expired"
            click.echo(f"{each.sha256}  {format_size(each.size):>10}  {state:<16}  {each.path}")
        elif each.kept:
            with show_progress() as progress:
                progress("downloading", number, len(wanted))
                target = await download(loop, address, each, folder)
            click.echo(target)
        elif paths:
            raise click.ClickException(f"{each.path} has expired")
        else:
            click.echo(f"{each.path} has expired", err=True)


@click.command("rerun")
@click.argument("run")
@click.option("--shell", is_flag=True, help="Open a shell just before the command that fails.")
@click.option(
    "--driver",
    type=click.Choice(["auto", "container", "host"]),
    default="auto",
    show_default=True,
    help="What runs the commands. auto: containers if an engine works, otherwise the host.",
)
@click.option(
    "--network",
    type=click.Choice(["own", "host", "none"]),
    default="own",
    show_default=True,
    help="The network of the commands.",
)
@click.option(
    "--unsandboxed", is_flag=True, help="Run commands on the host as you, without containing them."
)
@click.option("--url", metavar="URL", help="The address of RUN's loop (default: this machine's).")
def rerun(
    run: str, shell: bool, driver: str, network: str, unsandboxed: bool, url: str | None
) -> None:
    """Run the thunk of RUN on this machine: the same commands, images, files and variables.

    RUN is a run's id or the address of its page. Commands are contained, because they were written by somebody who can
    push to the repository. Secrets are those that you have set with `bassloop runner secret`.

    With --shell, you get a shell where the failing command would start, with its files, variables and services.

    \b
    Example:
      bassloop rerun https://loop.example.com/runs/0c9aXy --shell

    \b
    Exit status:
      0  it succeeded here
      1  it failed, or can't be run here
      2  the command line is wrong
    """
    import sys
    from typing import Any, cast

    import trio

    from bassloop.addresses import is_loopback
    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.loop_client import LoopError
    from bassloop.tools.rerun import RerunError, RerunOptions, fetch_run
    from bassloop.tools.rerun import rerun as run_again

    address = read_run_address(run, url)
    options = RerunOptions(
        driver=cast("Any", driver),
        network=cast("Any", network),
        unsandboxed=unsandboxed,
        shell=shell,
    )
    with report_errors(LoopError, RerunError, SignInError):
        remote = trio.run(fetch_run, address, session_headers(address.server))
        click.echo(f"{remote.check} of {remote.repository} at {remote.head_sha[:12]}", err=True)
        succeeded = trio.run(run_again, remote, options, click.echo)
    if not succeeded and network == "own" and is_loopback(address.server):
        click.echo(
            "\nThe commands had a network of their own, in which nothing that listens on this machine can be "
            "reached. If they need that, as with bassloop try: --network host",
            err=True,
        )
    sys.exit(0 if succeeded else 1)


@click.command()
@click.argument("statement", metavar="URL|FILE")
@click.option("--thunk", type=FILE, help="The thunk as JSON, to compare with a FILE's.")
@click.option(
    "--keys", type=FILE, help="The runner's owner's public keys, instead of GitHub's list."
)
@click.option(
    "--offline", is_flag=True, help="Don't ask GitHub for the keys of the runner's owner."
)
@click.option(
    "--url", metavar="URL", help="The loop's address, for a run's id (default: this machine's)."
)
@click.pass_context
def verify(
    context: click.Context,
    statement: str,
    thunk: Path | None,
    keys: Path | None,
    offline: bool,
    url: str | None,
) -> None:
    """Verify the statement that a runner signed for a run, without trusting the loop.

    URL is the address of the run's page, or its id: the statement, the thunk and the logs are fetched from the loop,
    and compared with what was signed. FILE is a statement downloaded from the run's page (a DSSE envelope), which is
    checked by itself. GitHub is asked whether the key belongs to its owner. A key that isn't listed is wrong, unless
    the loop at URL says that it was listed when the run ended. Then it's reported as something that couldn't be
    checked.

    \b
    Example:
      bassloop verify https://loop.example.com/runs/0c9aXy
      bassloop verify 0c9aXy.dsse.json --keys octocat.keys

    \b
    Exit status:
      0    what was checked is right; the output lists what couldn't be checked
      1    something is wrong
      2    the command line is wrong
      5    there is no statement: no such run, not signed, no answer
    """
    import trio

    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.loop_client import LoopError
    from bassloop.tools.verification import render, verify_file, verify_run

    known = None if keys is None else _read_file(keys).decode(errors="replace")
    path = Path(statement)

    run: Callable[[], Awaitable[VerificationReport]]
    if path.is_file():
        given = None if thunk is None else _read_file(thunk)
        text = _read_file(path)
        run = partial(verify_file, text, thunk=given, keys=known, online=not offline)
    else:
        address = read_run_address(statement, url, hint="URL|FILE")
        with report_errors(SignInError):
            headers = session_headers(address.server)
        run = partial(verify_run, address, headers, keys=known, online=not offline)
    try:
        report = trio.run(run)
    except LoopError as error:
        click.echo(f"bassloop verify: {error}", err=True)
        context.exit(5)
    click.echo(render(report))
    if report.wrong:
        click.echo("This statement is not valid.")
        context.exit(1)
    missing = " as far as it could be checked" if report.unchecked else ""
    click.echo(f"The statement is right{missing}.")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path} can't be read: {error.strerror}") from error


@click.command("mcp")
@click.option("--url", metavar="URL", help="The loop's address (default: this machine's).")
def mcp(url: str | None) -> None:
    """Let an agent query a loop (runs, failures, logs, searches, tests) and rerun checks.

    It speaks the Model Context Protocol on standard input and output, and has your permissions on the loop: see
    `bassloop login`. It needs the extra mcp: pipx install '.[mcp]'.

    \b
    Example (in the settings of an agent):
      {"mcpServers": {"ci": {"command": "bassloop", "args": ["mcp", "--url", "https://loop.example.com"]}}}
    """
    import trio

    from bassloop import __version__
    from bassloop.tools.device_login import SignInError, session_headers
    from bassloop.tools.local_daemon import daemon_address
    from bassloop.tools.loop_client import LoopClient

    try:
        from bassloop.tools.agent_server import agent_server
    except ImportError as error:
        raise click.ClickException(
            f"the extra mcp is not installed ({error}): pipx install '.[mcp]'"
        ) from error
    address = (url or daemon_address(read_settings())).rstrip("/")
    with report_errors(SignInError, ValueError):
        headers = session_headers(address)
    trio.run(agent_server(LoopClient(address, headers), __version__).run_stdio_async)

"""`bassloop rerun`: run what a loop ran, on this machine."""

from __future__ import annotations

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_run_address


@click.command("rerun")
@click.argument("run")
@click.option("--shell", is_flag=True, help="Open a shell just before the command that fails.")
@click.option(
    "--driver",
    type=click.Choice(["auto", "container", "host"]),
    default="auto",
    show_default=True,
    help="What runs the commands. auto: containers if an engine works, else the host.",
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

    With --shell you get a shell where the failing command would start, with all that it is given.

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
    sys.exit(0 if succeeded else 1)

"""`bassloop artifacts`: list and download the files that a loop has kept with a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_run_address

if TYPE_CHECKING:
    from bassloop.tools.loop_client import LoopClient, RunAddress


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
    from bassloop.tools.artifact_client import download, list_artifacts
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

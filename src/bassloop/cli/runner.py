"""`bassloop runner`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bassloop.cli.runner_prune import prune
from bassloop.cli.runner_secret import secret

if TYPE_CHECKING:
    from bassloop.runner import HostKey, RunnerOptions
    from bassloop.runner.options import DriverName


@click.command("runner")
@click.argument("loop", metavar="[LOGIN@]HOST[:PORT]")
@click.option(
    "--identity",
    "-i",
    "identities",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A private key to use, beside the agent's and those in ~/.ssh.",
)
@click.option(
    "--known-hosts",
    type=click.Path(path_type=Path),
    help="The file of known hosts (default: ~/.ssh/known_hosts).",
)
@click.option("--priority", "-p", type=int, default=0, help="Which of your runners comes first.")
@click.option(
    "--only",
    multiple=True,
    metavar="OWNER/REPO",
    help="Serve these repositories only (OWNER/* for all of an owner's); may be repeated.",
)
@click.option("--allow-host-path", is_flag=True, help="Let thunks name files of this machine.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where outputs are kept.")
@click.option(
    "--unsandboxed",
    is_flag=True,
    help="Run commands as you, not contained by bubblewrap: for repositories that you trust.",
)
@click.option(
    "--driver",
    type=click.Choice(["auto", "container", "host"]),
    default="auto",
    help="What runs commands: containers of Podman or Docker, or this machine itself "
    "(default: containers, where an engine works).",
)
@click.option(
    "--engine", type=click.Choice(["podman", "docker"]), help="Which engine runs containers."
)
@click.option("--cpus", type=float, help="Processors that a container may use.")
@click.option("--memory", metavar="BYTES", help="Memory that a container may use (512m, 2g).")
@click.option("--pids", type=int, help="Processes that a container may have.")
@click.option(
    "--publish",
    multiple=True,
    metavar="REGISTRY/NAME",
    help="Let thunks push images of this name, or in it, with your login; may be repeated.",
)
@click.option(
    "--git-credentials",
    is_flag=True,
    help="Check private repositories out with your own Git's credentials: whoever can push to one "
    "that you serve can do with them what you can.",
)
@click.option(
    "--allow-insecure",
    is_flag=True,
    help="Give thunks that ask for it a privileged container: it can do what root can.",
)
@click.option(
    "--disk",
    metavar="BYTES",
    help="What is kept may take so much (20g): least recently used goes first.",
)
@click.option("--no-network", is_flag=True, help="Let contained commands reach no network.")
@click.option("--jobs", "-j", type=int, help="How many commands run at the same time.")
@click.option("--check", is_flag=True, help="Verify keys, host, driver and clock, and end.")
@click.option("--json", "as_json", is_flag=True, help="Say what happens in JSON lines.")
@click.option("--verbose", "-v", is_flag=True, help="Say more.")
def dial(
    loop: str,
    identities: tuple[Path, ...],
    known_hosts: Path | None,
    priority: int,
    only: tuple[str, ...],
    allow_host_path: bool,
    state_dir: Path | None,
    unsandboxed: bool,
    driver: DriverName,
    engine: Literal["podman", "docker"] | None,
    cpus: float | None,
    memory: str | None,
    pids: int | None,
    publish: tuple[str, ...],
    git_credentials: bool,
    allow_insecure: bool,
    disk: str | None,
    no_network: bool,
    jobs: int | None,
    check: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run your checks on this machine: dial in to a loop and carry out what it asks.

    LOGIN is your GitHub login (default: your user name here), and your SSH key must be one that
    GitHub lists for it. Reconnects for ever; ends with an interrupt or SIGTERM.
    """
    import trio

    from bassloop.cli.errors import told
    from bassloop.cli.log_config import configure_logs
    from bassloop.cli.runner_display import RunnerDisplay
    from bassloop.runner import RunnerError, RunnerOptions, parse_destination, serve_runner
    from bassloop.runner.options import parse_size

    configure_logs("debug" if verbose else "warning")
    with told(RunnerError):
        login, host, port = parse_destination(loop)
        options = RunnerOptions(
            login=login,
            host=host,
            port=port,
            identities=identities,
            known_hosts=known_hosts,
            priority=priority,
            only=only,
            allow_host_path=allow_host_path,
            state_dir=state_dir,
            sandbox=not unsandboxed,
            network=not no_network,
            jobs=jobs,
            driver=driver,
            engine=engine,
            cpus=cpus,
            memory=None if memory is None else parse_size("--memory", memory),
            pids=pids,
            allow_insecure=allow_insecure,
            publish=publish,
            git_credentials=git_credentials,
            disk=None if disk is None else parse_size("--disk", disk),
        )
        if check:
            sys.exit(trio.run(_check, options))
        ask = _ask if sys.stdin.isatty() and not as_json else None
        display = RunnerDisplay(as_json=as_json)
        with display.showing():
            sys.exit(trio.run(serve_runner, options, display, ask))


class _Runner(click.Group):
    """`runner` with an address dials in; what looks after a runner are commands of it.

    The help is the one of dialling in, with those commands listed.
    """

    default = dial
    """What is meant when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a first word that is no command for what dialling in is told."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [DIAL, *args] if args else ["--help"]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command; dialling in has no name that a person types."""
        return dial if cmd_name == DIAL else super().get_command(ctx, cmd_name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write how to dial in, and then the commands."""
        with dial.make_context(ctx.info_name, [], parent=ctx.parent, resilient_parsing=True) as of:
            dial.format_help(of, formatter)
        self.format_commands(ctx, formatter)


DIAL = ""


@click.group(cls=_Runner)
def runner() -> None:
    """Run your checks on this machine."""


runner.add_command(secret)
runner.add_command(prune)


async def _ask(key: HostKey) -> bool:
    """Ask the person at the terminal whether a host's key is right."""
    import trio

    click.echo(f"The key of {key.where} is not known. It is {key.fingerprint}.")
    click.echo("Compare it with what the loop shows at /ssh.")
    question = "Remember it, and connect?"
    return await trio.to_thread.run_sync(lambda: click.confirm(question), abandon_on_cancel=True)


async def _check(options: RunnerOptions) -> int:
    """Verify what a runner needs, and show it. Returns the exit status."""
    from bassloop.runner import check_runner

    good = True
    async for finding in check_runner(options):
        good = good and finding.good
        mark = click.style("ok", fg="green") if finding.good else click.style("MEND", fg="red")
        click.echo(f"{mark}\t{finding.what}: {finding.text}")
    return 0 if good else 1

"""`bassloop runner`: run checks on this machine, and manage their secrets and the outputs that they leave."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli import SuggestingGroup
from bassloop.cli.errors import report_errors
from bassloop.cli.options import FOLDER, SIZE, json_lines_option, quick_imports

if TYPE_CHECKING:
    from bassloop.runner import HostKey, RunnerOptions


state_dir_option = click.option("--state-dir", type=FOLDER, help="The folder for outputs.")


@click.command("runner")
@click.argument("loop", metavar="[LOGIN@]HOST[:PORT]", required=False)
@click.option(
    "--identity",
    "-i",
    "identities",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A private key to use, in addition to the agent's and those in ~/.ssh.",
)
@click.option(
    "--known-hosts",
    type=click.Path(path_type=Path),
    help="The file of known hosts (default: ~/.ssh/known_hosts).",
)
@click.option(
    "--priority", "-p", type=int, default=0, help="The runner with the highest priority is chosen."
)
@click.option(
    "--only",
    multiple=True,
    metavar="OWNER/REPO",
    help="Serve only this repository (OWNER/* for all of an owner's); may be repeated.",
)
@click.option("--allow-host-path", is_flag=True, help="Let thunks name files of this machine.")
@state_dir_option
@click.option(
    "--unsandboxed",
    is_flag=True,
    help="Run commands as you, without bubblewrap, and serve only your own repositories and those "
    "named with --only.",
)
@click.option(
    "--allow-foreign",
    is_flag=True,
    help="Serve every repository, although its commands run as you (with --unsandboxed).",
)
@click.option(
    "--driver",
    type=click.Choice(["auto", "container", "host"]),
    default="auto",
    help="Run commands in containers of Podman or Docker, or on this machine itself "
    "(default: in containers, if an engine works).",
)
@click.option(
    "--engine", type=click.Choice(["podman", "docker"]), help="The engine that runs containers."
)
@click.option(
    "--images",
    type=click.Choice(["refuse", "ignore"]),
    default="refuse",
    help="Without an engine, refuse thunks that name an image, or run them with this machine's programs; their "
    "checks say so (default: refuse).",
)
@click.option("--cpus", type=float, help="How many processors a command may use (default: all).")
@click.option(
    "--memory", type=SIZE, help="How much memory a command may use (512m, 2g; default: half of it)."
)
@click.option("--pids", type=int, help="How many processes a command may have (default: 2048).")
@click.option("--file-size", type=SIZE, help="How large a command's files may be (default: 8g).")
@click.option("--no-limits", is_flag=True, help="Use no default limits, only those given.")
@click.option(
    "--publish",
    multiple=True,
    metavar="REGISTRY/NAME",
    help="Let thunks push images with this name, or below it, using your login; may be repeated.",
)
@click.option(
    "--git-credentials",
    is_flag=True,
    help="Check out private repositories with your own Git credentials. Anybody who can push to a "
    "repository that you serve can use these like you can.",
)
@click.option(
    "--allow-insecure",
    is_flag=True,
    help="Run thunks that ask for it in a privileged container, which can do whatever root can.",
)
@click.option(
    "--disk",
    type=SIZE,
    help="The size limit for outputs and images (20g); the least recently used are removed.",
)
@click.option(
    "--network",
    type=click.Choice(["own", "host", "none"]),
    default="own",
    help="Give contained commands a network of their own that reaches out, this machine's with all that "
    "listens on it, or none (default: their own).",
)
@click.option(
    "--no-network",
    "network",
    flag_value="none",
    help="Give contained commands no network; the same as --network none.",
)
@click.option("--jobs", "-j", type=int, help="How many commands may run at the same time.")
@click.option(
    "--check",
    is_flag=True,
    help="Check keys, host, driver and clock, and exit. Without a HOST, only this machine is checked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each event.")
@click.option("--verbose", "-v", is_flag=True, help="Show debug messages.")
def dial(
    loop: str | None,
    *,
    unsandboxed: bool,
    check: bool,
    as_json: bool,
    verbose: bool,
    **options: Any,  # fields of RunnerOptions
) -> None:
    """Run your checks on this machine: connect to a loop, and run the commands that it sends.

    LOGIN is your GitHub login (default: your user name here), and your SSH key must be one that GitHub lists for it.
    The runner reconnects until it gets SIGINT or SIGTERM.

    \b
    Example:
      bassloop runner octocat@loop.example.com --only 'octocat/*' --jobs 2
    """
    if loop is None and not check:
        raise click.UsageError("Name the loop's host, as in octocat@loop.example.com.")
    with quick_imports():
        import trio

        from bassloop.cli.options import configure_logs
        from bassloop.runner import RunnerError, RunnerOptions, parse_destination, serve_runner

    from bassloop.cli.runner_display import RunnerDisplay

    configure_logs("debug" if verbose else "warning")
    with report_errors(RunnerError):
        login, host, port = ("your login", "", 0) if loop is None else parse_destination(loop)
        runner = RunnerOptions(
            login=login, host=host, port=port, sandbox=not unsandboxed, **options
        )
        if check:
            sys.exit(trio.run(_check, runner))
        ask = _ask if sys.stdin.isatty() and not as_json else None
        display = RunnerDisplay(as_json=as_json)
        with display.showing():
            sys.exit(trio.run(serve_runner, runner, display, ask))


class _Runner(SuggestingGroup):
    """`runner ADDRESS` connects to a loop; `runner COMMAND` manages a runner.

    The help is that of the default command, with the commands listed below.
    """

    default = dial
    """The default command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Treat a first word that isn't a command as an argument of the default command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [DIAL, *args] if args else ["--help"]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; the default command has a name that nobody types."""
        return dial if cmd_name == DIAL else super().get_command(ctx, cmd_name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the default command, and then the commands."""
        with dial.make_context(ctx.info_name, [], parent=ctx.parent, resilient_parsing=True) as of:
            dial.format_help(of, formatter)
        self.format_commands(ctx, formatter)


DIAL = ""


@click.group(cls=_Runner)
def runner() -> None:
    """Run your checks on this machine.

    \b
    Example:
      bassloop runner octocat@loop.example.com
    """


@runner.command()
@click.option(
    "--disk",
    type=SIZE,
    help="Keep the most recently used outputs up to this size (20g); without it, remove everything.",
)
@click.option("--keep-caches", is_flag=True, help="Keep the cache folders that thunks share.")
@state_dir_option
def prune(disk: int | None, keep_caches: bool, state_dir: Path | None) -> None:
    """Remove outputs and images that the runner has made, unless they're in use.

    The least recently used are removed first. A runner may be running meanwhile; with --disk, it prunes by itself.
    Images that it has pulled aren't removed, since they belong to the engine.

    \b
    Example:
      bassloop runner prune --disk 20g --keep-caches
    """
    import trio

    from bassloop.cli.options import configure_logs
    from bassloop.runner.cache_pruning import prune as prune_state
    from bassloop.runner.container.image_store import own_images
    from bassloop.runner.errors import RunnerError
    from bassloop.runner.options import default_state
    from bassloop.runner.output_cache import KINDS

    configure_logs("warning")
    kinds = [kind for kind in KINDS if not (keep_caches and kind == "caches")]

    async def work() -> None:
        state = state_dir or default_state()
        click.echo(str(await prune_state(state, disk or 0, own_images(state), kinds=kinds)))

    with report_errors(RunnerError, OSError):
        trio.run(work)


@runner.group(cls=SuggestingGroup)
def secret() -> None:
    """Store the secrets that thunks may use on this machine.

    A script names a secret, (mask SECRET :NAME). Its value is stored here, reaches commands as a variable, a file or
    standard input, and is masked in everything that the runner sends. Changes apply to runners that are running.

    \b
    Example:
      bassloop runner secret set DEPLOY_TOKEN --only octocat/hello < token
    """


@secret.command("set")
@click.argument("name")
@click.option(
    "--only",
    multiple=True,
    metavar="OWNER/REPO",
    help="Grant it only to this repository (OWNER/* for all of an owner's); may be repeated.",
)
@click.option(
    "--forks", is_flag=True, help="Grant it to events from forks, too: strangers can then read it."
)
@click.option(
    "--keyring/--file",
    "in_keyring",
    default=None,
    help="Where to store it (default: in the system's keyring, if there is one).",
)
def set_secret(name: str, only: tuple[str, ...], forks: bool, in_keyring: bool | None) -> None:
    """Store a value for NAME, from a prompt or standard input.

    Without --only, every repository that the runner serves may use it. A value for a repository takes precedence over
    one for its owner, and that over one for all.

    \b
    Example:
      bassloop runner secret set NPM_TOKEN --only 'octocat/*'
    """
    from bassloop.runner.secrets.secret_store import SecretError, SecretStore

    if sys.stdin.isatty():
        value = click.prompt(name, hide_input=True, confirmation_prompt=True)
    else:
        value = sys.stdin.buffer.read().decode(errors="surrogateescape").removesuffix("\n")
    with report_errors(SecretError):
        store = SecretStore()
        where = store.set(name, value, only=only, forks=forks, in_keyring=in_keyring)
    whom = ", ".join(only) or "every repository that the runner serves"
    click.echo(f"{name} is stored in {where}, for {whom}{' and forks' if forks else ''}")


@secret.command("list")
@json_lines_option
def list_secrets(as_json: bool) -> None:
    """List the names of secrets and who may use them, never the values.

    \b
    Example:
      bassloop runner secret list
    """
    from bassloop.runner.secrets.secret_store import SecretError, SecretStore

    with report_errors(SecretError):
        entries = SecretStore().entries()
    for each in entries:
        place = "keyring" if each.value is None else "file"
        if as_json:
            about = {"name": each.name, "only": each.only or None, "forks": each.forks, "in": place}
            click.echo(json.dumps(about))
        else:
            whom = each.only or "every repository"
            click.echo(f"{each.name}\t{whom}{' and forks' if each.forks else ''}\t{place}")


@secret.command("remove")
@click.argument("name")
@click.option(
    "--only",
    multiple=True,
    metavar="OWNER/REPO",
    help="Remove only the value for this repository or owner.",
)
def remove_secret(name: str, only: tuple[str, ...]) -> None:
    """Remove the value of NAME.

    \b
    Example:
      bassloop runner secret remove NPM_TOKEN
    """
    from bassloop.runner.secrets.secret_store import SecretError, SecretStore

    with report_errors(SecretError):
        count = SecretStore().remove(name, only=only)
    if not count:
        raise click.ClickException(
            f"there is no secret {name}; `bassloop runner secret list` shows them"
        )
    click.echo(f"{name} is removed")


async def _ask(key: HostKey) -> bool:
    """Ask the user whether a host's key is correct."""
    import trio

    click.echo(f"The key of {key.where} is not known. It is {key.fingerprint}.")
    click.echo("Compare it with the key that the loop shows at /ssh.")
    question = "Remember it, and connect?"
    return await trio.to_thread.run_sync(lambda: click.confirm(question), abandon_on_cancel=True)


async def _check(options: RunnerOptions) -> int:
    """Check what a runner needs, print the findings, and return the exit status."""
    from bassloop.runner import check_runner

    good = True
    async for finding in check_runner(options):
        good = good and finding.good is not False
        click.echo(f"{_mark(finding.good)}\t{finding.what}: {finding.text}")
    return 0 if good else 1


def _mark(good: bool | None) -> str:
    if good is None:
        return click.style("--", dim=True)
    return click.style("ok", fg="green") if good else click.style("FIX", fg="red")

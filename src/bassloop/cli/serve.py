"""`bassloop serve` and `service`: the daemon, and units of systemd that run it or a runner."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Literal

import click

from bassloop.cli import SuggestingGroup
from bassloop.cli.errors import report_errors
from bassloop.cli.options import data_dir_option, quick_imports, read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bassloop.settings import Settings


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="The address that pages and webhook listen on (setting LISTEN).",
)
@click.option(
    "--ssh-addr",
    metavar="HOST:PORT",
    help="The address that runners connect to (setting SSH_ADDR).",
)
@click.option(
    "--external-url",
    metavar="URL",
    help="The address that people and GitHub use (setting EXTERNAL_URL).",
)
@data_dir_option
@click.option(
    "--log-level", metavar="LEVEL", help="debug, info, warning or error (setting LOG_LEVEL)."
)
def serve(**overrides: object) -> None:
    """Run the daemon: webhook, hooks, pages and SSH gateway, until SIGTERM.

    Other settings come from the environment, or from a file of NAME=value lines (docs/settings.md). SIGTERM gives
    running checks DRAIN_SECONDS to finish; a second one ends them at once.

    \b
    Example:
      EXTERNAL_URL=https://loop.example.com bassloop serve --listen 127.0.0.1:3000
    """
    settings = read_settings(**overrides)
    with quick_imports():
        import trio

        from bassloop.cli.options import configure_logs
        from bassloop.daemon import StartError
        from bassloop.daemon.serve import serve as serve_daemon
        from bassloop.gateway import HostKeyError
        from bassloop.settings import SettingsError
        from bassloop.store import StoreError
        from bassloop.tools.local_daemon import registered

    gc.freeze()  # code isn't garbage, and a full collection that traverses it delays all tasks by a tenth of a second
    configure_logs(settings.log_level)
    os.umask(0o077)  # only the daemon's user may read logs and the database, however it was started
    with report_errors(SettingsError, StartError, StoreError, HostKeyError), registered(settings):
        sys.exit(trio.run(_bridged, serve_daemon, settings))


async def _bridged(serve: Callable[[Settings], Awaitable[int]], settings: Settings) -> int:
    from bassloop.bridge import open_bridge

    async with open_bridge():
        return await serve(settings)


Kind = Literal["serve", "runner"]

print_option = click.option(
    "--print", "only_print", is_flag=True, help="Print the unit without installing it."
)


@click.group(cls=SuggestingGroup)
def service() -> None:
    """Run the daemon, or a runner, under systemd, which restarts it when it fails and at boot.

    \b
    Example:
      bassloop service install serve --print
    """


@service.group()
def install() -> None:
    """Write a systemd unit, enable it, and start it.

    \b
    Example:
      bassloop service install runner octocat@loop.example.com
    """


@install.command("serve")
@print_option
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="Let the daemon read this group's files, such as a certificate's key; may be repeated.",
)
def install_serve(only_print: bool, groups: tuple[str, ...]) -> None:
    """Install the daemon as a system unit, bass-loop.service.

    It reads its settings from /etc/bass-loop/settings.env. Keep secrets in files named for their settings in
    /etc/bass-loop/credentials, readable only by root: systemd passes them to the daemon (LoadCredential). Install the
    unit again after you add one.

    \b
    Example:
      bassloop service install serve --group ssl-cert
    """
    from bassloop.settings import SettingsError
    from bassloop.tools.setup import systemd

    with report_errors(SettingsError, systemd.SystemdError):
        facts = systemd.serve_facts(systemd.ETC, groups)
        text = systemd.serve_unit(facts)
        if only_print:
            click.echo(text, nl=False)
            return
        systemd.refuse_home()
        if made := systemd.make_etc(systemd.ETC):
            settings = systemd.ETC / "settings.env"
            click.echo(f"{settings} has to be filled in; then: systemctl restart {systemd.NAME}")
        try:
            _install(systemd.SYSTEM_UNITS / f"{systemd.NAME}.service", text)
        except systemd.SystemdError as error:
            rest = f"\n{systemd.ETC}, which was made for its settings, stays" if made else ""
            raise systemd.SystemdError(f"{error}{rest}") from error
    for name, path in facts.credentials:
        click.echo(f"{name} is handed over from {path}")


@install.command("runner", context_settings={"ignore_unknown_options": True})
@print_option
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[LOGIN@]HOST [OPTION]..."
)
def install_runner(only_print: bool, arguments: tuple[str, ...]) -> None:
    """Install a runner as a unit of your own, bass-loop-runner.service.

    The arguments are those of `bassloop runner`. Nobody can enter a passphrase for your SSH key, so it must have none,
    or be in an agent that your session's units use. To keep the runner running while you're logged out, use loginctl
    enable-linger.

    \b
    Example:
      bassloop service install runner octocat@loop.example.com --only 'octocat/*'
    """
    from bassloop.cli.runner import dial
    from bassloop.tools.setup import systemd

    # Parse the arguments now, to report errors here instead of in the journal.
    with dial.make_context("bassloop runner", list(arguments)) as parsed:
        driver = parsed.params["driver"]
    facts = systemd.RunnerFacts(
        (*systemd.program(), "runner", *arguments), containers=driver in ("auto", "container")
    )
    text = systemd.runner_unit(facts)
    if only_print:
        click.echo(text, nl=False)
        return
    with report_errors(systemd.SystemdError):
        _install(systemd.user_units() / f"{systemd.RUNNER}.service", text, "--user")


@service.command()
@click.argument("kind", type=click.Choice(["serve", "runner"]))
def uninstall(kind: Kind) -> None:
    """Stop and remove a unit, even if it's only partly installed. Its settings and data aren't removed.

    \b
    Example:
      bassloop service uninstall runner
    """
    from bassloop.tools.setup import systemd

    path = systemd.SYSTEM_UNITS / f"{systemd.NAME}.service"
    options: tuple[str, ...] = ()
    if kind == "runner":
        path, options = systemd.user_units() / f"{systemd.RUNNER}.service", ("--user",)
    with report_errors(systemd.SystemdError):
        systemd.uninstall(path, *options)
    click.echo(f"{path} is removed")
    if kind == "serve":
        data = f"/var/lib/private/{systemd.NAME}"
        click.echo(f"its settings in {systemd.ETC} and its data in {data} stay")


def _install(path: Path, text: str, *options: str) -> None:
    from bassloop.tools.setup import systemd

    systemd.install(path, text, *options)
    command = " ".join(("systemctl", *options, "status", path.stem))
    click.echo(f"{path} is installed and started; to see how it is: {command}")

"""`bassloop service`: the daemon, or a runner, under systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.tools.setup import units

SYSTEM_UNITS = Path("/etc/systemd/system")
SETTINGS = """\
# What the loop is told: NAME=value lines. All settings: docs/settings.md
#EXTERNAL_URL=https://loop.example.com
#GITHUB_APP_ID=
#LISTEN=127.0.0.1:3000
# Secrets are better kept as files of their names in {credentials}
"""
INSTALLED = {
    "pipx": "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install bassloop",
    "uv": "UV_TOOL_DIR=/opt/uv UV_TOOL_BIN_DIR=/usr/local/bin "
    "uv tool install --python /usr/bin/python3 bassloop",
}
Kind = Literal["serve", "runner"]


@click.group()
def service() -> None:
    """Run the daemon, or a runner, under systemd: from when the machine starts, and again if it ends."""


@service.group()
def install() -> None:
    """Write a systemd unit, enable it, and start it."""


@install.command("serve")
@click.option("--print", "only_print", is_flag=True, help="Print the unit, and change nothing.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="Let it read what this group may, such as a certificate's key; may be repeated.",
)
def install_serve(only_print: bool, groups: tuple[str, ...]) -> None:
    """Install the daemon as a system unit, bass-loop.service.

    Its settings are read from /etc/bass-loop/settings.env; secrets are better kept in files of their
    settings' names in /etc/bass-loop/credentials, for root alone: systemd hands them to the daemon
    only (LoadCredential). Install again after adding one.
    """
    from bassloop.tools.setup import units

    facts = _serve_facts(units.ETC, groups)
    text = units.serve_unit(facts)
    if only_print:
        click.echo(text, nl=False)
        return
    _refuse_homes()
    credentials, settings = units.ETC / "credentials", units.ETC / "settings.env"
    with _writing():
        credentials.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not settings.exists():
            settings.touch(mode=0o600)
            settings.write_text(SETTINGS.format(credentials=credentials))
            click.echo(f"{settings} is to be filled in; then: systemctl restart {units.NAME}")
    _enable(SYSTEM_UNITS / f"{units.NAME}.service", text)
    for name, path in facts.credentials:
        click.echo(f"{name} is handed over from {path}")


@install.command("runner", context_settings={"ignore_unknown_options": True})
@click.option("--print", "only_print", is_flag=True, help="Print the unit, and change nothing.")
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[LOGIN@]HOST [OPTION]..."
)
def install_runner(only_print: bool, arguments: tuple[str, ...]) -> None:
    """Install a runner as a unit of your own, bass-loop-runner.service.

    What follows is given to `bassloop runner` as it is. Your SSH key is used without asking: it has
    no passphrase, or is in the agent that your session's units know. To have it run while you are not
    logged in: loginctl enable-linger.
    """
    from bassloop.cli.runner import dial
    from bassloop.tools.setup import units

    with dial.make_context("bassloop runner", list(arguments)) as parsed:  # tells what is wrong
        driver = parsed.params["driver"]
    facts = units.RunnerFacts(
        (*_program(), "runner", *arguments), containers=driver in ("auto", "container")
    )
    text = units.runner_unit(facts)
    if only_print:
        click.echo(text, nl=False)
        return
    _enable(_user_units() / f"{units.RUNNER}.service", text, "--user")


@service.command()
@click.argument("kind", type=click.Choice(["serve", "runner"]))
def uninstall(kind: Kind) -> None:
    """Stop a unit, and remove it. What it kept stays."""
    from bassloop.tools.setup import units

    name, folder = units.NAME, SYSTEM_UNITS
    more: tuple[str, ...] = ()
    if kind == "runner":
        name, folder, more = units.RUNNER, _user_units(), ("--user",)
    path = folder / f"{name}.service"
    if not path.exists():
        raise click.ClickException(f"there is no {path}")
    _systemctl(*more, "disable", "--now", path.name)
    with _writing():
        path.unlink()
    _systemctl(*more, "daemon-reload")
    click.echo(f"{path} is removed; what it kept stays")


def _serve_facts(etc: Path, groups: Iterable[str]) -> units.ServeFacts:
    """What the daemon's unit is made of, as its settings are now."""
    from dotenv import dotenv_values

    from bassloop.cli.errors import told
    from bassloop.settings import Settings, SettingsError, load_settings, parse_address
    from bassloop.tools.setup import units

    given = {name: value for name, value in dotenv_values(etc / "settings.env").items() if value}
    known = {name.upper() for name in Settings.model_fields}
    with told(SettingsError):
        settings = load_settings(**{k.lower(): v for k, v in given.items() if k.upper() in known})
    listened = (settings.listen, settings.ssh_addr, settings.metrics_listen)
    ports = [parse_address(address)[1] for address in listened if address]
    return units.ServeFacts(
        command=(*_program(), "serve"),
        credentials=tuple(_credentials(etc / "credentials", known)),
        groups=tuple(groups),
        low_port=any(0 < port < 1024 for port in ports),
        drain_seconds=settings.drain_seconds,
    )


def _credentials(folder: Path, known: set[str]) -> Iterable[tuple[str, Path]]:
    """The secrets that are in files; a name that no setting has is told."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return
    for name in names:
        if name not in known:
            raise click.ClickException(f"{folder / name}: there is no setting {name}")
        yield name, folder / name


def _program() -> tuple[str, ...]:
    """How this program is called: the script beside its interpreter, else through that."""
    script = Path(sys.executable).parent / "bassloop"
    return (str(script),) if script.exists() else (sys.executable, "-m", "bassloop")


def _refuse_homes() -> None:
    """The unit reads nobody's home: what is installed there it can't run."""
    places = {Path(sys.executable), Path(sys.executable).resolve(), Path(__file__).resolve()}
    for place in places:
        if place.parts[1:2] in (("home",), ("root",)):
            mends = "\n".join(f"    {mend}" for mend in INSTALLED.values())
            raise click.ClickException(
                f"{place} is in somebody's home, which the unit can't read. Install it for all:\n"
                f"{mends}"
            )


def _user_units() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "systemd" / "user"


def _enable(path: Path, text: str, *more: str) -> None:
    """Write a unit, and have systemd start it now and always."""
    with _writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _systemctl(*more, "daemon-reload")
    _systemctl(*more, "enable", path.name)
    _systemctl(*more, "restart", path.name)
    shown = " ".join(("systemctl", *more, "status", path.stem))
    click.echo(f"{path} is written, enabled and started; how it is: {shown}")


@contextmanager
def _writing() -> Iterator[None]:
    """Tell what can't be written, and who may."""
    try:
        yield
    except PermissionError as error:
        raise click.ClickException(f"{error.filename} can't be written; run it as root") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def _systemctl(*arguments: str) -> None:
    if shutil.which("systemctl") is None:
        raise click.ClickException(
            "there is no systemctl here; --print shows the unit, for whatever starts services"
        )
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise click.ClickException(f"systemctl {' '.join(arguments)}: {said}")

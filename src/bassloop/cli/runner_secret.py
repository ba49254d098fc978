"""`bassloop runner secret`: values that thunks name, and that never leave this machine."""

from __future__ import annotations

import json
import sys

import click

from bassloop.cli.errors import told


@click.group()
def secret() -> None:
    """Keep the secrets that thunks may have on this machine.

    A script names a secret, (mask SECRET :NAME); its value is here, reaches commands as a variable, a
    file or standard input, and is hidden in all that the runner sends. A runner that runs already takes
    them as they are now.
    """


@secret.command("set")
@click.argument("name")
@click.option(
    "--only",
    multiple=True,
    metavar="OWNER/REPO",
    help="Give it to this repository only (OWNER/* for all of an owner's); may be repeated.",
)
@click.option("--forks", is_flag=True, help="Give it to events of forks too: strangers get it.")
@click.option(
    "--keyring/--file",
    "in_keyring",
    default=None,
    help="Where to keep it (default: the system's keyring, where there is one).",
)
def set_(name: str, only: tuple[str, ...], forks: bool, in_keyring: bool | None) -> None:
    """Keep a value for NAME, asked for or read from standard input.

    Without --only every repository that the runner serves may have it. A value for a repository goes
    before one for its owner, and that before one for all.
    """
    from bassloop.runner.secrets.secret_store import SecretError, SecretStore

    if sys.stdin.isatty():
        value = click.prompt(name, hide_input=True, confirmation_prompt=True)
    else:
        value = sys.stdin.buffer.read().decode(errors="surrogateescape").removesuffix("\n")
    with told(SecretError):
        store = SecretStore()
        where = store.set(name, value, only=only, forks=forks, in_keyring=in_keyring)
    whom = ", ".join(only) or "every repository that the runner serves"
    click.echo(f"{name} is kept in {where}, for {whom}{' and forks' if forks else ''}")


@secret.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_(as_json: bool) -> None:
    """List the names, and who may have them; never the values."""
    from bassloop.runner.secrets.secret_store import SecretError, SecretStore

    with told(SecretError):
        entries = SecretStore().entries()
    for each in entries:
        place = "keyring" if each.value is None else "file"
        if as_json:
            about = {"name": each.name, "only": each.only or None, "forks": each.forks, "in": place}
            click.echo(json.dumps(about))
        else:
            whom = each.only or "every repository"
            click.echo(f"{each.name}\t{whom}{' and forks' if each.forks else ''}\t{place}")


@secret.command()
@click.argument("name")
@click.option("--only", multiple=True, metavar="OWNER/REPO", help="Only what this rule has.")
def remove(name: str, only: tuple[str, ...]) -> None:
    """Forget the value of NAME."""
    from bassloop.runner.secrets.secret_store import SecretError, SecretStore

    with told(SecretError):
        count = SecretStore().remove(name, only=only)
    if not count:
        raise click.ClickException(f"there is no secret {name}; bassloop runner secret list")
    click.echo(f"{name} is forgotten")

"""`bassloop runner secret`: manage secrets for thunks, which never leave this machine."""

from __future__ import annotations

import json
import sys

import click

from bassloop.cli import SuggestingGroup
from bassloop.cli.errors import report_errors
from bassloop.cli.options import json_lines_option


@click.group(cls=SuggestingGroup)
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
def set_(name: str, only: tuple[str, ...], forks: bool, in_keyring: bool | None) -> None:
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
def list_(as_json: bool) -> None:
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


@secret.command()
@click.argument("name")
@click.option(
    "--only",
    multiple=True,
    metavar="OWNER/REPO",
    help="Remove only the value for this repository or owner.",
)
def remove(name: str, only: tuple[str, ...]) -> None:
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

"""`bassloop github`: the loop's GitHub App."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from bassloop.cli.errors import told

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings
    from bassloop.tools.setup.create_app import Made, Plan


@click.group()
def github() -> None:
    """Make the loop's GitHub App, and look after it."""


@github.command("create-app")
@click.option(
    "--external-url", metavar="URL", help="How GitHub reaches the loop (setting EXTERNAL_URL)."
)
@click.option("--name", metavar="NAME", help="The App's name, at most 34 characters; yours alone.")
@click.option("--organization", metavar="LOGIN", help="Make it an organization's, not your own.")
@click.option(
    "--github-api-url",
    metavar="URL",
    help="An Enterprise Server's API, https://HOST/api/v3 (setting GITHUB_API_URL).",
)
@click.option("--port", default=0, help="Of the local page; by default one that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the page's address.")
@click.option("--replace", is_flag=True, help="Replace the App that the settings file has.")
def create_app(
    external_url: str | None,
    name: str | None,
    organization: str | None,
    github_api_url: str | None,
    port: int,
    no_browser: bool,
    replace: bool,
) -> None:
    """Make the loop's GitHub App, in the browser, and keep its credentials.

    Opens a page on this machine that asks GitHub for an App with all that the loop needs. Its id, keys
    and secrets are written to the settings file (docs/settings.md), which only you can read. From
    another machine, forward the page's port: ssh -L PORT:127.0.0.1:PORT HOST, with --port PORT.
    """
    import trio

    from bassloop.github import GitHubError
    from bassloop.settings import SettingsError, load_settings, settings_path
    from bassloop.tools.setup.settings_file import SettingsFileError

    with told(SettingsError, SettingsFileError, GitHubError):
        settings = load_settings(external_url=external_url, github_api_url=github_api_url)
        plan = _plan(settings, name, organization, replace, settings_path())
        made = trio.run(_create, plan, port, not no_browser)
    _tell(made)


def _plan(
    settings: Settings, name: str | None, organization: str | None, replace: bool, path: Path
) -> Plan:
    from bassloop.github.manifest import form_url, web_url
    from bassloop.tools.setup.create_app import CREDENTIALS, MAX_NAME, Plan
    from bassloop.tools.setup.settings_file import assigned, try_to_write

    if settings.external_url is None:
        message = "say with --external-url (or EXTERNAL_URL) where GitHub reaches this loop"
        raise click.UsageError(f"{message}, such as https://loop.example.com")
    host = urlsplit(settings.external_url).hostname or ""
    name = name or f"bass loop {host}"[:MAX_NAME].strip(" .-")
    if len(name) > MAX_NAME:
        raise click.UsageError(f"--name: GitHub takes at most {MAX_NAME} characters")
    web = web_url(settings.github_api_url)
    try:
        form_url(web, "", organization)
    except ValueError as error:
        raise click.UsageError(f"--organization: {error}") from error
    known = assigned(path, CREDENTIALS)
    if known and not replace:
        raise click.ClickException(
            f"{path} has an App already ({', '.join(known)}). To put another in its place "
            "(the file as it is now is kept beside it), say --replace"
        )
    try_to_write(path)
    return Plan(name, settings.external_url, web, settings.github_api_url, organization, path)


async def _create(plan: Plan, port: int, browser: bool) -> Made:
    import webbrowser

    import trio

    from bassloop.github import GitHubConfig, open_github
    from bassloop.tools.setup.create_app import Creation, serve_page

    async with open_github(GitHubConfig(plan.api_url)) as its:
        creation = Creation(plan, its.api)
        async with trio.open_nursery() as nursery:
            address = await nursery.start(serve_page, creation, port)
            click.echo(f"Make the App on this page:\n\n    {address}\n")
            if browser:
                await trio.to_thread.run_sync(webbrowser.open, address)
    assert creation.made is not None
    return creation.made


def _tell(made: Made) -> None:
    import os

    from bassloop.tools.setup.create_app import CREDENTIALS

    click.echo(f"The App {made.app.slug} is made; its credentials are in {made.path}.")
    if made.kept is not None:
        click.echo(f"The file as it was is {made.kept}.")
    if made.left is not None:
        click.echo(
            f"GitHub did not take the webhook's settings: {made.left}\n"
            "Set the webhook's content type to application/json in the App's settings."
        )
    winning = [name for name in CREDENTIALS if os.environ.get(name)]
    if winning:
        click.echo(f"The environment wins over the file: unset {', '.join(winning)} there.")
    click.echo(
        "\nWhat is left:\n"
        f"  1. install it:            {made.install_url}\n"
        f"  2. tick the device flow:  {made.settings_url}\n"
        "  3. start the loop:        bassloop serve\n"
        "  4. look at it all:        bassloop github doctor"
    )


@github.command()
@click.option("--redeliver", is_flag=True, help="Have GitHub send the newest delivery again.")
@click.option("--mend", is_flag=True, help="Set the webhook's address, encoding and secret.")
def doctor(redeliver: bool, mend: bool) -> None:
    """Look at the loop's GitHub App, and say what is not right, with its mend.

    Credentials, clock, permissions, events, where it is installed, the webhook's settings and last
    deliveries, the rate limit, the device flow. Exits with 0 when nothing is wrong, with 1 otherwise;
    what is only doubtful is marked and does not count.
    """
    import sys

    import trio

    from bassloop.cli.log_config import configure_logs
    from bassloop.settings import SettingsError, load_settings

    configure_logs("error")
    with told(SettingsError):
        settings = load_settings()
        sys.exit(trio.run(_examine, settings, redeliver, mend))


_SIGNS = {"ok": ("✓", "green"), "doubtful": ("!", "yellow"), "wrong": ("✗", "red")}


async def _examine(settings: Settings, redeliver: bool, mend: bool) -> int:
    from contextlib import aclosing

    from bassloop.github import GitHubConfig, Patience, open_github
    from bassloop.tools.setup.doctor import Wanted, examine

    found = GitHubConfig(
        settings.github_api_url,
        settings.github_app_id,
        settings.private_key(),
        patience=Patience(attempts=2, longest_pause=10.0, answer_seconds=20.0),
    )
    wrong = 0
    async with (
        open_github(found) as its,
        aclosing(examine(settings, its, Wanted(redeliver, mend))) as findings,
    ):
        async for each in findings:
            sign, colour = _SIGNS[each.state]
            click.echo(f"{click.style(sign, fg=colour)} {each.said}")
            if each.mend is not None and each.state != "ok":
                click.echo(f"    mend: {each.mend}")
            wrong += each.state == "wrong"
    if wrong:
        click.echo(f"\n{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
    return 1 if wrong else 0

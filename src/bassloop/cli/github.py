"""`bassloop github`: create the loop's GitHub App, and check it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from bassloop.cli import SuggestingGroup
from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.settings import Settings
    from bassloop.tools.setup.create_app import CreatedApp, Plan


@click.group(cls=SuggestingGroup)
def github() -> None:
    """Create the loop's GitHub App, and check it.

    \b
    Example:
      bassloop github doctor
    """


@github.command("create-app")
@click.option(
    "--external-url",
    metavar="URL",
    help="The address at which GitHub reaches the loop (setting EXTERNAL_URL).",
)
@click.option(
    "--name", metavar="NAME", help="The App's name: at most 34 characters, unique on GitHub."
)
@click.option(
    "--organization", metavar="LOGIN", help="Create it for an organization instead of yourself."
)
@click.option(
    "--github-api-url",
    metavar="URL",
    help="The API of an Enterprise Server, https://HOST/api/v3 (setting GITHUB_API_URL).",
)
@click.option("--port", default=0, help="The local page's port (default: a free one).")
@click.option("--no-browser", is_flag=True, help="Print the page's address instead of opening it.")
@click.option(
    "--replace", is_flag=True, help="Replace the App that the settings file already names."
)
def create_app(
    external_url: str | None,
    name: str | None,
    organization: str | None,
    github_api_url: str | None,
    port: int,
    no_browser: bool,
    replace: bool,
) -> None:
    """Create the loop's GitHub App in the browser, and store its credentials.

    Opens a page on this machine that creates an App with the permissions and events that the loop needs. Its id, keys
    and secrets are written to the settings file (docs/settings.md), which only you can read. If your browser is on
    another machine, forward the page's port: ssh -L PORT:127.0.0.1:PORT HOST, with --port PORT.

    \b
    Example:
      bassloop github create-app --external-url https://loop.example.com
    """
    import trio

    from bassloop.github import GitHubError
    from bassloop.settings_reader import settings_path
    from bassloop.tools.setup.create_app import SettingsFileError

    settings = read_settings(external_url=external_url, github_api_url=github_api_url)
    with report_errors(SettingsFileError, GitHubError):
        plan = _plan(settings, name, organization, replace, settings_path())
        created = trio.run(_create, plan, port, not no_browser)
    _summarize(created)


def _plan(
    settings: Settings, name: str | None, organization: str | None, replace: bool, path: Path
) -> Plan:
    from bassloop.github.app_registration import form_url, web_url
    from bassloop.tools.setup.create_app import CREDENTIALS, MAX_NAME, Plan, assigned, try_to_write

    if settings.external_url is None:
        message = "--external-url (or EXTERNAL_URL) is missing: the address at which GitHub reaches the loop"
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
            f"{path} has an App already ({', '.join(known)}). --replace replaces it, "
            "and makes a copy of the file"
        )
    try_to_write(path)
    return Plan(name, settings.external_url, web, settings.github_api_url, organization, path)


async def _create(plan: Plan, port: int, browser: bool) -> CreatedApp:
    import webbrowser

    import trio

    from bassloop.github import GitHubConfig, open_github
    from bassloop.tools.setup.create_app import Creation, serve_page

    async with open_github(GitHubConfig(plan.api_url)) as client:
        creation = Creation(plan, client.api)
        async with trio.open_nursery() as nursery:
            address = await nursery.start(serve_page, creation, port)
            click.echo(f"Create the App on this page:\n\n    {address}\n")
            if browser:
                await trio.to_thread.run_sync(webbrowser.open, address)
    assert creation.created is not None
    return creation.created


def _summarize(created: CreatedApp) -> None:
    import os

    from bassloop.tools.setup.create_app import CREDENTIALS

    click.echo(f"The App {created.app.slug} is created; its credentials are in {created.path}.")
    if created.backup is not None:
        click.echo(f"A copy of the old file is {created.backup}.")
    if created.webhook_error is not None:
        click.echo(
            f"GitHub refused the webhook's settings: {created.webhook_error}\n"
            "Set the webhook's content type to application/json in the App's settings."
        )
    winning = [name for name in CREDENTIALS if os.environ.get(name)]
    if winning:
        click.echo(f"The environment overrides the file: unset {', '.join(winning)}.")
    click.echo(
        "\nWhat is left to do:\n"
        f"  1. install it:            {created.install_url}\n"
        f"  2. enable device flow:    {created.settings_url}\n"
        "  3. start the loop:        bassloop serve\n"
        "  4. check everything:      bassloop github doctor"
    )


@github.command()
@click.option("--redeliver", is_flag=True, help="Have GitHub redeliver the newest delivery.")
@click.option(
    "--fix", "--mend", "fix", is_flag=True, help="Set the webhook's address, encoding and secret."
)
def doctor(redeliver: bool, fix: bool) -> None:
    """Check the loop's GitHub App, and show how to fix what is wrong.

    Checks credentials, clock, permissions, events, installations, the webhook's settings and last deliveries, the rate
    limit, and the device flow. The exit status is 1 if something is wrong, but not for doubtful findings.

    \b
    Example:
      bassloop github doctor --redeliver
    """
    import sys

    import trio

    from bassloop.cli.options import configure_logs
    from bassloop.settings import SettingsError

    configure_logs("error")
    settings = read_settings()
    with report_errors(SettingsError):
        sys.exit(trio.run(_examine, settings, redeliver, fix))


_SIGNS = {"ok": ("✓", "green"), "doubtful": ("!", "yellow"), "wrong": ("✗", "red")}


async def _examine(settings: Settings, redeliver: bool, fix: bool) -> int:
    from contextlib import aclosing

    from bassloop.github import GitHubConfig, RetryPolicy, open_github
    from bassloop.tools.setup.doctor import Treatment, examine

    config = GitHubConfig(
        settings.github_api_url,
        settings.github_app_id,
        settings.private_key(),
        retries=RetryPolicy(attempts=2, longest_delay=10.0, answer_seconds=20.0),
    )
    wrong = 0
    async with (
        open_github(config) as client,
        aclosing(examine(settings, client, Treatment(redeliver, fix))) as findings,
    ):
        async for each in findings:
            sign, colour = _SIGNS[each.state]
            click.echo(f"{click.style(sign, fg=colour)} {each.text}")
            if each.fix is not None and each.state != "ok":
                click.echo(f"    fix: {each.fix}")
            wrong += each.state == "wrong"
    if wrong:
        click.echo(f"\n{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
    return 1 if wrong else 0

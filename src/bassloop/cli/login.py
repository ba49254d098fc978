"""`bassloop login` and `bassloop logout`."""

from __future__ import annotations

import click

from bassloop.cli.errors import report_errors
from bassloop.cli.options import read_site


@click.command("login")
@click.argument("url")
def login(url: str) -> None:
    """Sign in to the loop at URL with GitHub, to see private runs with `bassloop logs`.

    Shows a code to enter on GitHub, in any browser, and waits until you have. The session is stored in a file that only
    you can read. It ends after a week, with `bassloop logout`, or when you sign out everywhere on the loop's page.

    \b
    Example:
      bassloop login https://loop.example.com
    """
    import trio

    from bassloop.tools.device_login import SignInError, sign_in

    site = read_site(url)
    with report_errors(SignInError):
        session = trio.run(sign_in, site, _show_code)
    click.echo(f"signed in to {site} as {session['login']}, until {session['expires_at'][:10]}")


@click.command("logout")
@click.argument("url", required=False)
def logout(url: str | None) -> None:
    """Sign out of the loop at URL, or of all loops.

    \b
    Example:
      bassloop logout https://loop.example.com
    """
    import trio

    from bassloop.tools.device_login import SignInError, known_sites, sign_out

    with report_errors(SignInError):
        sites = [read_site(url)] if url else known_sites()
        if not sites:
            click.echo("you are not signed in anywhere")
        for site in sites:
            ended = trio.run(sign_out, site)
            if ended is None:
                click.echo(f"you are not signed in to {site}")
            elif ended:
                click.echo(f"signed out of {site}")
            else:
                click.echo(
                    f"signed out of {site} here; it did not answer, so the session stays until it expires"
                )


def _show_code(page: str, code: str) -> None:
    click.echo(f"Open {page} and enter {code}")

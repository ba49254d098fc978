"""`bassloop login` and `bassloop logout`: a session for a terminal, by GitHub's device flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bassloop.cli.sessions import (
    drop_session,
    keep_session,
    known_sites,
    session_headers,
    site_of,
)

if TYPE_CHECKING:
    import httpx

LONGEST_PAUSE = 60.0


@click.command("login")
@click.argument("url")
def login(url: str) -> None:
    """Sign in to the loop at URL with GitHub, to see private runs with `bassloop logs`.

    Shows a code to type in on GitHub, in any browser, and waits for that. The session is kept in a
    file for you alone, and ends after a week, with `bassloop logout`, or when you sign out everywhere
    on the loop's page.
    """
    import trio

    site = _site(url)
    try:
        known = trio.run(_sign_in, site)
    except TimeoutError as error:
        raise click.ClickException("the code has expired: begin again") from error
    keep_session(site, known["login"], known["token"], known["expires_at"])
    click.echo(f"signed in to {site} as {known['login']}, until {known['expires_at'][:10]}")


@click.command("logout")
@click.argument("url", required=False)
def logout(url: str | None) -> None:
    """Sign out of the loop at URL, or of all of them, and forget the session here."""
    import trio

    sites = [_site(url)] if url else known_sites()
    if not sites:
        click.echo("you are not signed in anywhere")
    for site in sites:
        headers = session_headers(site)
        drop_session(site)
        ended = bool(headers) and trio.run(_sign_out, site, headers)
        if headers:
            late = "" if ended else " here; it did not answer, so there the session ends by itself"
            click.echo(f"signed out of {site}{late}")
        else:
            click.echo(f"you are not signed in to {site}")


def _site(url: str) -> str:
    try:
        return site_of(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error


async def _sign_in(site: str) -> dict[str, Any]:
    """Show a code, and wait until it is typed in. Returns the session. Raises TimeoutError."""
    import trio

    async with _client(site) as client:
        begun = await _asked(client, "/sign-in/device", {})
        click.echo(f"Open {begun['verification_uri']} and enter {begun['user_code']}")
        pause = float(begun["interval"])
        with trio.move_on_after(float(begun["expires_in"])):
            while True:
                await trio.sleep(pause)
                told = await _asked(client, "/sign-in/device/token", {"device": begun["device"]})
                if "token" in told:
                    return told
                pause = min(max(pause, float(told["interval"])), LONGEST_PAUSE)
    raise TimeoutError


async def _sign_out(site: str, headers: list[tuple[str, str]]) -> bool:
    """End the session at the loop; whether it answered."""
    import httpx

    async with _client(site) as client:
        try:
            answer = await client.post("/sign-out", headers=headers)
        except httpx.HTTPError:
            return False
    return answer.status_code in (303, 401)


async def _asked(client: httpx.AsyncClient, path: str, what: dict[str, str]) -> dict[str, Any]:
    """What the loop answers. Raises ClickException with its own words, or what is wrong."""
    import httpx

    try:
        answer = await client.post(path, json=what)
        told = answer.json()
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise click.ClickException(f"{client.base_url} can't be asked: {reason}") from error
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise click.ClickException(f"{client.base_url} is no loop, or a proxy is in its way")
    if answer.status_code >= 300:
        said = told.get("error", answer.reason_phrase)
        raise click.ClickException(f"{client.base_url}: {said}")
    return told


def _client(site: str) -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(
        base_url=site, timeout=30, headers={"Accept": "application/json"}, trust_env=False
    )

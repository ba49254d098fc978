"""Looking at all that lies between GitHub and a loop, and saying what is not right, with its mend.

Nothing is changed unless it is asked for: a delivery sent again, the webhook's settings mended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import trio

from bassloop.github import GitHubError, Hook, NotFound
from bassloop.github.client import is_loopback
from bassloop.github.manifest import WEBHOOK_PATH, web_url
from bassloop.tools.setup import findings
from bassloop.tools.setup.findings import DOUBTFUL, OK, WRONG, Finding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from bassloop.github import AppInfo, Attempt, GitHub
    from bassloop.settings import Settings

LOOKED_BACK = 24 * 3600.0
MOST_DELIVERIES = 1_000
REDELIVERY_SECONDS = 30.0
PAUSE = 1.0
_NO_APP = "run `bassloop github create-app`, or set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_PATH"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do beside looking: send a delivery again; set the webhook as the settings say."""

    redeliver: bool = False
    mend: bool = False


async def examine(
    settings: Settings, github: GitHub, wanted: Wanted | None = None
) -> AsyncGenerator[Finding]:
    """Look at everything, in the order in which things depend on each other.

    What can't be looked at, because GitHub refuses or is out of reach, is a finding too.
    """
    wanted = wanted or Wanted()
    try:
        skew = await github.api.clock_skew()
    except GitHubError as error:
        yield Finding(WRONG, str(error))
        return
    yield Finding(OK, f"{settings.github_api_url} answers")
    if skew is not None:
        yield findings.clock(skew)
    if github.app is None:
        yield Finding(WRONG, "no GitHub App is set", _NO_APP)
        return
    hook = github.hook
    try:
        info = await hook.info()
    except GitHubError as error:
        yield Finding(WRONG, str(error))
        return
    yield Finding(OK, f"GitHub knows the App {info.slug} ({info.html_url}) by its id and key")
    mend = f"grant them under Permissions & events of {info.settings_url}, and accept them"
    yield findings.permissions(info.permissions, "the App", mend)
    yield findings.events(info)
    for found in await _said(_installations(github, info)):
        yield found
    for found in await _said(_webhook(settings, hook, info, wanted)):
        yield found
    if settings.external_url is not None:
        yield await _reached(settings.external_url)
    for found in await _said(_deliveries(hook, wanted)):
        yield found
    for found in await _said(_rate_limit(github)):
        yield found
    if settings.github_app_client_id is not None:
        yield await _device_flow(settings, settings.github_app_client_id, info)


async def _said(looking: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await looking
    except GitHubError as error:
        return [Finding(WRONG, str(error))]


async def _installations(github: GitHub, info: AppInfo) -> list[Finding]:
    assert github.app is not None
    found = await github.api.listed(
        "/app/installations?per_page=100", credential=github.app.credential
    )
    return findings.installations([each for each in found if isinstance(each, dict)], info)


async def _webhook(settings: Settings, hook: Hook, info: AppInfo, wanted: Wanted) -> list[Finding]:
    url = settings.external_url and f"{settings.external_url}{WEBHOOK_PATH}"
    secret = settings.webhook_secret()
    config = await hook.config()
    found = findings.webhook(config, url, secret is not None, info)
    if wanted.mend and url and secret and any(each.state == WRONG for each in found):
        await hook.configure(url=url, secret=secret.decode())
        config = await hook.config()
        mended = Finding(OK, "the webhook's settings were set as the loop's say")
        return [mended, *findings.webhook(config, url, signed=True, info=info)]
    return found


async def _reached(external_url: str) -> Finding:
    """Whether the loop answers at its own address, with a certificate that can be verified."""
    url = f"{external_url}/up"
    try:
        async with _client(url) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        if "certificate" in reason.lower():
            mend = "GitHub would refuse it too: serve the whole chain, for this name, in its time"
            return Finding(WRONG, f"the certificate of {external_url} is not right: {reason}", mend)
        mend = "is the loop running? (from another machine than this one it may be reached)"
        return Finding(DOUBTFUL, f"{url} can't be reached from here: {reason}", mend)
    if answer.status_code != 200:
        mend = "does EXTERNAL_URL lead to the loop, and past every proxy?"
        return Finding(DOUBTFUL, f"{url} answers {answer.status_code}", mend)
    return Finding(OK, f"the loop answers at {external_url}")


async def _deliveries(hook: Hook, wanted: Wanted) -> list[Finding]:
    now = time.time()
    attempts = await hook.attempts(now - LOOKED_BACK, most=MOST_DELIVERIES)
    since = attempts[-1].delivered_at if len(attempts) >= MOST_DELIVERIES else now - LOOKED_BACK
    found = [findings.deliveries(attempts, now, since)]
    if wanted.redeliver:
        if attempts:
            found.append(await _redelivered(hook, attempts[0]))
        else:
            mend = "push something to a repository where the App is installed, and ask again"
            found.append(Finding(DOUBTFUL, "there is no delivery to send again", mend))
    return found


async def _redelivered(hook: Hook, attempt: Attempt) -> Finding:
    """Send one again and wait until GitHub lists how it went; there is nothing but asking."""
    before = {each.id for each in await hook.attempts(attempt.delivered_at)}
    await hook.redeliver(attempt)
    with trio.move_on_after(REDELIVERY_SECONDS):
        while True:
            for each in await hook.attempts(attempt.delivered_at):
                if each.guid == attempt.guid and each.id not in before:
                    return findings.redelivered(attempt, each, REDELIVERY_SECONDS)
            await trio.sleep(PAUSE)
    return findings.redelivered(attempt, None, REDELIVERY_SECONDS)


async def _rate_limit(github: GitHub) -> list[Finding]:
    assert github.app is not None
    credential = await github.app.any_installation()
    try:
        found = await github.api.call("GET", "/rate_limit", credential=credential)
    except NotFound:
        return [Finding(OK, "this Enterprise Server limits no rate")]
    return [findings.rate_limit(found if isinstance(found, dict) else {}, time.time())]


async def _device_flow(settings: Settings, client_id: str, info: AppInfo) -> Finding:
    """Ask for a device code, which nobody will use, to see whether there would be one."""
    url = f"{web_url(settings.github_api_url)}/login/device/code"
    try:
        async with _client(url) as client:
            headers = {"Accept": "application/json"}
            answer = await client.post(url, data={"client_id": client_id}, headers=headers)
        said: Any = answer.json() if len(answer.content) < 1 << 16 else None
    except (httpx.HTTPError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return Finding(DOUBTFUL, f"{url} can't be asked: {reason}", "is this machine offline?")
    return findings.device_flow(said if isinstance(said, dict) else {}, info)


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=10.0, trust_env=not is_loopback(url))

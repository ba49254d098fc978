"""Checks everything between GitHub and a loop, and says how to fix what is wrong.

Nothing is changed unless asked for: a redelivery, or the webhook's settings.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import trio

from bassloop.addresses import is_loopback, trusted_certificates
from bassloop.github import AppWebhook, GitHubError, NotFound
from bassloop.github.manifest import WEBHOOK_PATH, web_url
from bassloop.tools.setup import findings
from bassloop.tools.setup.findings import DOUBTFUL, OK, WRONG, Diagnosis

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from bassloop.github import AppInfo, DeliveryAttempt, GitHub
    from bassloop.settings import Settings

LOOKED_BACK = 24 * 3600.0
MOST_DELIVERIES = 1_000
REDELIVERY_SECONDS = 30.0
POLL_SECONDS = 1.0
_NO_APP = "run `bassloop github create-app`, or set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_PATH"


@dataclass(frozen=True, slots=True)
class Treatment:
    """The treatment besides looking: redeliver the newest delivery; set the webhook as the settings say."""

    redeliver: bool = False
    fix: bool = False


async def examine(
    settings: Settings, github: GitHub, treatment: Treatment | None = None
) -> AsyncGenerator[Diagnosis]:
    """Examine everything, in the order in which things depend on each other.

    What can't be examined, because GitHub refuses or can't be reached, is reported as wrong.
    """
    treatment = treatment or Treatment()
    try:
        skew = await github.api.clock_skew()
    except GitHubError as error:
        yield Diagnosis(WRONG, str(error))
        return
    yield Diagnosis(OK, f"{settings.github_api_url} answers")
    if skew is not None:
        yield findings.clock(skew)
    if github.app is None:
        yield Diagnosis(WRONG, "no GitHub App is set", _NO_APP)
        return
    hook = github.webhook
    try:
        info = await hook.info()
    except GitHubError as error:
        yield Diagnosis(WRONG, str(error))
        return
    yield Diagnosis(OK, f"GitHub knows the App {info.slug} ({info.html_url}) by its id and key")
    fix = f"grant them under Permissions & events of {info.settings_url}, and accept them"
    yield findings.permissions(info.permissions, "the App", fix)
    yield findings.events(info)
    for found in await _or_error(_installations(github, info)):
        yield found
    for found in await _or_error(_webhook(settings, hook, info, treatment)):
        yield found
    if settings.external_url is not None:
        yield await _reached(settings.external_url)
    for found in await _or_error(_deliveries(hook, treatment)):
        yield found
    for found in await _or_error(_rate_limit(github)):
        yield found
    if settings.github_app_client_id is not None:
        yield await _device_flow(settings, settings.github_app_client_id, info)


async def _or_error(looking: Awaitable[list[Diagnosis]]) -> list[Diagnosis]:
    try:
        return await looking
    except GitHubError as error:
        return [Diagnosis(WRONG, str(error))]


async def _installations(github: GitHub, info: AppInfo) -> list[Diagnosis]:
    assert github.app is not None
    found = await github.api.listed(
        "/app/installations?per_page=100", credential=github.app.credential
    )
    return findings.installations([each for each in found if isinstance(each, dict)], info)


async def _webhook(
    settings: Settings, hook: AppWebhook, info: AppInfo, treatment: Treatment
) -> list[Diagnosis]:
    url = settings.external_url and f"{settings.external_url}{WEBHOOK_PATH}"
    secret = settings.webhook_secret()
    config = await hook.config()
    found = findings.webhook(config, url, secret is not None, info)
    if treatment.fix and url and secret and any(each.state == WRONG for each in found):
        await hook.configure(url=url, secret=secret.decode())
        config = await hook.config()
        mended = Diagnosis(OK, "the webhook's settings were set as the loop's say")
        return [mended, *findings.webhook(config, url, signed=True, info=info)]
    return found


async def _reached(external_url: str) -> Diagnosis:
    """Check that the loop answers at its external address, with a valid certificate."""
    url = f"{external_url}/up"
    try:
        async with _client(url) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        if "certificate" in reason.lower():
            fix = "GitHub would refuse it too: serve the whole chain, for this name, in its time"
            return Diagnosis(
                WRONG, f"the certificate of {external_url} is not right: {reason}", fix
            )
        fix = "is the loop running? (from another machine than this one it may be reached)"
        return Diagnosis(DOUBTFUL, f"{url} can't be reached from here: {reason}", fix)
    if answer.status_code != 200:
        fix = "does EXTERNAL_URL lead to the loop, and past every proxy?"
        return Diagnosis(DOUBTFUL, f"{url} answers {answer.status_code}", fix)
    return Diagnosis(OK, f"the loop answers at {external_url}")


async def _deliveries(hook: AppWebhook, treatment: Treatment) -> list[Diagnosis]:
    now = time.time()
    attempts = await hook.attempts(now - LOOKED_BACK, most=MOST_DELIVERIES)
    since = attempts[-1].delivered_at if len(attempts) >= MOST_DELIVERIES else now - LOOKED_BACK
    found = [findings.deliveries(attempts, now, since)]
    if treatment.redeliver:
        if attempts:
            found.append(await _redelivered(hook, attempts[0]))
        else:
            fix = "push something to a repository where the App is installed, and ask again"
            found.append(Diagnosis(DOUBTFUL, "there is no delivery to send again", fix))
    return found


async def _redelivered(hook: AppWebhook, attempt: DeliveryAttempt) -> Diagnosis:
    """Redeliver, and wait until GitHub lists the outcome, which it tells only if asked."""
    before = {each.id for each in await hook.attempts(attempt.delivered_at)}
    await hook.redeliver(attempt)
    with trio.move_on_after(REDELIVERY_SECONDS):
        while True:
            for each in await hook.attempts(attempt.delivered_at):
                if each.guid == attempt.guid and each.id not in before:
                    return findings.redelivered(attempt, each, REDELIVERY_SECONDS)
            await trio.sleep(POLL_SECONDS)
    return findings.redelivered(attempt, None, REDELIVERY_SECONDS)


async def _rate_limit(github: GitHub) -> list[Diagnosis]:
    assert github.app is not None
    credential = await github.app.any_installation()
    try:
        found = await github.api.call("GET", "/rate_limit", credential=credential)
    except NotFound:
        return [Diagnosis(OK, "this Enterprise Server limits no rate")]
    return [findings.rate_limit(found if isinstance(found, dict) else {}, time.time())]


async def _device_flow(settings: Settings, client_id: str, info: AppInfo) -> Diagnosis:
    """Ask for a device code, which nobody will use, to find out whether the device flow is on."""
    url = f"{web_url(settings.github_api_url)}/login/device/code"
    try:
        async with _client(url) as client:
            headers = {"Accept": "application/json"}
            answer = await client.post(url, data={"client_id": client_id}, headers=headers)
        content: Any = answer.json() if len(answer.content) < 1 << 16 else None
    except (httpx.HTTPError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return Diagnosis(DOUBTFUL, f"{url} can't be reached: {reason}", "is this machine offline?")
    return findings.device_flow(content if isinstance(content, dict) else {}, info)


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=10.0, trust_env=not is_loopback(url), verify=trusted_certificates(url)
    )

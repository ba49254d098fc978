"""Check everything between GitHub and a loop, and report how to fix what is wrong.

Nothing is changed unless requested: a redelivery, or the webhook's settings.

Diagnoses are functions of GitHub's answers, without I/O. Each one has a fix.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import trio

from bassloop.addresses import is_loopback, trusted_certificates
from bassloop.github import AppWebhook, GitHubError, NotFound
from bassloop.github.app_registration import EVENTS, PERMISSIONS, WEBHOOK_PATH, web_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence

    from bassloop.github import AppInfo, DeliveryAttempt, GitHub, WebhookConfig
    from bassloop.settings import Settings


OK, DOUBTFUL, WRONG = "ok", "doubtful", "wrong"
_LEVELS = {"read": 1, "write": 2, "admin": 3}

MAX_SKEW = 60.0
"""The tolerated clock skew in seconds. Our tokens are valid from a minute ago."""

DOUBTFUL_SKEW = 20.0

LOOKED_BACK = 24 * 3600.0
MOST_DELIVERIES = 1_000
REDELIVERY_SECONDS = 30.0
POLL_SECONDS = 1.0
_NO_APP = "run `bassloop github create-app`, or set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_PATH"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of one part: a state (`ok`, `doubtful` or `wrong`), a sentence, and the fix."""

    state: str
    text: str
    fix: str | None = None


def clock(skew: float) -> Diagnosis:
    """Judge the clock. `skew` is in seconds, positive if our clock is ahead of GitHub's."""
    text = f"the clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} GitHub's"
    fix = "set the clock, and keep it with NTP: GitHub refuses tokens from the future"
    if abs(skew) >= MAX_SKEW:
        return Diagnosis(WRONG, text, fix)
    if abs(skew) >= DOUBTFUL_SKEW:
        return Diagnosis(DOUBTFUL, text, fix)
    return Diagnosis(OK, "the clock agrees with GitHub's")


def permissions(granted: Mapping[str, str], where: str, fix: str) -> Diagnosis:
    """Judge whether everything that the loop needs was granted; `where` names the grantee."""
    missing = [
        f"{name} ({level})"
        for name, level in PERMISSIONS.items()
        if _LEVELS.get(granted.get(name, ""), 0) < _LEVELS[level]
    ]
    if missing:
        return Diagnosis(WRONG, f"{where} lacks the permissions {', '.join(missing)}", fix)
    return Diagnosis(OK, f"{where} has the permissions that the loop needs")


def events(info: AppInfo) -> Diagnosis:
    """Judge whether the App is subscribed to the events that the loop handles."""
    missing = [name for name in EVENTS if name not in info.events]
    if missing:
        fix = f"tick them under Permissions & events of {info.settings_url}"
        return Diagnosis(WRONG, f"the App is not subscribed to {', '.join(missing)}", fix)
    return Diagnosis(OK, f"the App is subscribed to {', '.join(EVENTS)}")


def installations(found: Sequence[Mapping[str, Any]], info: AppInfo) -> list[Diagnosis]:
    """Judge where the App is installed, and whether its permissions were accepted there."""
    if not found:
        fix = f"install it: {info.html_url}/installations/new"
        return [Diagnosis(WRONG, "the App is installed nowhere, so nothing is delivered", fix)]
    findings = []
    for each in found:
        account = (each.get("account") or {}).get("login") or f"installation {each.get('id')}"
        where, page = f"the installation on {account}", each.get("html_url") or info.html_url
        if each.get("suspended_at"):
            fix = f"lift the suspension: {page}"
            findings.append(Diagnosis(DOUBTFUL, f"{where} is suspended", fix))
        else:
            fix = f"accept the App's new permissions: {page}"
            findings.append(permissions(each.get("permissions") or {}, where, fix))
    return findings


def webhook(
    config: WebhookConfig, wanted: str | None, signed: bool, info: AppInfo
) -> list[Diagnosis]:
    """Judge the webhook's address, encoding, certificate and secret.

    Args:
        wanted: the address according to our settings; None if EXTERNAL_URL isn't set.
        signed: whether the loop has a webhook secret.
    """
    settings = f"under Webhook of {info.settings_url}, or let `bassloop github doctor --fix` do it"
    findings = []
    if not config.url:
        findings.append(Diagnosis(WRONG, "the webhook has no address", f"set it {settings}"))
    elif wanted is None:
        text = f"deliveries go to {config.url}, and EXTERNAL_URL is not set to compare"
        findings.append(
            Diagnosis(
                DOUBTFUL, text, "set EXTERNAL_URL to the address at which people reach the loop"
            )
        )
    elif config.url != wanted:
        text = f"deliveries go to {config.url}, and the loop is at {wanted}"
        findings.append(Diagnosis(WRONG, text, f"set EXTERNAL_URL, or the address {settings}"))
    else:
        findings.append(Diagnosis(OK, f"deliveries go to {config.url}"))
    if config.content_type != "json":
        text = f"deliveries come as {config.content_type}, which the loop refuses with 415"
        findings.append(Diagnosis(WRONG, text, f"choose application/json {settings}"))
    else:
        findings.append(Diagnosis(OK, "deliveries come as JSON"))
    if not config.has_secret or not signed:
        whose = "GitHub has" if not config.has_secret else "the loop has"
        fix = f"set the same secret as GITHUB_APP_WEBHOOK_SECRET and {settings}"
        findings.append(Diagnosis(WRONG, f"{whose} no webhook secret", fix))
    if config.url.startswith("http://"):
        fix = "serve HTTPS (TLS_CERT_PATH, or a proxy), and set EXTERNAL_URL to it"
        findings.append(Diagnosis(DOUBTFUL, "deliveries are sent without TLS", fix))
    elif config.insecure_ssl:
        fix = f"enable SSL verification {settings}"
        findings.append(Diagnosis(DOUBTFUL, "GitHub does not verify the loop's certificate", fix))
    return findings


def deliveries(attempts: Sequence[DeliveryAttempt], now: float, since: float) -> Diagnosis:
    """Judge whether the latest deliveries arrived. `attempts` is newest first."""
    newest: dict[str, DeliveryAttempt] = {}
    arrived: set[str] = set()
    for attempt in attempts:
        newest.setdefault(attempt.guid, attempt)
        if attempt.arrived:
            arrived.add(attempt.guid)
    hours = (now - since) / 3600
    if not newest:
        fix = "push something to a repository where it is installed"
        return Diagnosis(DOUBTFUL, f"GitHub delivered nothing in the last {hours:.0f} hours", fix)
    lost = [attempt for guid, attempt in newest.items() if guid not in arrived]
    if not lost:
        return Diagnosis(OK, f"{_all(len(newest))} of the last {hours:.0f} hours arrived")
    last = lost[0]
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(last.delivered_at))
    text = (
        f"{len(lost)} of {len(newest)} deliveries of the last {hours:.0f} hours did not arrive, the "
        f"last ({last.event}, {last.guid}) at {when}: {_answered(last.status)}"
    )
    if last is next(iter(newest.values())):
        return Diagnosis(WRONG, text, _fix_for(last.status))
    fix = "newer ones did arrive; the loop fetches missed deliveries when it starts, and every hour"
    return Diagnosis(DOUBTFUL, text, fix)


def redelivered(
    attempt: DeliveryAttempt, again: DeliveryAttempt | None, seconds: float
) -> Diagnosis:
    """Judge a redelivery; `again` is None if GitHub does not list it."""
    what = f"{attempt.event} ({attempt.guid})"
    if again is None:
        text = f"{what} was asked for again, and GitHub lists no attempt after {seconds:.0f} s"
        return Diagnosis(DOUBTFUL, text, "look again in a minute: GitHub may be slow")
    if again.arrived:
        return Diagnosis(OK, f"{what} was delivered again, and arrived")
    text = f"{what} was delivered again, and did not arrive: {_answered(again.status)}"
    return Diagnosis(WRONG, text, _fix_for(again.status))


def rate_limit(found: Mapping[str, Any], now: float) -> Diagnosis:
    """Judge the rate limit; `found` is GitHub's answer to GET /rate_limit."""
    core = (found.get("resources") or {}).get("core") or found.get("rate") or {}
    limit, left = int(core.get("limit") or 0), int(core.get("remaining") or 0)
    minutes = max((float(core.get("reset") or 0) - now) / 60, 0)
    text = f"{left:,} of {limit:,} calls are left for the next {minutes:.0f} minutes"
    if left == 0:
        return Diagnosis(WRONG, text, "wait: the loop waits as well, and continues by itself")
    if left * 10 < limit:
        return Diagnosis(DOUBTFUL, text, "what else uses this App's installation?")
    return Diagnosis(OK, text)


def device_flow(answer: Mapping[str, Any], info: AppInfo) -> Diagnosis:
    """Judge whether people can sign in on the command line. Errors come with the status 200."""
    if answer.get("device_code"):
        return Diagnosis(OK, "the device flow is on")
    error = str(answer.get("error") or "an answer that can't be read")
    if error == "device_flow_disabled":
        fix = f"tick Enable Device Flow: {info.settings_url}"
        return Diagnosis(DOUBTFUL, "the device flow is off", fix)
    fix = "is GITHUB_APP_CLIENT_ID that of this App?"
    return Diagnosis(WRONG, f"GitHub refuses the device flow: {error}", fix)


def _all(count: int) -> str:
    return "the one delivery" if count == 1 else f"all {count} deliveries"


def _answered(status: int) -> str:
    return f"the answer was {status}" if status else "nobody answered"


def _fix_for(status: int) -> str:
    if status == 0:
        return "is the loop running, and does the webhook's address reach it from the internet?"
    if status in (401, 403):
        return "is GITHUB_APP_WEBHOOK_SECRET the webhook's secret?"
    if status == 415:
        return "choose the content type application/json for the webhook"
    if status == 404:
        return "is the webhook's path /integrations/github/events, and does a proxy lead it there?"
    if status == 413:
        return "let the proxy before the loop take bodies of 25 MB"
    return "the loop's log, or its proxy's, says why"


@dataclass(frozen=True, slots=True)
class Treatment:
    """What to change: redeliver the newest delivery, or set the webhook as the settings say."""

    redeliver: bool = False
    fix: bool = False


async def examine(
    settings: Settings, github: GitHub, treatment: Treatment | None = None
) -> AsyncGenerator[Diagnosis]:
    """Examine all parts, each after those that it depends on.

    If GitHub refuses or can't be reached, what can't be examined is reported as wrong.
    """
    treatment = treatment or Treatment()
    try:
        skew = await github.api.clock_skew()
    except GitHubError as error:
        yield Diagnosis(WRONG, str(error))
        return
    yield Diagnosis(OK, f"{settings.github_api_url} answers")
    if skew is not None:
        yield clock(skew)
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
    yield permissions(info.permissions, "the App", fix)
    yield events(info)
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
    return installations([each for each in found if isinstance(each, dict)], info)


async def _webhook(
    settings: Settings, hook: AppWebhook, info: AppInfo, treatment: Treatment
) -> list[Diagnosis]:
    url = settings.external_url and f"{settings.external_url}{WEBHOOK_PATH}"
    secret = settings.webhook_secret()
    config = await hook.config()
    found = webhook(config, url, secret is not None, info)
    if treatment.fix and url and secret and any(each.state == WRONG for each in found):
        await hook.configure(url=url, secret=secret.decode())
        config = await hook.config()
        mended = Diagnosis(OK, "the webhook's settings were set as the loop's say")
        return [mended, *webhook(config, url, signed=True, info=info)]
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
    found = [deliveries(attempts, now, since)]
    if treatment.redeliver:
        if attempts:
            found.append(await _redelivered(hook, attempts[0]))
        else:
            fix = "push something to a repository where the App is installed, and ask again"
            found.append(Diagnosis(DOUBTFUL, "there is no delivery to send again", fix))
    return found


async def _redelivered(hook: AppWebhook, attempt: DeliveryAttempt) -> Diagnosis:
    """Redeliver, and poll until GitHub lists the outcome."""
    before = {each.id for each in await hook.attempts(attempt.delivered_at)}
    await hook.redeliver(attempt)
    with trio.move_on_after(REDELIVERY_SECONDS):
        while True:
            for each in await hook.attempts(attempt.delivered_at):
                if each.guid == attempt.guid and each.id not in before:
                    return redelivered(attempt, each, REDELIVERY_SECONDS)
            await trio.sleep(POLL_SECONDS)
    return redelivered(attempt, None, REDELIVERY_SECONDS)


async def _rate_limit(github: GitHub) -> list[Diagnosis]:
    assert github.app is not None
    credential = await github.app.any_installation()
    try:
        found = await github.api.call("GET", "/rate_limit", credential=credential)
    except NotFound:
        return [Diagnosis(OK, "this Enterprise Server limits no rate")]
    return [rate_limit(found if isinstance(found, dict) else {}, time.time())]


async def _device_flow(settings: Settings, client_id: str, info: AppInfo) -> Diagnosis:
    """Request an unused device code to find out whether the device flow is enabled."""
    url = f"{web_url(settings.github_api_url)}/login/device/code"
    try:
        async with _client(url) as client:
            headers = {"Accept": "application/json"}
            answer = await client.post(url, data={"client_id": client_id}, headers=headers)
        content: Any = answer.json() if len(answer.content) < 1 << 16 else None
    except (httpx.HTTPError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return Diagnosis(DOUBTFUL, f"{url} can't be reached: {reason}", "is this machine offline?")
    return device_flow(content if isinstance(content, dict) else {}, info)


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=10.0, trust_env=not is_loopback(url), verify=trusted_certificates(url)
    )

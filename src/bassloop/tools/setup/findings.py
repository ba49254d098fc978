"""What the doctor thinks of what GitHub says. Pure: from GitHub's answers to findings with their mends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.github.manifest import EVENTS, PERMISSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github import AppInfo, Attempt, HookConfig

OK, DOUBTFUL, WRONG = "ok", "doubtful", "wrong"
_LEVELS = {"read": 1, "write": 2, "admin": 3}

MAX_SKEW = 60.0
"""Seconds that the clock may be wrong; our statements begin a minute back."""

DOUBTFUL_SKEW = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `ok`, `doubtful` or `wrong`, with what mends it."""

    state: str
    said: str
    mend: str | None = None


def clock(skew: float) -> Finding:
    """`skew` is in seconds, positive when our clock is ahead of GitHub's."""
    said = f"the clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} GitHub's"
    mend = "set the clock, and keep it with NTP: GitHub refuses statements from the future"
    if abs(skew) >= MAX_SKEW:
        return Finding(WRONG, said, mend)
    if abs(skew) >= DOUBTFUL_SKEW:
        return Finding(DOUBTFUL, said, mend)
    return Finding(OK, "the clock agrees with GitHub's")


def permissions(granted: Mapping[str, str], where: str, mend: str) -> Finding:
    """Whether all that the loop needs was granted; `where` says to whom."""
    missing = [
        f"{name} ({level})"
        for name, level in PERMISSIONS.items()
        if _LEVELS.get(granted.get(name, ""), 0) < _LEVELS[level]
    ]
    if missing:
        return Finding(WRONG, f"{where} lacks the permissions {', '.join(missing)}", mend)
    return Finding(OK, f"{where} has the permissions that the loop needs")


def events(info: AppInfo) -> Finding:
    """Whether the App is subscribed to what the loop handles."""
    missing = [name for name in EVENTS if name not in info.events]
    if missing:
        mend = f"tick them under Permissions & events of {info.settings_url}"
        return Finding(WRONG, f"the App is not subscribed to {', '.join(missing)}", mend)
    return Finding(OK, f"the App is subscribed to {', '.join(EVENTS)}")


def installations(found: Sequence[Mapping[str, Any]], info: AppInfo) -> list[Finding]:
    """Where the App is installed, and whether its permissions were accepted there."""
    if not found:
        mend = f"install it: {info.html_url}/installations/new"
        return [Finding(WRONG, "the App is installed nowhere, so nothing is delivered", mend)]
    findings = []
    for each in found:
        account = (each.get("account") or {}).get("login") or f"installation {each.get('id')}"
        where, page = f"the installation on {account}", each.get("html_url") or info.html_url
        if each.get("suspended_at"):
            mend = f"lift the suspension: {page}"
            findings.append(Finding(DOUBTFUL, f"{where} is suspended", mend))
        else:
            mend = f"accept the App's new permissions: {page}"
            findings.append(permissions(each.get("permissions") or {}, where, mend))
    return findings


def webhook(config: HookConfig, wanted: str | None, signed: bool, info: AppInfo) -> list[Finding]:
    """The webhook's address, encoding, certificate and secret.

    Args:
        wanted: the address that our own settings lead to; None when EXTERNAL_URL is not set.
        signed: whether the loop knows a webhook secret.
    """
    settings = f"under Webhook of {info.settings_url}, or let `bassloop github doctor --mend` do it"
    findings = []
    if not config.url:
        findings.append(Finding(WRONG, "the webhook has no address", f"set it {settings}"))
    elif wanted is None:
        said = f"deliveries go to {config.url}, and EXTERNAL_URL is not set to compare"
        findings.append(Finding(DOUBTFUL, said, "set EXTERNAL_URL to how people reach the loop"))
    elif config.url != wanted:
        said = f"deliveries go to {config.url}, and the loop is at {wanted}"
        findings.append(Finding(WRONG, said, f"set EXTERNAL_URL, or the address {settings}"))
    else:
        findings.append(Finding(OK, f"deliveries go to {config.url}"))
    if config.content_type != "json":
        said = f"deliveries come as {config.content_type}, which the loop refuses with 415"
        findings.append(Finding(WRONG, said, f"choose application/json {settings}"))
    else:
        findings.append(Finding(OK, "deliveries come as JSON"))
    if not config.has_secret or not signed:
        whose = "GitHub has" if not config.has_secret else "the loop has"
        mend = f"set the same secret as GITHUB_APP_WEBHOOK_SECRET and {settings}"
        findings.append(Finding(WRONG, f"{whose} no webhook secret", mend))
    if config.url.startswith("http://"):
        mend = "serve HTTPS (TLS_CERT_PATH, or a proxy), and set EXTERNAL_URL to it"
        findings.append(Finding(DOUBTFUL, "deliveries are sent without TLS", mend))
    elif config.insecure_ssl:
        mend = f"enable SSL verification {settings}"
        findings.append(Finding(DOUBTFUL, "GitHub does not verify the loop's certificate", mend))
    return findings


def deliveries(attempts: Sequence[Attempt], now: float, since: float) -> Finding:
    """Whether the newest deliveries arrived. `attempts` is newest first."""
    newest: dict[str, Attempt] = {}
    arrived: set[str] = set()
    for attempt in attempts:
        newest.setdefault(attempt.guid, attempt)
        if attempt.arrived:
            arrived.add(attempt.guid)
    hours = (now - since) / 3600
    if not newest:
        mend = "push something to a repository where it is installed"
        return Finding(DOUBTFUL, f"GitHub delivered nothing in the last {hours:.0f} hours", mend)
    lost = [attempt for guid, attempt in newest.items() if guid not in arrived]
    if not lost:
        return Finding(OK, f"{_all(len(newest))} of the last {hours:.0f} hours arrived")
    last = lost[0]
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(last.delivered_at))
    said = (
        f"{len(lost)} of {len(newest)} deliveries of the last {hours:.0f} hours did not arrive, the "
        f"last ({last.event}, {last.guid}) at {when}: {_answered(last.status)}"
    )
    if last is next(iter(newest.values())):
        return Finding(WRONG, said, _mend(last.status))
    mend = "newer ones did arrive; the loop fetches what it missed when it starts, and every hour"
    return Finding(DOUBTFUL, said, mend)


def redelivered(attempt: Attempt, again: Attempt | None, seconds: float) -> Finding:
    """What became of a delivery that was asked for again; `again` is None when nothing was heard."""
    what = f"{attempt.event} ({attempt.guid})"
    if again is None:
        said = f"{what} was asked for again, and GitHub lists no attempt after {seconds:.0f} s"
        return Finding(DOUBTFUL, said, "look again in a minute: GitHub may be slow")
    if again.arrived:
        return Finding(OK, f"{what} was delivered again, and arrived")
    said = f"{what} was delivered again, and did not arrive: {_answered(again.status)}"
    return Finding(WRONG, said, _mend(again.status))


def rate_limit(found: Mapping[str, Any], now: float) -> Finding:
    """How much may still be asked; `found` is GitHub's answer to GET /rate_limit."""
    core = (found.get("resources") or {}).get("core") or found.get("rate") or {}
    limit, left = int(core.get("limit") or 0), int(core.get("remaining") or 0)
    minutes = max((float(core.get("reset") or 0) - now) / 60, 0)
    said = f"{left:,} of {limit:,} calls are left for the next {minutes:.0f} minutes"
    if left == 0:
        return Finding(WRONG, said, "wait: the loop does, and goes on by itself")
    if left * 10 < limit:
        return Finding(DOUBTFUL, said, "what else uses this App's installation?")
    return Finding(OK, said)


def device_flow(answer: Mapping[str, Any], info: AppInfo) -> Finding:
    """Whether people can sign in on the command line; errors come with the status 200."""
    if answer.get("device_code"):
        return Finding(OK, "the device flow is on")
    error = str(answer.get("error") or "an answer that can't be read")
    if error == "device_flow_disabled":
        mend = f"tick Enable Device Flow: {info.settings_url}"
        return Finding(DOUBTFUL, "the device flow is off", mend)
    mend = "is GITHUB_APP_CLIENT_ID that of this App?"
    return Finding(WRONG, f"GitHub refuses the device flow: {error}", mend)


def _all(count: int) -> str:
    return "the one delivery" if count == 1 else f"all {count} deliveries"


def _answered(status: int) -> str:
    return f"the answer was {status}" if status else "nobody answered"


def _mend(status: int) -> str:
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

"""GitHub: who signs, what events mean, and the calls that the loop makes.

Parsing and deciding is pure (:mod:`events`, :mod:`signature`, :mod:`limits`, :mod:`check_runs`);
:mod:`client` is the thin shell around it, :mod:`api` the HTTP below it, :mod:`oauth` asks who somebody
is::

    async with open_github(GitHubConfig(app_id=1, private_key=pem)) as github:
        repo = github.repository(installation_id, "octocat", "hello")
        hook = await repo.file("project.bass", head_sha)
"""

from __future__ import annotations

from bassloop.github.client import GitHub, GitHubConfig, GitHubRepository, open_github
from bassloop.github.errors import (
    Forbidden,
    GitHubError,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    retry_after,
)
from bassloop.github.events import MalformedEvent, parse_event
from bassloop.github.hook import AppInfo, Attempt, Hook, HookConfig, missed
from bassloop.github.keys import Keys
from bassloop.github.models import (
    Action,
    Annotation,
    CheckOutput,
    CheckRunDraft,
    CheckRunRecord,
    Entry,
    Event,
    Head,
    PullRequest,
    Repository,
    User,
)
from bassloop.github.oauth import (
    DeviceCode,
    OAuth,
    OAuthConfig,
    SignInPending,
    SignInRefused,
)
from bassloop.github.pace import Patience
from bassloop.github.signature import sign, verify_signature

__all__ = [
    "Action",
    "Annotation",
    "AppInfo",
    "Attempt",
    "CheckOutput",
    "CheckRunDraft",
    "CheckRunRecord",
    "DeviceCode",
    "Entry",
    "Event",
    "Forbidden",
    "GitHub",
    "GitHubConfig",
    "GitHubError",
    "GitHubRepository",
    "Head",
    "Hook",
    "HookConfig",
    "Keys",
    "MalformedEvent",
    "NotFound",
    "OAuth",
    "OAuthConfig",
    "Patience",
    "PullRequest",
    "RateLimited",
    "Refused",
    "Repository",
    "SignInPending",
    "SignInRefused",
    "Unauthorized",
    "User",
    "missed",
    "open_github",
    "parse_event",
    "retry_after",
    "sign",
    "verify_signature",
]

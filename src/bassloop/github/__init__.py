"""GitHub: the API client, the App's credentials and webhook, users' keys, signing in.

Others call :mod:`github` and :mod:`repository_client`; :mod:`rest_client` is the HTTP below them. What parses or
decides does no I/O (:mod:`webhook_events`, :mod:`api_budget`, and the requests of :mod:`check_runs`)::

    async with open_github(GitHubConfig(app_id=1, private_key=pem)) as github:
        repo = github.repository(installation_id, "octocat", "hello")
        hook = await repo.file("project.bass", head_sha)
"""

from __future__ import annotations

from bassloop.github.api_budget import APIBudget, Purpose, purpose_name, spending
from bassloop.github.app_registration import (
    AppInfo,
    AppWebhook,
    DeliveryAttempt,
    WebhookConfig,
    missing_deliveries,
)
from bassloop.github.errors import (
    Forbidden,
    GitHubError,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    retry_after,
)
from bassloop.github.github import GitHub, GitHubConfig, open_github
from bassloop.github.login_keys import KeyStore, LoginKeys
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
from bassloop.github.repository_client import RepositoryClient
from bassloop.github.rest_client import RetryPolicy
from bassloop.github.webhook_events import MalformedEvent, parse_event, sign, verify_signature

__all__ = [
    "APIBudget",
    "Action",
    "Annotation",
    "AppInfo",
    "AppWebhook",
    "CheckOutput",
    "CheckRunDraft",
    "CheckRunRecord",
    "DeliveryAttempt",
    "DeviceCode",
    "Entry",
    "Event",
    "Forbidden",
    "GitHub",
    "GitHubConfig",
    "GitHubError",
    "Head",
    "KeyStore",
    "LoginKeys",
    "MalformedEvent",
    "NotFound",
    "OAuth",
    "OAuthConfig",
    "PullRequest",
    "Purpose",
    "RateLimited",
    "Refused",
    "Repository",
    "RepositoryClient",
    "RetryPolicy",
    "SignInPending",
    "SignInRefused",
    "Unauthorized",
    "User",
    "WebhookConfig",
    "missing_deliveries",
    "open_github",
    "parse_event",
    "purpose_name",
    "retry_after",
    "sign",
    "spending",
    "verify_signature",
]

"""GitHub: who signs, what events mean, and the calls that the loop makes.

Parsing and deciding is pure (:mod:`events`, :mod:`signature`, :mod:`limits`); :mod:`client` is the
thin shell around it.
"""

from __future__ import annotations

from bassloop.github.client import GitHub, GitHubConfig, GitHubRepository, open_github
from bassloop.github.errors import GitHubError, NotFound, RateLimited, Unauthorized
from bassloop.github.events import MalformedEvent, parse_event
from bassloop.github.keys import Keys
from bassloop.github.models import (
    CheckRunDraft,
    CheckRunRecord,
    Entry,
    Event,
    Head,
    PullRequest,
    Repository,
    User,
)
from bassloop.github.signature import sign, verify_signature

__all__ = [
    "CheckRunDraft",
    "CheckRunRecord",
    "Entry",
    "Event",
    "GitHub",
    "GitHubConfig",
    "GitHubError",
    "GitHubRepository",
    "Head",
    "Keys",
    "MalformedEvent",
    "NotFound",
    "PullRequest",
    "RateLimited",
    "Repository",
    "Unauthorized",
    "User",
    "open_github",
    "parse_event",
    "sign",
    "verify_signature",
]

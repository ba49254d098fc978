"""Rules that name repositories: ``owner/name``, or ``owner/*`` for all of an owner's. Pure."""

from __future__ import annotations

import re

_RULE = re.compile(r"[A-Za-z0-9_.-]+/(\*|[A-Za-z0-9_.-]+)\Z")


def is_rule(text: str) -> bool:
    """Whether a text is a rule."""
    return _RULE.match(text) is not None


def allows(rule: str, repository: str) -> bool:
    """Whether a rule names a repository. Case does not count, as it does not on GitHub."""
    owner, _, _ = repository.lower().partition("/")
    return rule.lower() in (repository.lower(), f"{owner}/*")


def narrowness(rule: str) -> int:
    """The more, the fewer repositories a rule names; an empty one names all."""
    return 0 if not rule else 1 if rule.endswith("/*") else 2

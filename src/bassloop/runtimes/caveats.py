"""What a kind of runner can't do, whatever is asked of it: in words, for who wonders why."""

from __future__ import annotations

CAVEATS: dict[str, dict[str, str]] = {
    "go": {
        "secrets": "secrets reach it without a value",
        "cancelling": "a cancelled check's command runs on until it ends",
        "publishing": "it can't publish",
        "several": "only the first runtime of one connection is reached",
        "long logs": "BuildKit, behind it, clips what a command prints too fast or too much of",
    },
}
"""By the kind of runner (see `Runtime.kind`), and by what it is about."""


def caveats(kind: str | None) -> tuple[str, ...]:
    """All that runners of this kind can't do."""
    return tuple(CAVEATS.get(kind or "", {}).values())


def caveat(kind: str | None, about: str) -> str | None:
    """Why something can't be done by runners of this kind; None when it can."""
    return CAVEATS.get(kind or "", {}).get(about)

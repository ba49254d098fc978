"""Which form of an answer is wanted."""

from __future__ import annotations

from quart import request


def wants_json() -> bool:
    """Whether whoever asks prefers JSON to a page."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"

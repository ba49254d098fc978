"""What GitHub refuses, and what mends it."""

from __future__ import annotations


class GitHubError(Exception):
    """A call to GitHub failed. `status` is HTTP's; 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(GitHubError):  # noqa: N818
    """GitHub has no such thing, or does not show it to this App."""


class Unauthorized(GitHubError):  # noqa: N818
    """GitHub does not know who asks: the App's id or key is wrong, or the clock."""


class RateLimited(GitHubError):  # noqa: N818
    """Too much was asked. `retry_after` is in seconds."""

    def __init__(self, message: str, status: int, retry_after: float) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after


def explain(status: int, what: str, said: str) -> GitHubError:
    """The error for an answer: what was asked, what GitHub said, what mends it."""
    message = f"GitHub answered {status} to {what}" + (f": {said}" if said else "")
    if status == 401:
        mend = "are GITHUB_APP_ID and the private key those of the same App, and is the clock right?"
        return Unauthorized(f"{message} ({mend})", status)
    if status == 403:
        mend = "has the App the permission that this needs, and was it accepted?"
        return GitHubError(f"{message} ({mend})", status)
    if status == 404:
        return NotFound(f"{message} (does it exist, and is the App installed there?)", status)
    return GitHubError(message, status)

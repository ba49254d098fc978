"""What GitHub refuses, and what mends it."""

from __future__ import annotations


class GitHubError(Exception):
    """A call to GitHub failed.

    Args:
        status: HTTP's; 0 when there was no answer.
        uncertain: it may have been done all the same: the answer was lost, or is broken.
    """

    def __init__(self, message: str, status: int = 0, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.uncertain = uncertain

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later although nobody changes what is asked: GitHub is
        down, limits us, can't be reached, or answered with garbage."""
        return self.status == 0 or self.status >= 500 or self.uncertain


class NotFound(GitHubError):
    """GitHub has no such thing, or does not show it to this App."""


class Unauthorized(GitHubError):
    """GitHub does not know who asks: the App's id or key is wrong, or the clock."""

    @property
    def passing(self) -> bool:
        """It passes when the operator mends it, and no delivery is at fault."""
        return True


class TooLong(GitHubError):
    """GitHub's answer is longer than what is taken of it; it will not be shorter next time."""

    @property
    def passing(self) -> bool:
        """Never."""
        return False


class Forbidden(GitHubError):
    """The App may not do this: it lacks a permission, or is suspended."""


class Refused(GitHubError):
    """GitHub finds what was sent invalid, or we do, before sending it."""


class RateLimited(GitHubError):
    """Too much was asked; nothing was done. `retry_after` is in seconds."""

    def __init__(self, message: str, status: int, retry_after: float) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Always."""
        return True


def retry_after(error: BaseException) -> float | None:
    """Return the minimum delay in seconds before retrying, or None if the error is permanent.

    A group of errors is as permanent as any of them.
    """
    if isinstance(error, BaseExceptionGroup):
        delays = [retry_after(each) for each in error.exceptions]
        known = [delay for delay in delays if delay is not None]
        return max(known) if len(known) == len(delays) else None
    if isinstance(error, RateLimited):
        return error.retry_after
    if isinstance(error, GitHubError) and error.passing:
        return 0.0
    return None


def explain(status: int, what: str, said: str, *, permissions: str = "") -> GitHubError:
    """The error for an answer: what was asked, what GitHub said, what mends it. Pure.

    Args:
        permissions: the header ``X-Accepted-GitHub-Permissions``, as in ``checks=write``.
    """
    message = f"GitHub answered {status} to {what}" + (f": {said}" if said else "")
    if status == 401:
        mend = (
            "are GITHUB_APP_ID and the private key those of the same App, and is the clock right?"
        )
        return Unauthorized(f"{message} ({mend})", status)
    if status == 403:
        needed = (
            f"the permission {permissions}" if permissions else "the permission that this needs"
        )
        mend = f"grant the App {needed}, and accept it where the App is installed"
        return Forbidden(f"{message} ({mend})", status)
    if status == 404:
        mend = "does it exist, is the App installed there, and may it read it?"
        return NotFound(f"{message} ({mend})", status)
    if status == 422:
        return Refused(message, status)
    if 300 <= status < 400:
        mend = "was it renamed, or is GITHUB_API_URL not the API's address?"
        return GitHubError(f"{message} ({mend})", status)
    return GitHubError(message, status, uncertain=status >= 500)

"""GitHub's refusals, and their fixes."""

from __future__ import annotations


class GitHubError(Exception):
    """A call to GitHub failed.

    Args:
        status: HTTP's; 0 when there was no answer.
        uncertain: it may have been done all the same: the answer was lost, or is broken.
        retryable: the same request may be sent again at once, or after a moment.
    """

    def __init__(
        self, message: str, status: int = 0, *, uncertain: bool = False, retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.uncertain = uncertain
        self.retryable = retryable

    @property
    def passing(self) -> bool:
        """True if the same call may succeed later although nobody changes anything: GitHub is down,
        limits us, can't be reached, or answered with garbage."""
        return self.status == 0 or self.status >= 500 or self.uncertain


class NotFound(GitHubError):
    """GitHub has no such thing, or doesn't show it to this App."""


class Unauthorized(GitHubError):
    """GitHub doesn't know who is asking: the App's id or key is wrong, or the clock."""

    @property
    def passing(self) -> bool:
        """Always: it succeeds once the operator has fixed it, and no delivery is at fault."""
        return True


class TooLong(GitHubError):
    """GitHub's answer is longer than the limit; it will not be shorter next time."""

    @property
    def passing(self) -> bool:
        """Never."""
        return False


class Forbidden(GitHubError):
    """The App may not do this: it lacks a permission, or is suspended."""


class Refused(GitHubError):
    """The request is invalid: GitHub says so, or we did before sending it."""


class RateLimited(GitHubError):
    """There were too many requests; nothing was done. `retry_after` is in seconds."""

    def __init__(
        self, message: str, status: int, retry_after: float, *, retryable: bool = True
    ) -> None:
        super().__init__(message, status, retryable=retryable)
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


def explain(status: int, request: str, reason: str, *, permissions: str = "") -> GitHubError:
    """Return the error for a response, with the request, GitHub's reason, and the fix.

    Args:
        permissions: the header ``X-Accepted-GitHub-Permissions``, as in ``checks=write``.
    """
    message = f"GitHub answered {status} to {request}" + (f": {reason}" if reason else "")
    if status == 401:
        fix = "are GITHUB_APP_ID and the private key those of the same App, and is the clock right?"
        return Unauthorized(f"{message} ({fix})", status)
    if status == 403:
        needed = (
            f"the permission {permissions}" if permissions else "the permission that this needs"
        )
        fix = f"grant the App {needed}, and accept it where the App is installed"
        return Forbidden(f"{message} ({fix})", status)
    if status == 404:
        fix = "does it exist, is the App installed there, and may it read it?"
        return NotFound(f"{message} ({fix})", status)
    if status == 422:
        return Refused(message, status)
    if 300 <= status < 400:
        fix = "was it renamed, or is GITHUB_API_URL not the API's address?"
        return GitHubError(f"{message} ({fix})", status)
    return GitHubError(message, status, uncertain=status >= 500)

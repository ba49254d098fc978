"""The errors of calls to GitHub, and how to fix them."""

from __future__ import annotations


class GitHubError(Exception):
    """A call to GitHub failed.

    Args:
        status: the HTTP status; 0 if there was no response.
        uncertain: whether GitHub may have executed it nevertheless, because the response was lost or broken.
        retryable: whether the same request may be sent again.
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
        """True if the same call may succeed later: GitHub is down, unreachable, limits the rate, or sent garbage."""
        return self.status == 0 or self.status >= 500 or self.uncertain


class NotFound(GitHubError):
    """GitHub has no such thing, or doesn't show it to this App."""


class Unauthorized(GitHubError):
    """GitHub doesn't accept the credential: the App's id or key is wrong, or the clock is."""

    @property
    def passing(self) -> bool:
        """Always true: it succeeds once the operator has fixed the credential, and no delivery is at fault."""
        return True


class TooLong(GitHubError):
    """GitHub's response is longer than the limit, and will be next time."""

    @property
    def passing(self) -> bool:
        """Never."""
        return False


class Forbidden(GitHubError):
    """The App may not do this: it lacks a permission, or is suspended."""


class Refused(GitHubError):
    """The request is invalid, according to GitHub or to a check before sending it."""


class RateLimited(GitHubError):
    """GitHub refused the request because there were too many. `retry_after` is in seconds."""

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

    A group is permanent if any of its errors is.
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

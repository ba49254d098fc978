"""How a call to a runner ends when it doesn't end well. The texts are for people."""

from __future__ import annotations


class RuntimesError(Exception):
    """What all of these have in common."""


class RunFailed(RuntimesError):
    """The runner answered with an error, or with something that is no answer.

    `status` is the name of the gRPC status, `MALFORMED` for the latter.
    """

    def __init__(self, message: str, status: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.status = status


class RuntimeLost(RuntimesError):
    """The runner can't be reached, or no longer: nothing is known of how the call ended."""


class NoRuntime(RuntimesError):
    """No runtime of this user serves this platform."""

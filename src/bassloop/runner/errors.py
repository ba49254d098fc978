"""Errors of the runner, with messages for people."""

from __future__ import annotations


class RunnerError(Exception):
    """The runner can't do what it was asked to; the message names the problem and the fix."""


class DriverError(Exception):
    """A thunk failed, or can't be run; the message is for the thunk's author."""


class Unsupported(DriverError):
    """The driver can't do this for any thunk."""


class ServiceFailed(DriverError):
    """A service that a thunk uses doesn't listen. The message names the service, so it needs no command line.

    Args:
        step: the id of the service's step.
    """

    def __init__(self, message: str, step: str = "") -> None:
        super().__init__(message)
        self.step = step


class NotCached(DriverError):
    """The call asks for a cached output only, and there is none."""


def not_allowed(action: str, option: str) -> DriverError:
    """Return the error for an action that needs an `option` of `bassloop runner` which the owner didn't give."""
    return DriverError(
        f"this runner's owner does not let thunks {action}; bassloop runner {option} would"
    )


def host_path_not_allowed() -> DriverError:
    """Return the error for a thunk that names a file of this machine, but may not."""
    return not_allowed("name files of the machine", "--allow-host-path")

"""What goes wrong with a thunk."""

from __future__ import annotations


class DriverError(Exception):
    """A thunk failed, or can't be carried out; the message is for whoever wrote it."""


class Unsupported(DriverError):
    """The driver can't do this at all, whatever the thunk is."""


def refused(what: str, option: str) -> DriverError:
    """The runner's owner does not let thunks do something; `option` of `bassloop runner` would."""
    return DriverError(
        f"this runner's owner does not let thunks {what}; bassloop runner {option} would"
    )


def host_path_refused() -> DriverError:
    """A thunk names a file of the machine, and may not."""
    return refused("name files of the machine", "--allow-host-path")


class NotCached(DriverError):
    """Only what is kept was asked for, and it is not."""

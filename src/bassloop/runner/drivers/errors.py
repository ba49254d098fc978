"""What goes wrong with a thunk."""

from __future__ import annotations


class DriverError(Exception):
    """A thunk failed, or can't be carried out; the message is for whoever wrote it."""


class Unsupported(DriverError):
    """The driver can't do this at all, whatever the thunk is."""

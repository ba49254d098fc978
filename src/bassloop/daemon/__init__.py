"""The daemon: the root nursery, and how the parts are wired together."""

from __future__ import annotations


class StartError(Exception):
    """The daemon can't start; the message names the setting and the fix."""

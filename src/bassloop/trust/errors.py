"""Errors of this room. The messages are for people."""

from __future__ import annotations


class UntrustedStatement(Exception):
    """A statement or a signature can't be read, or is not what it should be. The message says why."""

"""What the operator decided: for all repositories, and for some."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided.

    Args:
        supersede: whether a push cancels what still runs for the head that it replaces.
    """

    supersede: bool = True

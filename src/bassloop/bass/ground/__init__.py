"""Ground: the names that every script begins with.

Each module here binds one kind of thing; `make_ground` puts them together, anew for each session, so
that no script sees what another did.
"""

from __future__ import annotations

from bassloop.bass.ground import control, data, lists, running, thunks
from bassloop.bass.values import Scope


def make_ground() -> Scope:
    """A new ground scope."""
    ground = Scope(name="ground")
    for module in (control, data, lists, thunks, running):
        module.bind_into(ground)
    return ground

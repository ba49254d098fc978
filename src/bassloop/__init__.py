"""Bass Loop: a project's checks, run on the machine of whoever pushed."""

from __future__ import annotations

__version__ = "0.1.0"

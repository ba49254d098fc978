"""What tests of all drivers share."""

from __future__ import annotations

from .containers.conftest import engine as engine

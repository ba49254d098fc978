"""Fixtures for the tests of all drivers."""

from __future__ import annotations

from .containers.conftest import engine as engine

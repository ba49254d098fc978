"""Keys that tests share: making one takes longer than most tests."""

from __future__ import annotations

from bassloop.tools.trial import app_key

APP = app_key()
"""The key pair of the stand-in's App."""

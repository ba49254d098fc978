"""Adds manual pages and completions to what is built, if `nox -s release` has made them in build/share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARE = "build/share"


class ShareHook(BuildHookInterface[Any]):
    """Puts build/share into the wheel as its data, and into the source distribution as it is."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the folder in what is built."""
        share = Path(self.root) / SHARE
        if version == "editable" or not share.is_dir():
            return
        if self.target_name == "wheel":
            build_data["shared_data"][str(share)] = "share"
        elif self.target_name == "sdist":
            build_data["force_include"][str(share)] = SHARE

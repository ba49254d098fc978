"""Each setting reaches the part that it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bassloop.daemon.wiring import gateway_settings
from bassloop.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = {"ssh_addr", "ssh_host_key", "ssh_host_key_path", "runner_wait"}
NAMES = [
    name
    for name in Settings.model_fields
    if name.startswith(("ssh_", "runner_")) and name not in ELSEWHERE
]


@pytest.mark.parametrize("name", NAMES)
def test_each_of_the_gateways_limits_reaches_it(tmp_path: Path, name: str) -> None:
    told = [
        gateway_settings(Settings(data_dir=tmp_path, **given), "loop.example.com")
        for given in ({}, {name: "10.0.0.0/8" if name == "ssh_proxies" else 7})
    ]
    key = told[0].host_key
    usual, changed = (replace(each, host_key=key) for each in told)
    assert usual != changed

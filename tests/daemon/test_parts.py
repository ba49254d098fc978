"""Each setting reaches the part that it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bassloop.daemon.wiring import disabled_features, gateway_settings
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
def test_each_setting_for_the_gateways_limits_is_applied(tmp_path: Path, name: str) -> None:
    told = [
        gateway_settings(Settings(data_dir=tmp_path, **given), "loop.example.com")
        for given in ({}, {name: "10.0.0.0/8" if name == "ssh_proxies" else 7})
    ]
    key = told[0].host_key
    usual, changed = (replace(each, host_key=key) for each in told)
    assert usual != changed


@pytest.mark.parametrize(
    ("listen", "address", "is_said"),
    [
        ("0.0.0.0:3000", None, True),
        ("0.0.0.0:3000", "http://10.0.0.1:3000", False),
        ("10.0.0.1:3000", None, False),
    ],
)
def test_a_node_reports_that_other_nodes_can_not_find_it(
    tmp_path: Path, listen: str, address: str | None, is_said: bool
) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url="postgresql://db/loop", listen=listen, node_address=address
    )
    said = [each for each in disabled_features(settings) if "NODE_ADDRESS is not set" in each]
    assert bool(said) == is_said

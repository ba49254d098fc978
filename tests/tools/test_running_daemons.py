"""The daemons that run, as commands find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import platformdirs

from bassloop.settings import Settings
from bassloop.settings_reader import load_settings
from bassloop.store import open_store
from bassloop.tools.local_daemon import registered, running_daemons

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_a_daemon_is_found_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = tmp_path / "data"
    async with open_store(data / "loop.db", data / "blobs"):
        with registered(Settings(data_dir=data)):
            assert running_daemons() == [{"data_dir": str(data)}]
        assert running_daemons() == []


def test_a_daemon_of_a_user_without_a_home_runs_but_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under systemd with `DynamicUser=`."""

    def homeless(app: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("BASSLOOP_SETTINGS", raising=False)
    for name in ("user_state_dir", "user_config_dir"):
        monkeypatch.setattr(platformdirs, name, homeless)
    with registered(load_settings(data_dir=tmp_path)):
        assert running_daemons() == []

"""With what sessions are signed: made once, for the daemon's owner alone."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from bassloop.daemon.wiring import session_secret
from bassloop.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_session_secret_is_created_once_and_is_private(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    made = session_secret(settings)
    assert len(made) == 64
    assert session_secret(settings) == made
    assert stat.S_IMODE((tmp_path / "data/session_secret").stat().st_mode) == 0o600
    assert session_secret(Settings(data_dir=tmp_path / "other")) != made


def test_nodes_that_start_at_the_same_time_in_one_folder_agree_on_one_secret(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    count = 8
    start = Barrier(count)

    def make(_: int) -> bytes:
        start.wait()
        return session_secret(settings)

    with ThreadPoolExecutor(count) as threads:
        assert len(set(threads.map(make, range(count)))) == 1


def test_the_setting_takes_precedence_over_the_file(tmp_path: Path) -> None:
    secret = "x" * 32
    assert session_secret(Settings(data_dir=tmp_path, session_secret=secret)) == secret.encode()
    assert not (tmp_path / "session_secret").exists()
    with pytest.raises(ValueError, match="SESSION_SECRET must have 32 characters"):
        Settings(session_secret="short")


@pytest.mark.parametrize(("text", "mode"), [("x" * 64, 0o644), ("short", 0o600), ("", 0o600)])
def test_an_invalid_secret_is_reported_with_the_fix(tmp_path: Path, text: str, mode: int) -> None:
    path = tmp_path / "session_secret"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(
        SettingsError, match=r"SESSION_SECRET: .*remove it to have another one made"
    ):
        session_secret(Settings(data_dir=tmp_path))

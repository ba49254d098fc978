"""The settings file: secrets are for its owner alone, and nothing else that it says is lost."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.tools.setup.create_app import SettingsFileError, assigned, rescue, try_to_write, write
from tests.github.world import KEY

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_private_and_can_contain_a_key_of_many_lines(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    values = {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": KEY.private}
    assert write(path, values) is None
    assert mode(path) == 0o600
    assert dotenv.dotenv_values(path) == values
    assert os.listdir(tmp_path) == ["settings.env"]


def test_other_lines_of_a_file_are_kept_and_its_mode_is_restricted(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    path.write_text("# mine\nRUNNER_WAIT=5\n\nLISTEN=':3000'")
    path.chmod(0o644)
    assert write(path, {"GITHUB_APP_ID": "7"}) is None
    assert path.read_text() == "# mine\nRUNNER_WAIT=5\n\nLISTEN=':3000'\nGITHUB_APP_ID='7'\n"
    assert mode(path) == 0o600


def test_a_file_with_replaced_values_is_kept_as_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    write(path, {"GITHUB_APP_ID": "7", "LISTEN": ":1"})
    before = path.read_bytes()
    kept = write(path, {"GITHUB_APP_ID": "8"})
    assert kept is not None
    assert (kept.read_bytes(), mode(kept)) == (before, 0o600)
    assert dotenv.dotenv_values(path) == {"GITHUB_APP_ID": "8", "LISTEN": ":1"}


def test_the_settings_of_a_file_are_known_before_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    assert assigned(path, ["GITHUB_APP_ID"]) == []
    path.write_text("GITHUB_APP_ID=7\nGITHUB_APP_SLUG=\n")
    assert assigned(path, ["GITHUB_APP_SLUG", "GITHUB_APP_ID"]) == ["GITHUB_APP_ID"]


def test_an_unwritable_file_is_reported_before_an_app_is_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsFileError, match="BASSLOOP_SETTINGS names another"):
        try_to_write(tmp_path / "file" / "settings.env")
    try_to_write(tmp_path / "new" / "settings.env")
    assert os.listdir(tmp_path / "new") == []


def test_credentials_that_can_not_be_written_are_rescued() -> None:
    path = rescue({"GITHUB_APP_ID": "7"})
    try:
        assert dotenv.dotenv_values(path) == {"GITHUB_APP_ID": "7"}
        assert mode(path) == 0o600
    finally:
        path.unlink()


def test_values_that_would_be_read_differently_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    path.write_text("LISTEN=:1\n")
    with pytest.raises(SettingsFileError, match="GITHUB_APP_SLUG can't be written"):
        write(path, {"GITHUB_APP_SLUG": "${HOME}"})
    assert path.read_text() == "LISTEN=:1\n"


@given(st.text(st.characters(codec="utf-8", exclude_characters="$\r\0"), min_size=1))
def test_any_secret_is_read_back_unchanged(value: str) -> None:
    path = rescue({"GITHUB_APP_CLIENT_SECRET": value})
    try:
        assert dotenv.dotenv_values(path) == {"GITHUB_APP_CLIENT_SECRET": value}
    finally:
        path.unlink()

"""`bassloop github create-app` as its user meets it: a terminal, a Chromium, a file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.settings_reader import load_settings
from tests.github.world import KEY, make_repository, open_world

from . import app_scenes as scenes
from .scene_runner import run_scene

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser


async def test_an_app_is_created_in_the_browser_and_the_command_prints_the_remaining_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, settings = make_repository(tmp_path / "hello"), tmp_path / "settings.env"
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(settings))
    async with open_world(repository, app_private_key=KEY.private) as world:
        url = world.standin.url
        command = [sys.executable, "-m", "bassloop", "github", "create-app", "--no-browser"]
        options = ["--external-url", "https://loop.test", "--github-api-url", url]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = await trio.lowlevel.open_process(
            [*command, *options], stdout=subprocess.PIPE, env=env
        )
        assert process.stdout is not None
        text = b""
        while b"\n\n    http" not in text or not text.endswith(b"\n\n"):
            text += await process.stdout.receive_some()
        address = text.decode().split()[-1]
        found = await run_scene(scenes.create_app, address)
        said = b""
        async for piece in process.stdout:
            said += piece
        assert await process.wait() == 0
        await process.stdout.aclose()

    assert "https://loop.test/integrations/github/events" in found["asked"]
    left = [f"{url}/apps/bass-loop-loop.test/installations/new"]
    left.append(f"{url}/settings/apps/bass-loop-loop.test")
    assert found["links"] == left
    assert all(link in said.decode() for link in left)
    loaded = load_settings()
    assert (loaded.github_app_id, loaded.private_key()) == (1, KEY.private)
    assert loaded.webhook_secret() == b"s3cret"
    assert loaded.external_url == "https://loop.test"

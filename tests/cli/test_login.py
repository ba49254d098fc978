"""Signing in from a terminal, with a code that is typed in on GitHub."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing

from bassloop.tools.device_login import (
    SignInError,
    drop_session,
    session_headers,
    sign_in,
    site_of,
    store_session,
)
from bassloop.tools.trial import Trial, TrialOptions, open_trial
from tests.forked_programs import run_bassloop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "sessions.json"
    monkeypatch.setenv("BASSLOOP_SESSIONS", str(path))
    return path


def test_a_session_is_stored_so_that_only_its_owner_can_read_it(kept: Path) -> None:
    store_session("https://loop.example.com/", "octocat", "t", "2030-01-01T00:00:00Z")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert session_headers("https://loop.example.com:443") == [("Authorization", "Bearer t")]
    drop_session("https://loop.example.com/runs")
    assert session_headers("https://loop.example.com") == []


@pytest.mark.parametrize(
    "url",
    ["http://loop.example.com", "https://loop.example.com:8443", "https://loop.example.com.evil"],
)
def test_a_session_is_sent_to_its_own_loop_only(kept: Path, url: str) -> None:
    store_session("https://loop.example.com", "octocat", "t", "2030-01-01T00:00:00Z")
    assert session_headers(url) == []


def test_a_damaged_file_counts_as_no_session(kept: Path) -> None:
    kept.parent.mkdir()
    kept.write_text("{broken")
    assert session_headers("https://loop.example.com") == []
    assert site_of("HTTPS://Loop.Example.com:443/x") == "https://loop.example.com"
    with pytest.raises(ValueError, match="is no address"):
        site_of("loop.example.com")


class SlowLoop:
    """A loop that gives a code, and then its answers one after another. An exception is raised instead."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        self._answers = list(answers)
        self.asked_at: list[float] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/sign-in/device":
            return httpx.Response(
                200,
                json={
                    "device": "d",
                    "user_code": "ABCD-1234",
                    "verification_uri": "https://github.com/login/device",
                    "interval": 5,
                    "expires_in": 100,
                },
            )
        self.asked_at.append(trio.current_time())
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(found, httpx.HTTPError):
            raise found
        return found

    async def sign_in(self) -> dict[str, Any]:
        transport = httpx.MockTransport(self.answer)
        return await sign_in("https://loop.example.com", lambda url, code: None, transport)


async def test_a_loop_that_does_not_answer_is_asked_less_and_less_often(
    kept: Path, autojump_clock: trio.testing.MockClock
) -> None:
    session = {"token": "t", "login": "octocat", "expires_at": "2030-01-01T00:00:00Z"}
    loop = SlowLoop(
        httpx.Response(202, json={"pending": "authorization_pending", "interval": 5}),
        httpx.ReadTimeout(""),
        httpx.Response(503, text="the loop restarts"),
        httpx.Response(200, json=session),
    )
    began = trio.current_time()
    assert await loop.sign_in() == session
    assert [at - began for at in loop.asked_at] == [5, 10, 20, 40]
    assert list(json.loads(kept.read_text())) == ["https://loop.example.com"]


async def test_a_sign_in_without_an_answer_ends_when_the_code_expires(
    kept: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(
        SignInError, match=r"expired \(.*can't be reached: ReadTimeout\); start again"
    ):
        await SlowLoop(httpx.ReadTimeout("")).sign_in()


async def test_a_sign_in_that_is_refused_ends_at_once(
    kept: Path, autojump_clock: trio.testing.MockClock
) -> None:
    loop = SlowLoop(httpx.Response(403, json={"error": "it was refused on GitHub"}))
    with pytest.raises(SignInError, match="it was refused on GitHub"):
        await loop.sign_in()
    assert len(loop.asked_at) == 1


CODE = {
    "device": "d",
    "user_code": "c",
    "verification_uri": "https://x",
    "interval": 5,
    "expires_in": 9,
}


@pytest.mark.parametrize(
    "answers",
    [
        [{"ok": True}],
        [{**CODE, "interval": "soon"}],
        [{**CODE, "expires_in": -1}],
        [CODE, {"pending": "authorization_pending"}],
        [CODE, {"token": "t"}],
    ],
)
async def test_a_service_that_is_no_loop_is_named(
    kept: Path, autojump_clock: trio.testing.MockClock, answers: list[dict[str, Any]]
) -> None:
    left = iter(answers)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=next(left)))
    with pytest.raises(SignInError, match=r"https://example\.com isn't a loop"):
        await sign_in("https://example.com", lambda url, code: None, transport)
    assert not kept.exists()


async def command(*args: str, check: int = 0) -> str:
    """Run a command, and return its output."""
    done = await run_bassloop(*args, env=os.environ)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == check, text
    return text


async def typed_in(trial: Trial, login: str, *, allow: bool = True) -> None:
    """Type in the code of the terminal that waits."""
    await until(lambda: trial.standin.sign_ins.devices)
    [device] = trial.standin.sign_ins.devices.values()
    trial.standin.sign_ins.decide(device.user_code, login, allow=allow)


async def test_a_private_log_is_shown_to_people_who_signed_in(
    kept: Path,
    make_repository: MakeRepository,
) -> None:
    path = make_repository(""":say (on src ($ sh -c "echo swordfish"))""")
    with trio.fail_after(200):
        async with open_trial(TrialOptions(path, private=True)) as trial:
            trial.standin.sign_ins.interval = 1
            await trial.daemon.inbox.finished(trial.guid)
            [run] = (await trial.daemon.store.runs.newest(public_only=False)).items
            address = f"{trial.daemon.url}/runs/{run.id}"
            assert "swordfish" not in await command("logs", address, check=5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(typed_in, trial, trial.standin.login)
                said = await command("login", trial.daemon.url)
            assert f"as {trial.standin.login}" in said
            assert list(json.loads(kept.read_text())) == [trial.daemon.url]
            assert "swordfish" in await command("logs", address)
            assert "signed out" in await command("logout")
            assert "swordfish" not in await command("logs", address, check=5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: typed_in(trial, trial.standin.login, allow=False))
                said = await command("login", trial.daemon.url, check=1)
            assert "it was refused on GitHub" in said

"""The stand-in refuses what GitHub would refuse, with GitHub's statuses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.standin import Fault
from bassloop.tools.trial import app_key
from tests.standin.conftest import open_standin, statement
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = "/app/installations/1/access_tokens"
RUNS = "/repos/octocat/hello/check-runs"


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 201),
        ({"iss": "2"}, 404),
        ({"iat": 9_999_999_999}, 401),
        ({"exp": 1}, 401),
        ({"exp": 9_999_999_999}, 401),
        ({"exp": None}, 401),
    ],
)
async def test_a_jwt_is_valid_only_now_and_for_this_app(
    repository: Path, claims: dict[str, Any], status: int
) -> None:
    async with open_standin(repository) as served:
        headers = {"Authorization": f"Bearer {statement(**claims)}"}
        answer = await served.client.post(TOKENS, headers=headers, json={})
        assert answer.status_code == status, answer.text


async def test_a_jwt_with_another_key_or_none_is_refused(repository: Path) -> None:
    async with open_standin(repository, app_key=app_key().public) as served:
        assert (await served.as_app("POST", TOKENS)).status_code == 401
        assert (await served.client.post(TOKENS)).status_code == 401
        garbage = {"Authorization": "Bearer a.b.c"}
        assert (await served.client.post(TOKENS, headers=garbage)).status_code == 401


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"permissions": {"contents": "read"}, "repository_ids": [201]}, 201),
        ({"repositories": ["hello"]}, 201),
        ({"permissions": {"contents": "write"}}, 422),
        ({"permissions": {"administration": "read"}}, 422),
        ({"permissions": {"contents": "all"}}, 422),
        ({"repository_ids": [5]}, 422),
        ({"repositories": ["other"]}, 422),
    ],
)
async def test_a_token_has_at_most_the_installations_permissions(
    repository: Path, asked: dict[str, Any], status: int
) -> None:
    async with open_standin(repository) as served:
        answer = await served.as_app("POST", TOKENS, json=asked)
        assert answer.status_code == status
        if status == 201 and "permissions" in asked:
            token = {"Authorization": f"token {answer.json()['token']}"}
            made = await served.client.post(RUNS, headers=token, json={})
            assert made.status_code == 403
            assert made.headers["X-Accepted-GitHub-Permissions"] == "checks=write"


async def test_a_token_expires_and_can_be_revoked(repository: Path) -> None:
    async with open_standin(repository, private=True) as served:
        assert (await served.get("")).status_code == 200
        assert (await served.ask("DELETE", "/installation/token")).status_code == 204
        wrong = {"Authorization": "token ghs_wrong"}
        assert (await served.client.get("/repos/octocat/hello", headers=wrong)).status_code == 401
        value, _ = served.standin.new_token()
        served.standin.tokens[value] = type(served.standin.tokens[value])(time.time() - 1, {})
        assert (await served.get("")).status_code == 401


async def test_private_repositories_do_not_exist_for_others(repository: Path) -> None:
    async with open_standin(repository, private=True) as served:
        for path in ("", "/contents/a", "/pulls", "/commits/main"):
            answer = await served.client.get(f"/repos/octocat/hello{path}")
            assert answer.status_code == 404
    async with open_standin(repository) as served:
        assert (await served.client.get("/repos/octocat/hello/contents/a")).status_code == 200
        assert (await served.client.post(RUNS, json={})).status_code == 401
        assert (await served.ask("GET", "/repos/octocat/other")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"head_sha": "f" * 40}, "No commit found"),
        ({"head_sha": "main"}, "No commit found"),
        ({"status": "done"}, "status"),
        ({"status": "completed"}, "needs a conclusion"),
        ({"conclusion": "stale"}, "conclusion"),
        ({"status": "queued", "conclusion": "success"}, "conclusion"),
        ({"details_url": "file:///etc/passwd"}, "details_url"),
        ({"output": {"title": "t"}}, "summary"),
        ({"output": {"summary": "s"}}, "title"),
        ({"output": {"title": "t", "summary": "é" * 32768}}, "longer than 65535"),
        ({"output": {"title": "t", "summary": "s", "text": "x" * 65536}}, "longer than 65535"),
        ({"actions": [{}] * 4}, "3 actions"),
        ({"actions": [{"label": "l", "description": "d", "identifier": "i" * 21}]}, "identifier"),
        ({"actions": [{"label": "l", "description": "d" * 41, "identifier": "i"}]}, "description"),
    ],
)
async def test_a_check_run_that_github_would_refuse_is_refused(
    repository: Path, fields: dict[str, Any], reason: str
) -> None:
    async with open_standin(repository) as served:
        answer = await served.create(**fields)
        assert answer.status_code == 422
        assert reason in answer.json()["message"]
        assert served.standin.check_runs == []


def note(**fields: Any) -> dict[str, Any]:
    lines = {"path": "a", "start_line": 1, "end_line": 1}
    return {**lines, "annotation_level": "failure", "message": "wrong", **fields}


@pytest.mark.parametrize(
    "notes",
    [
        [note()] * 51,
        [note(path="")],
        [note(start_line=2)],
        [note(start_line=0, end_line=0)],
        [note(annotation_level="error")],
        [note(message="")],
        [note(message="x" * 65537)],
        [note(title="t" * 256)],
        [note(end_line=3, start_column=1)],
        ["text"],
    ],
)
async def test_annotations_that_github_would_refuse_are_refused(
    repository: Path, notes: list[Any]
) -> None:
    async with open_standin(repository) as served:
        output = {"title": "t", "summary": "s", "annotations": notes}
        assert (await served.create(output=output)).status_code == 422


async def test_a_completed_check_run_is_not_reopened_and_its_annotations_are_appended(
    repository: Path,
) -> None:
    async with open_standin(repository) as served:
        number = (await served.create(conclusion="success")).json()["id"]
        again = await served.ask("PATCH", f"{RUNS}/{number}", json={"status": "in_progress"})
        assert again.status_code == 422
        for _ in range(2):
            output = {"title": "t", "summary": "s", "annotations": [note()] * 30}
            told = await served.ask("PATCH", f"{RUNS}/{number}", json={"output": output})
        assert told.json()["output"]["annotations_count"] == 60
        listed = await served.get(f"/check-runs/{number}/annotations?per_page=100")
        assert len(listed.json()) == 60
        missing = await served.ask("PATCH", f"{RUNS}/5", json={})
        assert missing.status_code == 404


async def test_older_check_runs_of_a_name_are_listed_only_when_asked_for(
    repository: Path,
) -> None:
    async with open_standin(repository) as served:
        ids = [(await served.create(external_id=str(n))).json()["id"] for n in range(3)]
        await served.create(name="other")
        path = f"/commits/{served.head}/check-runs"
        latest = (await served.get(path)).json()
        assert latest["total_count"] == 2
        every = (await served.get(f"{path}?filter=all&check_name=test")).json()["check_runs"]
        assert [run["id"] for run in every] == ids[::-1]
        assert (await served.get(f"{path}?app_id=9")).json()["total_count"] == 0
        assert (await served.get("/commits/main/check-runs")).json()["total_count"] == 2
        assert (await served.get("/commits/feature/x/check-runs")).json()["total_count"] == 0
        assert (await served.get("/commits/nothing/check-runs")).status_code == 422


async def test_invalid_json_is_a_bad_request(repository: Path) -> None:
    async with open_standin(repository) as served:
        for body in (b"{", b"[]", b"\xff", b"[" * 100_000):
            assert (await served.ask("POST", RUNS, content=body)).status_code == 400


async def test_an_unknown_path_is_not_found_in_githubs_words(repository: Path) -> None:
    async with open_standin(repository) as served:
        answer = await served.ask("GET", "/nothing/like/it/here")
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


async def test_the_hourly_limit_is_reported_and_enforced(repository: Path) -> None:
    async with open_standin(repository) as served:
        served.standin.rate_limits.per_hour = 2
        first = await served.get("/contents/a")
        assert first.headers["x-ratelimit-remaining"] == "1"
        again = await served.get("/contents/a", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.headers["x-ratelimit-remaining"]) == (304, "1")
        await served.get("/contents/a")
        refused = await served.get("/contents/a")
        assert refused.status_code == 403
        assert "rate limit exceeded" in refused.json()["message"]
        assert refused.headers["x-ratelimit-remaining"] == "0"


async def test_a_request_for_the_rate_limit_does_not_count(repository: Path) -> None:
    async with open_standin(repository) as served:
        served.standin.rate_limits.anonymous_per_hour = 0
        asked = await served.ask("GET", "/rate_limit")
        assert (asked.status_code, asked.json()["rate"]["used"]) == (200, 0)


async def test_using_more_points_than_a_minute_has_meets_a_secondary_limit(
    repository: Path,
) -> None:
    async with open_standin(repository) as served:
        served.standin.rate_limits.points_per_minute = 12
        assert (await served.create()).status_code == 201
        assert (await served.create()).status_code == 201
        refused = await served.create()
        assert refused.status_code == 403
        assert "secondary rate limit" in refused.json()["message"]
        assert refused.headers["retry-after"] == "60"
        still = await served.get("")
        assert (still.status_code, served.standin.rate_limits.refused) == (403, 2)


async def test_a_credential_is_accepted_again_after_its_penalty(repository: Path) -> None:
    async with open_standin(repository) as served:
        served.standin.rate_limits.at_once = 0
        served.standin.rate_limits.penalty = 0.0
        assert (await served.get("")).status_code == 403
        served.standin.rate_limits.at_once = 1
        assert (await served.get("")).status_code == 200


async def test_too_many_concurrent_calls_meet_a_secondary_limit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, sleep, until_released = trio.Event(), trio.sleep, 4711.0

    async def hold(seconds: float) -> None:
        await (release.wait() if seconds == until_released else sleep(seconds))

    monkeypatch.setattr(trio, "sleep", hold)
    async with open_standin(repository) as served:
        served.standin.rate_limits.at_once = 2
        held = served.standin.faults.add(Fault(status=None, delay=until_released, times=2))
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await served.get("/pulls")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask)
            await until(lambda: held.happened == 2)
            await ask()
            assert statuses == [403]
            release.set()
        assert statuses == [403, 200, 200]

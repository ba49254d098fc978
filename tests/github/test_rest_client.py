"""The HTTP client: which requests are repeated, when, and which never are."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from bassloop.github import GitHubError, RateLimited
from bassloop.github.request import RAW, Credential
from bassloop.github.rest_client import RestClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock

Answer = httpx.Response | Exception
SOMEBODY = Credential("installation 1", "ghs_secret")


class Script:
    """GitHub's answers, one call after the other, and the requests that it got."""

    def __init__(self, *answers: Answer | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.at: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.at.append(trio.current_time())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


def ok(value: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(200, json=value if value is not None else {}, headers=named)


def error(status: int, message: str = "no", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(status, json={"message": message}, headers=named)


@asynccontextmanager
async def api(script: Script, base: str = "https://api.test") -> AsyncGenerator[RestClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(script)) as client:
        yield RestClient(client, base)


async def test_the_end_of_an_outage_is_reported_but_not_that_of_a_single_failure(
    autojump_clock: MockClock,
) -> None:
    down = [error(503)] * 4
    script = Script(*down[:1], ok(), *down, ok(), ok())
    recovered = []
    async with api(script) as calls:
        calls.on_recovered = lambda: recovered.append(trio.current_time())
        await calls.call("GET", "/x")
        assert not recovered
        with pytest.raises(GitHubError):
            await calls.call("GET", "/x")
        await trio.sleep(60)
        await calls.call("GET", "/x")
        await calls.call("GET", "/x")
    assert recovered == [script.at[-2]]


async def test_a_call_has_a_user_agent_and_an_api_version() -> None:
    script = Script(ok({"id": 1}))
    async with api(script, "https://ghe.test/api/v3/") as calls:
        assert await calls.call("GET", "/user", credential=SOMEBODY) == {"id": 1}
    [asked] = script.asked
    assert str(asked.url) == "https://ghe.test/api/v3/user"
    assert asked.headers["authorization"] == "Bearer ghs_secret"
    assert asked.headers["x-github-api-version"] == "2022-11-28"
    assert asked.headers["user-agent"] == "bassloop"
    assert "ghs_secret" not in repr(SOMEBODY)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_idempotent_requests_are_repeated_after_growing_delays(
    method: str, autojump_clock: MockClock
) -> None:
    script = Script(error(502), httpx.ReadError("reset"), error(500), ok([1]))
    async with api(script) as calls:
        assert await calls.call(method, "/x", data=None) == [1]
    pauses = [later - before for before, later in zip(script.at, script.at[1:], strict=False)]
    for pause, middle in zip(pauses, (1, 2, 4), strict=True):
        assert 0.5 * middle <= pause <= 1.5 * middle


async def test_a_creation_is_not_repeated_if_it_may_have_succeeded(
    autojump_clock: MockClock,
) -> None:
    for bad in (error(502), httpx.ReadError("reset"), httpx.ReadTimeout("slow")):
        script = Script(bad)
        async with api(script) as calls:
            with pytest.raises(GitHubError) as caught:
                await calls.call("POST", "/x", data={})
        assert caught.value.uncertain
        assert len(script.asked) == 1


async def test_a_creation_is_repeated_if_it_never_reached_github(
    autojump_clock: MockClock,
) -> None:
    script = Script(httpx.ConnectError("refused"), error(429, retry_after="7"), ok({"id": 1}))
    async with api(script) as calls:
        assert await calls.call("POST", "/x", data={}) == {"id": 1}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 451])
async def test_a_refused_request_is_not_repeated(status: int) -> None:
    script = Script(error(status, "because"))
    async with api(script) as calls:
        with pytest.raises(GitHubError, match=f"{status} to GET /x: because") as caught:
            await calls.call("GET", "/x")
    assert caught.value.status == status
    assert not caught.value.uncertain


async def test_githubs_message_about_each_field_is_reported() -> None:
    body = {"message": "Validation Failed", "errors": [{"message": "no such head"}, "and more"]}
    script = Script(httpx.Response(422, json=body))
    async with api(script) as calls:
        with pytest.raises(GitHubError, match="Validation Failed; no such head; and more"):
            await calls.call("POST", "/x", data={})


async def test_every_request_with_the_same_credential_waits_for_a_retry_after(
    autojump_clock: MockClock,
) -> None:
    script = Script(error(403, "secondary", retry_after="30"), *[ok()] * 3)
    async with api(script) as calls, trio.open_nursery() as nursery:
        nursery.start_soon(ask, calls, SOMEBODY)
        await trio.sleep(1)
        nursery.start_soon(ask, calls, SOMEBODY)
        nursery.start_soon(ask, calls, Credential("installation 2", "other"))
    first, other, *rest = script.at
    assert other - first == pytest.approx(1)
    assert all(30 <= at - first <= 32 for at in rest)


async def ask(calls: RestClient, credential: Credential) -> None:
    await calls.call("GET", "/x", credential=credential)


async def test_a_rate_limit_without_a_time_lasts_a_minute(autojump_clock: MockClock) -> None:
    script = Script(error(403, "You have exceeded a secondary rate limit."), ok())
    async with api(script) as calls:
        await calls.call("GET", "/x")
    assert 60 <= script.at[1] - script.at[0] <= 62


async def test_a_rate_limit_that_lasts_long_is_an_error_at_once(
    autojump_clock: MockClock,
) -> None:
    reset = {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "99999999999"}
    script = Script(error(403, "limit", **reset))
    async with api(script) as calls:
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await calls.call("GET", "/x")
            assert caught.value.retry_after > 1000
    assert len(script.asked) == 1


async def test_a_malformed_response_is_requested_again_and_then_an_error(
    autojump_clock: MockClock,
) -> None:
    page = httpx.Response(200, text="<html>")
    deep = httpx.Response(200, text="[" * 100_000)
    script = Script(page, deep, page, page)
    async with api(script) as calls:
        with pytest.raises(GitHubError, match="can't be read") as caught:
            await calls.call("GET", "/x")
    assert caught.value.uncertain


async def test_an_error_response_with_a_malformed_body_is_still_that_error() -> None:
    for body in (b"<html>", b"\xff\xfe", b'{"errors": 5}', b"[]", b'{"message": {"a": 1}}', b""):
        script = Script(httpx.Response(404, content=body))
        async with api(script) as calls:
            with pytest.raises(GitHubError, match="404"):
                await calls.call("GET", "/x")


@pytest.mark.parametrize("header", ["", "-1", "1e9", "soon", "９", "9" * 20])
async def test_an_invalid_waiting_time_counts_as_a_minute(
    header: str, autojump_clock: MockClock
) -> None:
    limited = httpx.Response(429, headers=[(b"retry-after", header.encode())])
    script = Script(limited, ok())
    async with api(script) as calls:
        await calls.call("GET", "/x")
    assert 60 <= script.at[1] - script.at[0] <= 62


async def test_a_response_is_cached_with_its_etag_for_its_credential() -> None:
    script = Script(
        ok({"n": 1}, etag='"a"'),
        httpx.Response(304),
        ok({"n": 2}, etag='"b"'),
        ok({"n": 3}),
    )
    async with api(script) as calls:
        assert await calls.call("GET", "/x", credential=SOMEBODY) == {"n": 1}
        assert await calls.call("GET", "/x", credential=SOMEBODY) == {"n": 1}
        assert await calls.call("GET", "/x", credential=SOMEBODY) == {"n": 2}
        await calls.call("GET", "/x", credential=Credential("installation 2", "other"))
    tags = [asked.headers.get("if-none-match") for asked in script.asked]
    assert tags == [None, '"a"', '"a"', None]


async def test_a_list_is_read_to_its_last_page() -> None:
    following = '<https://api.test/x?page=2>; rel="next", <https://api.test/x?page=9>; rel="last"'
    script = Script(ok([1, 2], link=following), ok([3]))
    async with api(script) as calls:
        assert await calls.listed("/x") == [1, 2, 3]


async def test_no_token_is_sent_to_another_host_that_a_list_or_a_redirection_points_to() -> None:
    elsewhere = '<https://evil.test/x>; rel="next"'
    script = Script(ok([1], link=elsewhere), error(302, location="https://evil.test/y"))
    async with api(script) as calls:
        with pytest.raises(GitHubError, match="another host"):
            await calls.listed("/x")
        with pytest.raises(GitHubError, match="302"):
            await calls.call("GET", "/y", credential=SOMEBODY)
    assert {asked.url.host for asked in script.asked} == {"api.test"}


async def test_a_renamed_repository_is_followed() -> None:
    moved = "https://api.test/repositories/5/check-runs"
    script = Script(error(301, location=moved), ok([]), error(307, location=moved), ok({"id": 1}))
    async with api(script) as calls:
        assert await calls.call("GET", "/repos/a/b/check-runs") == []
        assert await calls.call("POST", "/repos/a/b/check-runs", data={"n": 1}) == {"id": 1}
    assert [str(asked.url) for asked in script.asked[1::2]] == [moved, moved]
    assert json.loads(script.asked[3].content) == {"n": 1}


async def test_a_loop_of_redirections_ends() -> None:
    script = Script(*[error(302, location="/x")] * 10)
    async with api(script) as calls:
        with pytest.raises(GitHubError, match="302"):
            await calls.call("GET", "/x")


async def test_at_most_fifty_requests_are_made_at_the_same_time(autojump_clock: MockClock) -> None:
    now, most = 0, 0

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        return ok()

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as client:
        calls = RestClient(client, "https://api.test")
        async with trio.open_nursery() as nursery:
            for _ in range(120):
                nursery.start_soon(ask, calls, SOMEBODY)
            await trio.sleep(0.5)
            assert calls.statistics() == {"asking": 50, "waiting": 70, "paced": 0}
            assert repr(calls) == "<RestClient: 50 asking, 0 waiting for their turn>"
    assert most == 50


async def test_a_call_that_is_cancelled_ends_at_once(autojump_clock: MockClock) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        calls = RestClient(client, "https://api.test")
        with trio.move_on_after(3) as scope:
            await calls.call("GET", "/x")
        assert scope.cancelled_caught
        assert calls.statistics()["asking"] == 0


async def test_an_invalid_address_is_reported_with_its_setting() -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(GitHubError, match="GITHUB_API_URL"):
            await RestClient(client, "nonsense://x").call("GET", "/x")


async def test_a_page_of_html_is_never_mistaken_for_a_file(autojump_clock: MockClock) -> None:
    page = httpx.Response(200, html="<html>Back soon</html>")
    file = httpx.Response(200, content=b"<html>", headers={"content-type": RAW})
    async with api(Script(page, file)) as calls:
        assert await calls.raw("/file", limit=100) == b"<html>"

"""Looking up logins and their keys: seldom, afresh when it matters, and not whenever strangers want it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from bassloop.github import (
    GitHubConfig,
    GitHubError,
    LoginKeys,
    RateLimited,
    app_credentials,
    open_github,
)
from bassloop.github.login_keys import (
    CACHE_SECONDS,
    FRESH_SECONDS,
    KNOWN_SECONDS,
    MAX_NOBODIES,
    NOBODY_SECONDS,
)
from bassloop.github.request import ANONYMOUS, Credential
from bassloop.github.rest_client import RestClient
from bassloop.standin import Fault
from tests.until import until

from .world import open_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio.testing import MockClock


class People:
    """GitHub's users and their keys."""

    def __init__(self) -> None:
        self.keys = {"octocat": ["ssh-ed25519 AAAA"]}
        self.asked: list[str] = []
        self.seconds = 0.0
        self.down = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        await trio.sleep(self.seconds)
        if self.down:
            return httpx.Response(503)
        login = request.url.path.split("/")[2]
        if login not in self.keys:
            return httpx.Response(404, json={"message": "Not Found"})
        if request.url.path.endswith("/keys"):
            return httpx.Response(200, json=[{"id": 1, "key": key} for key in self.keys[login]])
        return httpx.Response(200, json={"id": 7, "node_id": "U_7", "login": login})


async def nobody() -> Credential:
    return ANONYMOUS


@pytest.fixture
async def people() -> People:
    return People()


@pytest.fixture
async def keys(people: People) -> AsyncGenerator[LoginKeys]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(people)) as client:
        yield LoginKeys(RestClient(client, "https://api.test"), nobody)


async def test_keys_are_cached_for_a_while_and_then_fetched_again(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    for _ in range(3):
        assert await keys.keys("octocat") == ["ssh-ed25519 AAAA"]
        assert (await keys.user("OctoCat")) is not None
    assert len(people.asked) == 2
    people.keys["octocat"] = []
    await trio.sleep(CACHE_SECONDS)
    assert await keys.keys("octocat") == []


async def test_a_new_key_is_found_at_once_but_not_requested_all_the_time(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    await keys.keys("octocat")
    people.keys["octocat"] = ["ssh-ed25519 BBBB"]
    await trio.sleep(FRESH_SECONDS)
    assert await keys.keys("octocat", fresh=True) == ["ssh-ed25519 BBBB"]
    asked = len(people.asked)
    for _ in range(10):
        await keys.keys("octocat", fresh=True)
    assert len(people.asked) == asked


async def test_a_login_with_wrong_keys_is_requested_less_and_less_often(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    for _ in range(3600):
        assert await keys.keys("octocat", fresh=True) == ["ssh-ed25519 AAAA"]
        await trio.sleep(1)
    assert len(people.asked) < 2 * (3600 / CACHE_SECONDS + 8)
    people.keys["octocat"] = ["ssh-ed25519 BBBB"]
    await trio.sleep(CACHE_SECONDS)
    assert await keys.keys("octocat", fresh=True) == ["ssh-ed25519 BBBB"]
    people.keys["octocat"] = ["ssh-ed25519 CCCC"]
    await trio.sleep(FRESH_SECONDS)
    assert await keys.keys("octocat", fresh=True) == ["ssh-ed25519 CCCC"], "forgiven"


async def test_during_an_outage_cached_keys_are_used_for_some_hours(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    assert await keys.keys("octocat") == ["ssh-ed25519 AAAA"]
    people.down = True
    await trio.sleep(CACHE_SECONDS)
    assert await keys.keys("octocat") == ["ssh-ed25519 AAAA"]
    assert await keys.keys("octocat", fresh=True) == ["ssh-ed25519 AAAA"]
    await trio.sleep(KNOWN_SECONDS)
    with pytest.raises(GitHubError):
        await keys.keys("octocat")


async def test_concurrent_callers_share_one_request(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    people.seconds = 1
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(keys.keys, "octocat")
    assert len(people.asked) == 2


async def test_one_slow_login_does_not_delay_others(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    await keys.keys("octocat")
    people.seconds = 50
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.user, "stranger")
        await trio.testing.wait_all_tasks_blocked()
        assert await keys.keys("octocat")
        assert trio.current_time() < 1


async def test_a_cancelled_caller_does_not_cancel_the_request_for_the_others(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    people.seconds = 5
    found: list[list[str]] = []

    async def impatient() -> None:
        with trio.move_on_after(1):
            await keys.keys("octocat")

    async def patient() -> None:
        found.append(await keys.keys("octocat"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(patient)
    assert found == [["ssh-ed25519 AAAA"]]


async def test_a_login_without_a_user_is_cached_for_a_shorter_time(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    assert await keys.user("ghost") is None
    assert await keys.keys("ghost") == []
    assert people.asked == ["/users/ghost"]
    people.keys["ghost"] = []
    await trio.sleep(NOBODY_SECONDS)
    assert await keys.user("ghost") is not None


async def test_a_deleted_login_belongs_to_nobody(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    assert await keys.user("octocat") is not None
    del people.keys["octocat"]
    await trio.sleep(CACHE_SECONDS)
    assert await keys.user("octocat") is None
    assert await keys.keys("octocat") == []


async def ask_for_strangers(keys: LoginKeys) -> None:
    for number in range(MAX_NOBODIES):
        await keys.user(f"stranger-{number}")


async def test_strangers_are_looked_up_at_a_bounded_rate_and_do_not_evict_known_users(
    people: People, keys: LoginKeys, autojump_clock: MockClock
) -> None:
    await keys.keys("octocat")
    with pytest.raises(RateLimited, match="unknown logins"):
        await ask_for_strangers(keys)
    assert len(people.asked) < 400
    assert await keys.keys("octocat", fresh=True)
    await trio.sleep(CACHE_SECONDS)
    assert await keys.keys("octocat"), "who is known is asked for again all the same"
    assert repr(keys).startswith("<LoginKeys: 1 users")


async def test_an_invalid_login_belongs_to_nobody_and_is_not_looked_up(
    people: People, keys: LoginKeys
) -> None:
    for login in ("", "-", "a/b", "../x", "a b", "é", "x" * 101, "a\n", "%2e"):
        assert await keys.user(login) is None
    assert people.asked == []


async def test_an_answer_that_does_not_describe_a_user_is_an_error(
    autojump_clock: MockClock,
) -> None:
    bodies: list[object] = [[], {"id": "x"}, {"id": 1}, 5]
    for body in bodies:
        answers = httpx.MockTransport(lambda _, body=body: httpx.Response(200, json=body))
        async with httpx.AsyncClient(transport=answers) as client:
            with pytest.raises(GitHubError, match="can't be read"):
                await LoginKeys(RestClient(client, "https://api.test"), nobody).user("octocat")


async def test_keys_are_requested_through_an_installation_if_there_is_one(
    repository: Path,
) -> None:
    async with open_world(repository) as world:
        world.standin.rate_limits.anonymous_per_hour = 0
        assert await world.github.keys.keys("octocat") == ["ssh-ed25519 AAAA"]
        async with open_github(GitHubConfig(world.standin.url)) as anonymous:
            with pytest.raises(RateLimited):
                await anonymous.keys.keys("octocat")


async def test_the_time_when_a_key_was_added_is_known_if_github_reports_it(
    people: People, keys: LoginKeys, repository: Path
) -> None:
    async with open_world(repository) as world:
        asked = world.github.keys
        assert asked.listed_since("octocat", "ssh-ed25519 AAAA") is None
        await asked.keys("octocat")
        assert asked.listed_since("OctoCat", "ssh-ed25519 AAAA") == 1577836800.0
    await keys.keys("octocat")
    assert keys.listed_since("octocat", "ssh-ed25519 AAAA") is None


async def test_concurrent_callers_wait_for_the_same_search_for_an_installation(
    repository: Path,
) -> None:
    found: list[Credential] = []
    async with open_world(repository) as world:
        app = world.github.app
        assert app is not None

        async def ask() -> None:
            found.append(await app.any_installation())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
    assert len(found) == 3
    assert ANONYMOUS not in found


async def test_a_failed_search_for_an_installation_is_soon_repeated(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_credentials, "FAILED_SEARCH_SECONDS", 0.0)
    async with open_world(repository) as world:
        world.standin.faults.add(Fault("GET", "/app/installations", status=404, times=1))
        assert world.github.app is not None
        assert await world.github.app.any_installation() is ANONYMOUS
        assert await world.github.app.any_installation() is not ANONYMOUS


async def test_a_cancelled_search_for_an_installation_is_repeated_by_the_next_caller(
    repository: Path,
) -> None:
    async with open_world(repository) as world:
        slow = world.standin.faults.add(Fault("GET", "/app/installations", delay=60.0))
        app = world.github.app
        assert app is not None
        async with trio.open_nursery() as impatient:
            impatient.start_soon(app.any_installation)
            await until(lambda: slow.happened)
            impatient.cancel_scope.cancel()
        assert await app.any_installation() is not ANONYMOUS


async def test_keys_are_requested_anonymously_if_the_apps_key_is_invalid(repository: Path) -> None:
    async with open_world(repository) as world:
        config = GitHubConfig(world.standin.url, app_id=1, private_key="no key")
        async with open_github(config) as github:
            assert await github.keys.keys("octocat") == ["ssh-ed25519 AAAA"]


async def test_every_page_of_keys_is_read(repository: Path) -> None:
    listed = [f"ssh-ed25519 KEY{number}" for number in range(250)]
    async with open_world(repository, keys=listed) as world:
        assert await world.github.keys.keys("octocat") == listed


@dataclass
class Stored:
    """A stored answer."""

    user_id: int
    node_id: str
    login: str
    keys: tuple[str, ...]
    asked_at: float


def clock() -> float:
    """Return the seconds since the epoch, by the test's clock."""
    return 1_800_000_000.0 + trio.current_time()


class Memory(dict[str, Stored]):
    """A store of answers that outlives a restart; `broken`, it can't be read or written."""

    broken = False

    async def get(self, name: str) -> Stored | None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("the disk is full")
        return super().get(name)

    async def put(self, name: str, **answer: Any) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("the disk is full")
        self[name] = Stored(**answer)

    async def remove(self, name: str, *, asked_at: float) -> None:
        await trio.lowlevel.checkpoint()
        if name in self:
            self[name] = Stored(0, "", name, (), asked_at)


@asynccontextmanager
async def restarted(people: People, memory: Memory, **options: Any) -> AsyncGenerator[LoginKeys]:
    """The users and keys of a process that has just begun."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(people)) as client:
        yield LoginKeys(
            RestClient(client, "https://api.test"), nobody, memory, clock=clock, **options
        )


async def test_known_keys_survive_a_restart_while_github_is_down(
    people: People, autojump_clock: MockClock
) -> None:
    memory = Memory()
    async with restarted(people, memory) as keys:
        await keys.confirmed("OctoCat")
    people.down = True
    memory["octocat"].asked_at -= 2 * CACHE_SECONDS
    async with restarted(people, memory) as keys:
        assert await keys.keys("octocat") == ["ssh-ed25519 AAAA"]
        user = await keys.user("octocat")
        assert user is not None
        assert user.id == 7
        assert trio.current_time() < 3, "GitHub was waited for more than once"


async def test_keys_are_not_stored_before_somebody_has_proven_one(people: People) -> None:
    memory = Memory()
    async with restarted(people, memory) as keys:
        await keys.keys("octocat")
    assert not memory


@pytest.mark.parametrize("age", [3601.0, -60.0])
async def test_stored_keys_that_are_too_old_or_from_the_future_are_not_used(
    people: People, autojump_clock: MockClock, age: float
) -> None:
    memory = Memory(octocat=Stored(7, "U_7", "octocat", ("ssh-ed25519 AAAA",), clock() - age))
    people.down = True
    async with restarted(people, memory, known_seconds=3600.0) as keys:
        with pytest.raises(GitHubError):
            await keys.keys("octocat")


async def test_github_is_asked_repeatedly_until_it_answers_and_the_answer_is_stored(
    people: People, autojump_clock: MockClock
) -> None:
    stored = Stored(7, "U_7", "octocat", ("ssh-ed25519 AAAA",), clock() - 2 * CACHE_SECONDS)
    memory = Memory(octocat=stored)
    people.down = True
    async with restarted(people, memory) as keys, trio.open_nursery() as nursery:
        assert await keys.keys("octocat") == ["ssh-ed25519 AAAA"]

        async def confirm() -> None:
            assert await keys.confirmed("octocat")
            assert not await keys.confirmed("octocat")

        nursery.start_soon(confirm)
        await trio.sleep(1000)
        assert memory["octocat"] is stored
        people.down, people.keys["octocat"] = False, ["ssh-ed25519 BBBB"]
        await trio.sleep(100)
        assert memory["octocat"].keys == ("ssh-ed25519 BBBB",)
        assert await keys.keys("octocat") == ["ssh-ed25519 BBBB"]


async def test_a_login_that_nobody_has_any_more_is_removed(
    people: People, autojump_clock: MockClock
) -> None:
    memory = Memory()
    async with restarted(people, memory) as keys:
        await keys.confirmed("octocat")
        del people.keys["octocat"]
        await trio.sleep(CACHE_SECONDS)
        assert await keys.user("octocat") is None
    assert memory["octocat"].keys == ()
    people.down = True
    async with restarted(people, memory) as keys:
        assert await keys.user("octocat") is None


async def test_a_newer_answer_of_another_node_counts_while_github_is_down(
    people: People, autojump_clock: MockClock
) -> None:
    memory = Memory()
    async with restarted(people, memory) as one, restarted(people, memory) as two:
        await one.confirmed("octocat")
        await trio.sleep(CACHE_SECONDS)
        people.keys["octocat"] = ["ssh-ed25519 BBBB"]
        await two.confirmed("octocat")
        people.down = True
        await trio.sleep(CACHE_SECONDS)
        assert await one.keys("octocat") == ["ssh-ed25519 BBBB"]
        people.down = False
        del people.keys["octocat"]
        await trio.sleep(CACHE_SECONDS)
        assert await two.user("octocat") is None
        people.down = True
        assert await one.user("octocat") is None


async def test_a_known_users_answer_is_as_new_in_the_store_as_in_memory(
    people: People, autojump_clock: MockClock
) -> None:
    memory = Memory()
    async with restarted(people, memory) as keys:
        await keys.confirmed("octocat")
        memory["octocat"].asked_at = before = clock() - 2 * CACHE_SECONDS
        await trio.sleep(CACHE_SECONDS)
        await keys.keys("octocat")
    assert memory["octocat"].asked_at > before + CACHE_SECONDS


async def test_an_answer_that_another_node_has_just_got_is_not_requested_again(
    people: People, autojump_clock: MockClock
) -> None:
    memory = Memory()
    async with restarted(people, memory) as one, restarted(people, memory) as two:
        await one.confirmed("octocat")
        asked = len(people.asked)
        assert await two.keys("octocat") == ["ssh-ed25519 AAAA"]
        assert len(people.asked) == asked


async def test_a_failing_store_does_not_keep_users_out(people: People) -> None:
    memory = Memory()
    memory.broken = True
    async with restarted(people, memory) as keys:
        await keys.confirmed("octocat")
        assert await keys.keys("octocat") == ["ssh-ed25519 AAAA"]

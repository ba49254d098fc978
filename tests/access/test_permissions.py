"""Permissions are what GitHub says, cached for minutes, and forgotten when an event may have changed them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.access import permissions
from bassloop.access.permissions import CACHE_SECONDS, Permissions, at_least
from bassloop.standin import Account, Fault
from bassloop.store import Topic, User
from tests.access.stored import OURS, store_run
from tests.small_loop import SmallLoop, small_loop
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.repositories import MakeRepository

READER = User(105, "U_105", "reader")


async def add_repository_with_user(
    loop: SmallLoop,
    *,
    permission: str = "read",
    clock: Callable[[], float] = trio.current_time,
) -> Permissions:
    """Make a private repository that the loop knows, and somebody with a permission in it."""
    loop.standin.private = True
    loop.standin.accounts["reader"] = Account(105, "reader", permission=permission)
    await loop.store.repositories.put(OURS)
    return Permissions(loop.store, loop.core.github, clock)


def permission_requests(loop: SmallLoop) -> int:
    return sum("/collaborators/" in path for _, path, _ in loop.standin.requests)


@pytest.mark.parametrize("level", ["none", "read", "write", "admin"])
async def test_a_permission_level_is_the_one_that_github_returns(
    make_repository: MakeRepository, tmp_path: Path, level: str
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop, permission=level)
        assert await permits.level(READER, 201) == level
        assert at_least("read", level) == (level != "none")


async def test_a_permission_is_requested_once_in_a_few_minutes_however_many_need_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        ahead = 0.0
        permits = await add_repository_with_user(loop, clock=lambda: trio.current_time() + ahead)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(permits.level, READER, 201)
        assert permission_requests(loop) == 1
        loop.standin.accounts["reader"] = Account(105, "reader", permission="none")
        assert await permits.level(READER, 201) == "read"
        ahead += CACHE_SECONDS
        assert await permits.level(READER, 201) == "none"
        assert permission_requests(loop) == 2


async def test_forgotten_permissions_are_requested_again_even_during_a_request(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop)
        slow = Fault("GET", r".*/collaborators/.*", status=None, delay=0.3)
        loop.standin.faults.add(slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(permits.level, READER, 201)
            await until(lambda: slow.happened)
            permits.forget(user_id=105)
        assert await permits.level(READER, 201) == "read"
        assert permission_requests(loop) == 2
        for what in ({"user_id": 105}, {"repository_id": 201}, {}):
            before = permission_requests(loop)
            permits.forget(**what)
            await permits.level(READER, 201)
            assert permission_requests(loop) == before + 1
        permits.forget(user_id=9, repository_id=201)
        await permits.level(READER, 201)
        assert permission_requests(loop) == before + 1


async def test_permissions_that_another_node_has_forgotten_are_requested_again(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits, theirs = await add_repository_with_user(loop), await add_repository_with_user(loop)
        heard = trio.Event()

        def hear(key: str | None) -> None:
            permits.apply_notification(key)
            heard.set()

        loop.store.notifications.subscribe(Topic.PERMISSIONS, hear)
        await permits.level(READER, 201)
        for what, again in (
            ({"user_id": 105}, 1),
            ({"repository_id": 201}, 1),
            ({"user_id": 9, "repository_id": 201}, 0),
            ({}, 1),
        ):
            before, heard = permission_requests(loop), trio.Event()
            await theirs.forget_everywhere(**what)
            await heard.wait()
            await permits.level(READER, 201)
            assert permission_requests(loop) == before + again
        before = permission_requests(loop)
        permits.apply_notification(None)  # some may have been lost
        await permits.level(READER, 201)
        assert permission_requests(loop) == before + 1


async def test_nobody_is_allowed_anything_without_an_answer_of_github(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop, permission="admin")
        loop.standin.faults.add(Fault("GET", r".*/collaborators/.*", status=500, times=100))
        assert await permits.level(READER, 201) == "none"
        assert await permits.level(READER, 999) == "none"


async def test_a_login_that_changed_hands_takes_no_permission_with_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop, permission="none")
        await loop.store.users.put(READER)
        loop.standin.accounts["reader"] = Account(106, "reader", permission="admin")
        loop.standin.accounts["renamed"] = Account(105, "renamed", permission="write")
        assert await permits.level(READER, 201) == "write"
        assert await loop.store.users.get(105) == User(105, "U_105", "renamed")
        assert await permits.level(User(106, "", "Reader"), 201) == "admin"
        # Whom GitHub does not know any more has nothing, whoever has the login now.
        del loop.standin.accounts["renamed"]
        permits.forget()
        assert await permits.level(READER, 201) == "none"


async def test_a_repository_whose_name_is_anothers_now_is_read_by_nobody(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop, permission="admin")
        loop.standin.repository_id = 999
        assert await permits.level(READER, 201) == "none"
        assert permission_requests(loop) == 0


async def test_nobody_can_spend_what_checks_need_of_the_rate_limit(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "PERSON_LIMIT", (2, 1 / 60))
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop)
        for number in (201, 301, 302):
            await loop.store.repositories.put(replace(OURS, id=number))
        assert [await permits.level(READER, n) for n in (301, 302, 201)] == ["none"] * 3
        assert permission_requests(loop) == 0
        assert await permits.level(User(101, "", "octocat"), 201) == "admin"


async def test_a_user_can_read_the_repositories_in_which_they_have_a_permission(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        permits = await add_repository_with_user(loop)
        assert await permits.readable(READER) == frozenset()
        await store_run(loop)
        assert await permits.readable(READER) == {201}
        assert await permits.readable(User(9, "", "stranger")) == frozenset()

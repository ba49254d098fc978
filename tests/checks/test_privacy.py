"""Who may see what follows GitHub: permissions are remembered for minutes, and forgotten for events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.access import permissions
from bassloop.access.permissions import KEPT_SECONDS, Permissions, at_least
from bassloop.access.token_bucket import Allowance
from bassloop.access.visibility import Forgotten, forgotten
from bassloop.github import GitHubError, parse_event
from bassloop.standin import Account, Fault
from bassloop.store import RepositoryRecord, User
from tests.checks.test_report import a_run

from .world import START, Small, small

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loop.conftest import MakeRepository

OURS = RepositoryRecord(201, "octocat/hello", 1, public=False)
READER = User(105, "U_105", "reader")


class Clock:
    """The time that permissions are remembered by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        now = trio.current_time
        monkeypatch.setattr(
            permissions.trio, "current_time", lambda: now() + self.ahead, raising=True
        )


async def known(its: Small, *, permission: str = "read") -> Permissions:
    """A private repository that the loop knows, and somebody with a permission in it."""
    its.standin.private = True
    its.standin.accounts["reader"] = Account(105, "reader", permission=permission)
    await its.store.put_repository(OURS)
    return its.loop.permissions


def asked(its: Small) -> int:
    return sum("/collaborators/" in path for _, path, _ in its.standin.requests)


@pytest.mark.parametrize("level", ["none", "read", "write", "admin"])
async def test_a_level_is_what_github_says(
    make_repository: MakeRepository, tmp_path: Path, level: str
) -> None:
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its, permission=level)
        assert await permits.level(READER, 201) == level
        assert at_least("read", level) == (level != "none")


async def test_it_is_asked_once_in_some_minutes_however_many_want_to_know(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small(make_repository(), tmp_path) as its:
        clock, permits = Clock(monkeypatch), await known(its)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(permits.level, READER, 201)
        assert asked(its) == 1
        its.standin.accounts["reader"] = Account(105, "reader", permission="none")
        assert await permits.level(READER, 201) == "read"
        clock.ahead += KEPT_SECONDS
        assert await permits.level(READER, 201) == "none"
        assert asked(its) == 2


async def test_what_is_forgotten_is_asked_again_also_while_it_is_on_its_way(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its)
        slow = Fault("GET", r".*/collaborators/.*", status=None, delay=0.3)
        its.standin.faults.add(slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(permits.level, READER, 201)
            await its.until(lambda: slow.happened)
            permits.forget(user_id=105)
        assert await permits.level(READER, 201) == "read"
        assert asked(its) == 2
        for what in ({"user_id": 105}, {"repository_id": 201}, {}):
            before = asked(its)
            permits.forget(**what)
            await permits.level(READER, 201)
            assert asked(its) == before + 1
        permits.forget(user_id=9, repository_id=201)
        await permits.level(READER, 201)
        assert asked(its) == before + 1


async def test_what_github_can_not_say_nobody_may(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its, permission="admin")
        its.standin.faults.add(Fault("GET", r".*/collaborators/.*", status=500, times=100))
        assert await permits.level(READER, 201) == "none"
        assert await permits.level(READER, 999) == "none"


async def test_a_login_that_changed_hands_takes_no_permission_with_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its, permission="none")
        await its.store.put_user(READER)
        its.standin.accounts["reader"] = Account(106, "reader", permission="admin")
        its.standin.accounts["renamed"] = Account(105, "renamed", permission="write")
        assert await permits.level(READER, 201) == "write"
        assert await its.store.user(105) == User(105, "U_105", "renamed")
        assert await permits.level(User(106, "", "Reader"), 201) == "admin"
        # Whom GitHub does not know any more has nothing, whoever has the login now.
        del its.standin.accounts["renamed"]
        permits.forget()
        assert await permits.level(READER, 201) == "none"


async def test_a_repository_whose_name_is_anothers_now_is_read_by_nobody(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its, permission="admin")
        its.standin.repository_id = 999
        assert await permits.level(READER, 201) == "none"
        assert asked(its) == 0


async def test_nobody_can_spend_what_checks_need_of_the_rate_limit(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "OF_ONE", (2, 1))
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its)
        for number in (201, 301, 302):
            await its.store.put_repository(replace(OURS, id=number))
        assert [await permits.level(READER, n) for n in (301, 302, 201)] == ["none"] * 3
        assert asked(its) == 0
        assert await permits.level(User(101, "", "octocat"), 201) == "admin"


def test_an_allowance_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("bassloop.access.token_bucket.trio.current_time", lambda: now[0])
    allowance = Allowance(2, 60)
    assert [allowance.spend() for _ in range(3)] == [True, True, False]
    now[0] = 1.0
    assert [allowance.spend(), allowance.spend()] == [True, False]
    now[0] = 1000.0
    assert [allowance.spend() for _ in range(3)] == [True, True, False]


async def test_lists_are_made_of_the_repositories_that_one_may_read(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        permits = await known(its)
        assert await permits.readable(READER) == frozenset()
        await stored(its)
        assert await permits.readable(READER) == {201}
        assert await permits.readable(User(9, "", "stranger")) == frozenset()


async def stored(its: Small, **changes: Any) -> None:
    """A run of the repository."""
    run = replace(a_run(id="r", repository_id=201, thunk_digest=""), **changes)
    await its.store.intend_check(201, run.repository, 1, run.head_sha, "it", "g", False, run)


SENDER = {"login": "octocat", "id": 5}
REPOSITORY = {"id": 7, "full_name": "o/n"}


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("github_app_authorization", {"action": "revoked"}, Forgotten(5, signed_out=True)),
        ("member", {"action": "removed", "member": {"id": 9}}, Forgotten(9, 7)),
        ("membership", {"action": "removed", "member": {"id": 9}}, Forgotten(9)),
        (
            "organization",
            {"action": "member_removed", "membership": {"user": {"id": 9}}},
            Forgotten(9),
        ),
        ("team", {"action": "removed_from_repository"}, Forgotten(None, 7)),
        ("repository", {"action": "privatized"}, Forgotten(None, 7)),
        ("repository", {"action": "edited"}, None),
        ("public", {}, Forgotten(None, 7)),
        ("installation", {"action": "deleted"}, Forgotten()),
        ("installation_repositories", {"action": "removed"}, Forgotten()),
        ("member", {"action": "removed", "member": "?"}, Forgotten(None, 7)),
        ("push", {}, None),
    ],
)
def test_an_event_lets_forget_what_it_may_have_changed(
    name: str, payload: dict[str, Any], expected: Forgotten | None
) -> None:
    whole = {"sender": SENDER, "repository": REPOSITORY, **payload}
    assert forgotten(parse_event(name, whole)) == expected


async def happened(its: Small, event: str, action: str | None, guid: str, **more: Any) -> None:
    payload = await its.standin.payload("repository_dispatch")
    common = {name: payload[name] for name in ("repository", "sender", "installation")}
    await its.deliver({"action": action, **common, **more}, guid, event)
    assert (await its.inbox.finished(guid)).state in ("done", "ignored")


async def test_runs_are_hidden_and_shown_with_their_repository(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        await its.store.put_repository(replace(OURS, public=True))
        await stored(its, public=True)
        assert len((await its.store.runs()).items) == 1
        its.standin.private = True
        await happened(its, "repository", "privatized", "g1")
        assert (await its.store.runs()).items == ()
        assert len((await its.store.runs(readable=[201])).items) == 1
        its.standin.private = False
        await happened(its, "public", None, "g2")
        assert len((await its.store.runs()).items) == 1


async def test_an_old_delivery_does_not_show_what_was_hidden_since(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(**{"project.bass": START}), tmp_path) as its:
        old = await its.standin.payload("check_suite")
        assert old["repository"]["private"] is False
        its.standin.private = True
        async with its.runner():
            await its.deliver(old, "g1")
            assert (await its.inbox.finished("g1")).state == "done"
        assert (await its.store.runs()).items == ()
        assert len((await its.store.runs(public_only=False)).items) == 1


async def test_what_an_event_hides_is_hidden_also_while_github_can_not_be_asked(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        await its.store.put_repository(replace(OURS, public=True))
        await stored(its, public=True)
        its.standin.private = True
        its.standin.faults.add(Fault("GET", r"/repos/octocat/hello", status=500, times=1000))
        payload = await its.standin.payload("repository_dispatch")
        await its.deliver({**payload, "action": "privatized"}, "g1", "repository")
        while (await its.store.runs()).items:
            await trio.sleep(0.01)


async def test_a_repository_that_was_deleted_is_public_no_more(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        await its.store.put_repository(replace(OURS, public=True))
        await stored(its, public=True)
        await happened(its, "repository", "deleted", "g1")
        assert (await its.store.runs()).items == ()


@pytest.mark.parametrize("why", ["private", "deleted", "another's name"])
async def test_what_is_public_no_more_is_found_out_where_no_event_told(
    make_repository: MakeRepository, tmp_path: Path, why: str
) -> None:
    async with small(make_repository(), tmp_path) as its:
        await its.store.put_repository(replace(OURS, public=True))
        await stored(its, public=True)
        await its.loop.visibility.refresh_all()
        assert len((await its.store.runs()).items) == 1
        if why == "private":
            its.standin.private = True
        elif why == "deleted":
            its.standin.name = "gone"
        else:
            its.standin.repository_id = 999
        await its.loop.visibility.refresh_all()
        assert (await its.store.runs()).items == ()


async def test_nothing_is_hidden_because_github_can_not_be_asked(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        await its.store.put_repository(replace(OURS, public=True))
        await stored(its, public=True)
        its.standin.faults.add(Fault("GET", r"/repos/octocat/hello", status=500, times=1000))
        with pytest.raises(GitHubError):
            await its.loop.visibility.refresh_all()
        assert len((await its.store.runs()).items) == 1


async def test_a_repository_that_github_never_speaks_of_keeps_no_other_shown(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        blocked = replace(a_run(id="b"), repository_id=200, repository="octocat/blocked")
        await its.store.intend_check(
            200,
            blocked.repository,
            1,
            "1" * 40,
            "it",
            "g",
            False,
            replace(blocked, thunk_digest=""),
        )
        await its.store.put_repository(replace(OURS, public=True))
        await stored(its, public=True)
        assert [each.id for each in await its.store.public_repositories(10)] == [200, 201]
        its.standin.faults.add(Fault("GET", r"/repos/octocat/blocked", status=451, times=1000))
        its.standin.private = True
        await its.loop.visibility.refresh_all()
        assert [each.id for each in await its.store.public_repositories(10)] == [200]


async def test_who_takes_the_apps_authorization_back_is_signed_out(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small(make_repository(), tmp_path) as its:
        await its.store.put_user(User(5, "", "octocat"))
        await its.store.begin_session("secret", 5, 60.0)
        await its.deliver({"action": "revoked", "sender": SENDER}, "g1", "github_app_authorization")
        await its.inbox.finished("g1")
        assert await its.store.session("secret") is None

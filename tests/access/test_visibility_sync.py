"""Visibility follows GitHub: by events, and where there are none, by asking."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.access import visibility_sync
from bassloop.access.visibility_sync import Invalidation, invalidation
from bassloop.concurrency import Backoff
from bassloop.github import GitHubError
from bassloop.standin import Fault
from bassloop.store import User
from tests.access.stored import OURS, store_run
from tests.github.made import event_of
from tests.records import make_run
from tests.small_loop import START, SmallLoop, small_loop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

SENDER = {"login": "octocat", "id": 5}
REPOSITORY = {"id": 7, "full_name": "o/n"}


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("github_app_authorization", {"action": "revoked"}, Invalidation(5, sign_out=True)),
        ("member", {"action": "removed", "member": {"id": 9}}, Invalidation(9, 7)),
        ("membership", {"action": "removed", "member": {"id": 9}}, Invalidation(9)),
        (
            "organization",
            {"action": "member_removed", "membership": {"user": {"id": 9}}},
            Invalidation(9),
        ),
        ("team", {"action": "removed_from_repository"}, Invalidation(None, 7)),
        ("repository", {"action": "privatized"}, Invalidation(None, 7)),
        ("repository", {"action": "edited"}, None),
        ("public", {}, Invalidation(None, 7)),
        ("installation", {"action": "deleted"}, Invalidation()),
        ("installation_repositories", {"action": "removed"}, Invalidation()),
        ("member", {"action": "removed", "member": "?"}, Invalidation(None, 7)),
        ("push", {}, None),
    ],
)
def test_an_event_invalidates_what_it_may_have_changed(
    name: str, payload: dict[str, Any], expected: Invalidation | None
) -> None:
    whole = {"sender": SENDER, "repository": REPOSITORY, **payload}
    assert invalidation(event_of(name, whole)) == expected


async def happened(loop: SmallLoop, event: str, action: str | None, guid: str, **more: Any) -> None:
    payload = await loop.standin.payload("repository_dispatch")
    common = {name: payload[name] for name in ("repository", "sender", "installation")}
    await loop.deliver({"action": action, **common, **more}, guid, event)
    assert (await loop.inbox.finished(guid)).state in ("done", "ignored")


async def test_runs_become_hidden_and_visible_together_with_their_repository(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        assert len((await loop.store.runs.newest()).items) == 1
        loop.standin.private = True
        await happened(loop, "repository", "privatized", "g1")
        assert (await loop.store.runs.newest()).items == ()
        assert len((await loop.store.runs.newest(readable=[201])).items) == 1
        loop.standin.private = False
        await happened(loop, "public", None, "g2")
        assert len((await loop.store.runs.newest()).items) == 1


async def test_an_old_delivery_does_not_show_what_was_hidden_since(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        old = await loop.standin.payload("check_suite")
        assert old["repository"]["private"] is False
        loop.standin.private = True
        async with loop.runner():
            await loop.deliver(old, "g1")
            assert (await loop.inbox.finished("g1")).state == "done"
        assert (await loop.store.runs.newest()).items == ()
        assert len((await loop.store.runs.newest(public_only=False)).items) == 1


async def test_an_event_hides_a_repository_even_while_github_is_down(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        loop.standin.private = True
        loop.standin.faults.add(Fault("GET", r"/repos/octocat/hello", status=500, times=1000))
        payload = await loop.standin.payload("repository_dispatch")
        await loop.deliver({**payload, "action": "privatized"}, "g1", "repository")

        async def hidden() -> bool:
            return not (await loop.store.runs.newest()).items

        await loop.until_stored(hidden)


async def test_a_deleted_repository_is_no_longer_public(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        await happened(loop, "repository", "deleted", "g1")
        assert (await loop.store.runs.newest()).items == ()


@pytest.mark.parametrize("why", ["private", "deleted", "another's name"])
async def test_a_repository_that_became_private_is_noticed_without_an_event(
    make_repository: MakeRepository, tmp_path: Path, why: str
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        await loop.core.visibility.refresh_all()
        assert len((await loop.store.runs.newest()).items) == 1
        if why == "private":
            loop.standin.private = True
        elif why == "deleted":
            loop.standin.name = "gone"
        else:
            loop.standin.repository_id = 999
        await loop.core.visibility.refresh_all()
        assert (await loop.store.runs.newest()).items == ()


async def test_an_outage_of_github_hides_nothing(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        loop.standin.faults.add(Fault("GET", r"/repos/octocat/hello", status=500, times=1000))
        with pytest.raises(GitHubError):
            await loop.core.visibility.refresh_all()
        assert len((await loop.store.runs.newest()).items) == 1


async def test_a_refresh_that_github_did_not_answer_is_tried_again_soon(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visibility_sync, "BACKOFF", Backoff(first=0.01, longest=3600.0))
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        fault = Fault("GET", r"/repos/octocat/hello", status=500, times=2)
        loop.standin.faults.add(fault)
        loop.standin.private = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.core.visibility.keep_refreshing)

            async def hidden() -> bool:
                return not (await loop.store.runs.newest()).items

            await loop.until_stored(hidden)
            nursery.cancel_scope.cancel()
        assert fault.happened == 2


async def test_a_repository_that_github_does_not_describe_does_not_keep_others_visible(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        blocked = replace(make_run(id="b"), repository_id=200, repository="octocat/blocked")
        await loop.store.checks.get_or_create(
            200,
            blocked.repository,
            1,
            "1" * 40,
            "it",
            "g",
            False,
            replace(blocked, thunk_digest=""),
        )
        await loop.store.repositories.put(replace(OURS, public=True))
        await store_run(loop, public=True)
        assert [each.id for each in await loop.store.repositories.public(10)] == [200, 201]
        loop.standin.faults.add(Fault("GET", r"/repos/octocat/blocked", status=451, times=1000))
        loop.standin.private = True
        await loop.core.visibility.refresh_all()
        assert [each.id for each in await loop.store.repositories.public(10)] == [200]


async def test_revoking_the_apps_authorization_signs_a_person_out(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(), tmp_path) as loop:
        await loop.store.users.put(User(5, "", "octocat"))
        await loop.store.sessions.begin("secret", 5, 60.0)
        await loop.deliver(
            {"action": "revoked", "sender": SENDER}, "g1", "github_app_authorization"
        )
        await loop.inbox.finished("g1")
        assert await loop.store.sessions.get("secret") is None

"""Cancelling and approving on a run's page: by forms of one's own session, for what one can see."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.checks.user_actions import NotAllowed, PermissionUnknown
from bassloop.web.guard import visible_run
from bassloop.web.pages import run_page
from tests.until import until

from .site import FakeControl, Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

DEEDS = ("cancel", "approve", "verify")


async def post(site: Site, path: str, headers: dict[str, str], **form: str) -> Any:
    return await site.app.test_client().post(path, headers=headers, form=form)


async def csrf(site: Site, headers: dict[str, str]) -> str:
    _, _, token = headers["cookie"].partition("=")
    visitor = await site.context.sessions.visitor(token)
    assert visitor is not None
    return site.context.sessions.csrf(visitor)


def control(site: Site) -> FakeControl:
    assert isinstance(site.context.control, FakeControl)
    return site.context.control


@pytest.mark.parametrize("deed", ["cancel", "approve"])
async def test_a_form_with_a_valid_session_performs_the_action(tmp_path: Path, deed: str) -> None:
    async with open_site(tmp_path) as site:
        await site.run("r")
        headers = await site.signed_in(7, "hubot")
        answer = await post(site, f"/runs/r/{deed}", headers, csrf=await csrf(site, headers))
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs/r")
        assert control(site).asked == [(deed, "r", "hubot")]
        asking = {
            **headers,
            "accept": "application/json",
            "x-csrf-token": await csrf(site, headers),
        }
        answer = await post(site, f"/runs/r/{deed}", asking)
        assert await answer.get_json() == {"done": True}


@pytest.mark.parametrize("deed", DEEDS)
async def test_an_action_needs_the_visitors_own_session_and_a_visible_run(
    tmp_path: Path, deed: str
) -> None:
    async with open_site(tmp_path) as site:
        await site.run("r")
        await site.run("private", public=False)
        headers = await site.signed_in(7, "hubot")
        good = await csrf(site, headers)
        assert (await post(site, f"/runs/r/{deed}", {})).status_code == 401
        assert (await post(site, f"/runs/r/{deed}", headers)).status_code == 403
        assert (await post(site, f"/runs/r/{deed}", headers, csrf="x" * 64)).status_code == 403
        elsewhere = {**headers, "sec-fetch-site": "cross-site"}
        assert (await post(site, f"/runs/r/{deed}", elsewhere, csrf=good)).status_code == 403
        for hidden in ("private", "none"):
            answer = await post(site, f"/runs/{hidden}/{deed}", headers, csrf=good)
            assert answer.status_code == 404
        assert control(site).asked == []


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(NotAllowed("hubot may not"), 403), (PermissionUnknown("GitHub is down"), 502)],
)
async def test_users_without_permission_get_the_reason(
    tmp_path: Path, refusal: Exception, status: int
) -> None:
    async with open_site(tmp_path) as site:
        await site.run("r")
        headers = await site.signed_in(7, "hubot")
        control(site).refusal = refusal
        answer = await post(site, "/runs/r/cancel", headers, csrf=await csrf(site, headers))
        assert answer.status_code == status
        assert str(refusal) in await answer.get_data(as_text=True)


async def words(site: Site, run_id: str, headers: dict[str, str]) -> list[str]:
    path = f"/runs/{run_id}"
    async with site.app.test_request_context(path, method="GET", headers=headers):
        run = await visible_run(site.context, run_id)
        assert run is not None
        newer = await run_page.newer_run(site.context, run)
        return [action.label for action in await run_page.run_actions(site.context, run, newer)]


async def page_of(site: Site, run_id: str, headers: dict[str, str]) -> str:
    answer = await site.get(f"/runs/{run_id}", **headers)
    text: str = await answer.get_data(as_text=True)
    return text


async def test_a_page_offers_what_its_reader_may_do_now(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued("waits", head_branch=None, check_name="waits")
        await site.queued("own", head_branch="main", check_name="own")
        await site.run("over", check_name="over")
        await site.run("verifiable", check_name="verifiable", head_sha="f" * 40)
        own = await site.signed_in(1, "octocat")
        writer = await site.signed_in(7, "hubot", r2="write")
        other = await site.signed_in(8, "reader", r2="read")
        assert await words(site, "waits", {}) == await words(site, "waits", other) == []
        assert await words(site, "waits", writer) == ["Run again", "Cancel", "Approve"]
        assert await words(site, "waits", own) == ["Run again", "Cancel"]
        assert await words(site, "own", writer) == ["Run again", "Cancel"]
        assert "Run on a trusted runner" in await words(site, "verifiable", writer)
        assert await words(site, "verifiable", own) == ["Run again"]
        assert await words(site, "over", writer) == await words(site, "over", own) == ["Run again"]
        assert await words(site, "over", other) == []
        assert 'class="when-ended" hidden' in await page_of(site, "own", writer)
        assert 'class="when-ended">' in await page_of(site, "over", writer)


async def rerun(site: Site, headers: dict[str, str]) -> str:
    """Press the button; where it leads."""
    answer = await post(site, "/runs/r/rerun", headers, csrf=await csrf(site, headers))
    assert answer.status_code == 303
    location: str = answer.headers["location"]
    return location


async def test_running_a_check_again_leads_to_the_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path) as site:
        await site.run("r")
        run = await site.store.runs.get("r")
        assert run is not None
        headers = await site.signed_in(1, "octocat")
        monkeypatch.setattr(run_page, "NEW_RUN_SECONDS", 0.0)
        where = f"/repositories/{run.repository}/commits/{run.head_sha}"
        assert await rerun(site, headers) == where
        monkeypatch.setattr(run_page, "NEW_RUN_SECONDS", 600.0)

        async def create() -> None:
            await until(lambda: len(control(site).asked) == 2)
            await site.queued("newer")
            site.live_runs.publish("newer")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create)
            assert await rerun(site, headers) == "/runs/newer"
        assert control(site).asked == [("rerun", "r", "octocat")] * 2
        assert await words(site, "r", headers) == []
        assert '<a href="/runs/newer">the newest run</a>' in await page_of(site, "r", headers)


async def test_a_page_updates_its_actions_when_its_run_has_ended(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("verifiable", check_name="verifiable")
        writer = await site.signed_in(7, "hubot", r2="write")
        path = "/runs/verifiable/actions"
        buttons = await (await site.get(path, **writer)).get_data(as_text=True)
        assert re.findall('action="([^"]+)"', buttons) == [
            "/runs/verifiable/rerun",
            "/runs/verifiable/verify",
        ]
        assert f'name="csrf" value="{await csrf(site, writer)}"' in buttons
        assert "form" not in await (await site.get(path)).get_data(as_text=True)
        answer = await site.get(path, **writer, accept="application/json")
        assert (await answer.get_json())["actions"] == [
            {"label": "Run again", "url": "/runs/verifiable/rerun"},
            {"label": "Run on a trusted runner", "url": "/runs/verifiable/verify"},
        ]
        assert (await site.get("/runs/none/actions")).status_code == 404


async def test_a_run_without_a_trusted_runner_can_be_verified_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("verifiable")
        writer = await site.signed_in(7, "hubot", r2="write")
        await site.run("attempt", "action_required")
        assert await words(site, "verifiable", writer) == ["Run on a trusted runner"]
        await site.run("confirmed", "succeeded")
        assert await words(site, "verifiable", writer) == []


async def test_people_who_can_write_can_verify_all_checks_of_a_commit(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("verifiable", check_name="verifiable")
        await site.run("bad", check_name="bad")
        await site.queued("waits", check_name="waits")
        run = await site.store.runs.get("bad")
        assert run is not None
        commit = f"/repositories/{run.repository}/commits/{run.head_sha}"
        button = f'action="{commit}/verify"'
        own = await site.signed_in(1, "octocat")
        writer = await site.signed_in(7, "hubot", r2="write")
        for headers, is_offered in (({}, False), (own, False), (writer, True)):
            page = await (await site.get(commit, **headers)).get_data(as_text=True)
            assert (button in page) is is_offered
        assert (await post(site, f"{commit}/verify", {})).status_code == 401
        assert (await post(site, f"{commit}/verify", writer, csrf="x")).status_code == 403
        assert control(site).asked == []
        form = {"csrf": await csrf(site, writer)}
        answer = await post(site, f"{commit}/verify", writer, **form)
        assert (answer.status_code, answer.headers["location"]) == (303, commit)
        asked = [("verify", "bad", "hubot"), ("verify", "verifiable", "hubot")]
        assert sorted(control(site).asked) == asked


async def test_all_failed_checks_of_a_commit_are_run_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("bad", check_name="bad")
        await site.run("late", "timed_out", check_name="late")
        await site.run("good", "succeeded", check_name="good")
        await site.queued("waits", check_name="waits")
        run = await site.store.runs.get("bad")
        assert run is not None
        commit = f"/repositories/{run.repository}/commits/{run.head_sha}"
        own, other = await site.signed_in(1, "octocat"), await site.signed_in(7, "hubot")
        page = await site.get(commit, **own)
        assert f'action="{commit}/rerun-failed"' in await page.get_data(as_text=True)
        page = await site.get(commit, **other)
        assert "rerun-failed" not in await page.get_data(as_text=True)
        assert (await post(site, f"{commit}/rerun-failed", {})).status_code == 401
        assert (await post(site, f"{commit}/rerun-failed", own, csrf="x")).status_code == 403
        assert control(site).asked == []
        form = {"csrf": await csrf(site, own)}
        answer = await post(site, f"{commit}/rerun-failed", own, **form)
        assert (answer.status_code, answer.headers["location"]) == (303, commit)
        assert sorted(control(site).asked) == [
            ("rerun", "bad", "octocat"),
            ("rerun", "late", "octocat"),
        ]
        control(site).refusal = NotAllowed("octocat may not")
        assert (await post(site, f"{commit}/rerun-failed", own, **form)).status_code == 403


async def test_a_commit_offers_what_can_be_done_with_all_its_checks(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("bad", check_name="bad")
        await site.run("good", "succeeded", check_name="good")
        run = await site.store.runs.get("bad")
        assert run is not None
        commit = f"/repositories/{run.repository}/commits/{run.head_sha}"
        own, other = await site.signed_in(1, "octocat"), await site.signed_in(7, "hubot")

        async def offered(headers: dict[str, str]) -> list[str]:
            page = await (await site.get(commit, **headers)).get_data(as_text=True)
            return re.findall(rf'action="{commit}/([\w-]+)"', page)

        assert await offered({}) == await offered(other) == []
        assert await offered(own) == ["rerun", "rerun-failed"]
        await site.queued("waits", check_name="waits")
        await site.queued("runs", check_name="runs")
        assert await offered(own) == ["rerun", "rerun-failed", "cancel"]
        form = {"csrf": await csrf(site, own)}
        for deed in ("rerun", "cancel"):
            assert (await post(site, f"{commit}/{deed}", {})).status_code == 401
            assert (await post(site, f"{commit}/{deed}", own, csrf="x")).status_code == 403
        assert control(site).asked == []
        assert (await post(site, f"{commit}/cancel", own, **form)).status_code == 303
        assert sorted(control(site).asked) == [
            ("cancel", "runs", "octocat"),
            ("cancel", "waits", "octocat"),
        ]
        control(site).asked.clear()
        assert (await post(site, f"{commit}/rerun", own, **form)).status_code == 303
        assert sorted(control(site).asked) == [
            ("rerun", "bad", "octocat"),
            ("rerun", "good", "octocat"),
        ]


async def test_a_run_offers_to_run_all_failed_checks_of_its_commit_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("one", check_name="one")
        own = await site.signed_in(1, "octocat")
        assert await words(site, "one", own) == ["Run again"]
        await site.run("two", check_name="two")
        assert await words(site, "one", own) == ["Run again", "Run failed again"]


async def test_a_trusted_runners_result_is_shown_with_links_to_runs_only(
    tmp_path: Path,
) -> None:
    other = "0c9aXy0c9aXy0c9aXy0c9a"
    message = (
        f"differs: it passed on ada's runner, and failed on alice's (http://loop/runs/{other})\n"
        "see http://evil.example/x and <b>this</b>"
    )
    async with open_site(tmp_path) as site:
        await site.queued("r")
        await site.store.runs.start("r", "t", "ada", "linux/amd64", 100.0)
        await site.store.runs.end("r", "failed", message, 101.0)
        page = await site.text("/runs/r")
        assert f'failed on alice&#39;s (<a href="/runs/{other}">the run</a>)' in page
        shown = page.partition('id="verdict"')[2].partition("</p>")[0]
        assert "evil" not in shown
        await site.run("plain", state="succeeded", head_sha="b" * 40)
        assert 'id="verdict" role="status" hidden' in await site.text("/runs/plain")

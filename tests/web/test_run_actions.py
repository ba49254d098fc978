"""Cancelling and approving on a run's page: by forms of one's own session, for what one can see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bassloop.checks.actions import NotAllowed, PermissionUnknown
from bassloop.web.guard import visible_run
from bassloop.web.pages.run_page import run_actions

from .site import FakeControl, Site, a_site

if TYPE_CHECKING:
    from pathlib import Path

DEEDS = ("cancel", "approve")


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


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_form_of_ones_own_session_does_it(tmp_path: Path, deed: str) -> None:
    async with a_site(tmp_path) as site:
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
async def test_nobody_does_it_for_another_or_to_what_they_can_not_see(
    tmp_path: Path, deed: str
) -> None:
    async with a_site(tmp_path) as site:
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
async def test_who_may_not_is_told_why(tmp_path: Path, refusal: Exception, status: int) -> None:
    async with a_site(tmp_path) as site:
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
        return [action.label for action in await run_actions(site.context, run)]


async def test_a_page_offers_what_its_reader_may_do_now(tmp_path: Path) -> None:
    async with a_site(tmp_path) as site:
        await site.queued("waits", head_branch=None)
        await site.queued("own", head_branch="main")
        await site.run("over")
        own = await site.signed_in(1, "octocat")
        writer = await site.signed_in(7, "hubot", r2="write")
        other = await site.signed_in(8, "reader", r2="read")
        assert await words(site, "waits", {}) == await words(site, "waits", other) == []
        assert await words(site, "waits", writer) == ["Cancel", "Approve"]
        assert await words(site, "waits", own) == ["Cancel"]
        assert await words(site, "own", writer) == ["Cancel"]
        assert await words(site, "over", writer) == []

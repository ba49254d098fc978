"""Deliveries on a page, for operators, who can replay one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .site import HOSTILE, Site, open_site
from .test_run_actions import csrf, post

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ("/deliveries", "/deliveries/failed-0", "/deliveries/unknown")


async def filled(site: Site, count: int = 3) -> dict[str, str]:
    """Some that failed, and one that is done; an operator's headers."""
    for number in range(count):
        await site.store.deliveries.record(
            f"failed-{number}", "push", "made", f'{{"a": "{"</script>"}"}}'.encode(), sender=HOSTILE
        )
        await site.store.deliveries.set_state(f"failed-{number}", "set_aside", HOSTILE)
    await site.store.deliveries.record("done", "ping", None, b"{}")
    await site.store.deliveries.set_state("done", "handling")
    await site.store.deliveries.set_state("done", "done")
    return await site.signed_in(9, "ops")


@pytest.mark.parametrize("who", ["stranger", "another"])
async def test_visitors_who_are_not_operators_get_the_same_answer_for_every_delivery(
    tmp_path: Path, who: str
) -> None:
    async with open_site(tmp_path) as site:
        await filled(site)
        headers = await site.signed_in(7, "hubot") if who == "another" else {}
        for path in PAGES:
            answer = await site.get(path, accept="application/json", **headers)
            assert answer.status_code == 403
            assert "operators only" in (await answer.get_json())["error"]
        for guid in ("failed-0", "unknown"):
            form = {"csrf": await csrf(site, headers)} if headers else {}
            answer = await post(site, f"/deliveries/{guid}/replay", headers, **form)
            assert answer.status_code == (403 if headers else 401)
        assert site.inbox.replayed == []


async def test_an_operator_sees_deliveries_and_their_outcomes(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        headers = await filled(site)
        page = await (await site.get("/deliveries", **headers)).get_data(as_text=True)
        assert page.count("push.made") == 3
        assert HOSTILE not in page
        one = await (await site.get("/deliveries/failed-0", **headers)).get_data(as_text=True)
        assert "Replay" in one
        assert "</script>" not in one.partition("Its payload")[2].partition("</pre>")[0]
        assert HOSTILE not in one
        done = await (await site.get("/deliveries/done", **headers)).get_data(as_text=True)
        assert "Replay" not in done


async def test_deliveries_are_listed_by_page_and_state(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        headers = {**await filled(site, 60), "accept": "application/json"}

        async def listed(query: str) -> Any:
            return await (await site.get(f"/deliveries{query}", **headers)).get_json()

        first = await listed("")
        second = await listed(f"?before={first['next']}")
        guids = [each["guid"] for each in first["deliveries"] + second["deliveries"]]
        assert guids == ["done", *(f"failed-{number}" for number in reversed(range(60)))]
        assert second["next"] is None
        assert [each["guid"] for each in (await listed("?state=done"))["deliveries"]] == ["done"]
        assert (await site.get("/deliveries?state=x", **headers)).status_code == 400


async def test_a_delivery_that_was_set_aside_can_be_handled_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        headers = await filled(site)
        good = await csrf(site, headers)
        assert (await post(site, "/deliveries/failed-0/replay", headers)).status_code == 403
        answer = await post(site, "/deliveries/failed-0/replay", headers, csrf=good)
        assert (answer.status_code, answer.headers["location"]) == (303, "/deliveries/failed-0")
        assert (await post(site, "/deliveries/done/replay", headers, csrf=good)).status_code == 409
        assert (await post(site, "/deliveries/no/replay", headers, csrf=good)).status_code == 404
        assert site.inbox.replayed == ["failed-0", "done"]


async def test_the_backlog_is_shown_by_repository_with_what_the_budget_is_spent_on(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        headers = await filled(site)
        assert "Backlog" not in await (await site.get("/deliveries", **headers)).get_data(
            as_text=True
        )
        for number in range(3):
            name = HOSTILE if number else "o/quiet"
            await site.store.deliveries.record(
                f"waits-{number}", "push", None, b"{}", repository=name, received_at=60.0
            )
        page = await (await site.get("/deliveries", **headers)).get_data(as_text=True)
        assert "3 deliveries haven’t ended" in page
        assert "20 of 890 · start 20" in page
        assert HOSTILE not in page
        answer = await site.get("/deliveries", accept="application/json", **headers)
        backlog = (await answer.get_json())["backlog"]
        assert [each["waiting"] for each in backlog["repositories"]] == [2, 1]
        assert (backlog["deliveries"], backlog["seconds_left"]) == (3, None)
        assert backlog["budgets"][0]["waiting"] == {"conclude": 3}


async def test_a_payload_that_is_too_long_to_show_is_listed_with_its_size(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.store.deliveries.record(
            "long", "push", None, b'{"a": "%s"}' % (b"x" * 2_000_000)
        )
        headers = await site.signed_in(9, "ops")
        page = await (await site.get("/deliveries/long", **headers)).get_data(as_text=True)
        assert "The payload has 2.0 MB." in page
        assert "Handling it hasn’t begun." in page


async def test_the_list_shows_the_outcome_of_each_delivery(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        headers = await filled(site, 1)
        page = await (await site.get("/deliveries?state=set_aside", **headers)).get_data(
            as_text=True
        )
        assert '<span class="word">set aside</span>' in page
        assert '<span class="reason">&lt;script&gt;' in page

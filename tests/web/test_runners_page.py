"""The page of connected runners, and who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.runtimes import Platform, RuntimeStatus, caveats
from bassloop.store import RuntimeRecord

from .site import HOSTILE, open_site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def runner(kind: str, *runs: str, login: str = "octocat") -> RuntimeStatus:
    return RuntimeStatus(
        id=f"id-{kind}",
        user_id=1,
        login=login,
        platform=Platform("linux", "arm64"),
        priority=3,
        connected_at=1_700_000_000.0,
        kind=kind,
        runs=runs,
        caveats=caveats(kind),
    )


async def test_the_page_of_runners_is_for_operators_only(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        site.connected.append(runner("go"))
        for asking in ({}, await site.signed_in(7, "hubot")):
            answer = await site.get("/runners", **asking)
            assert answer.status_code == 403
            assert "octocat" not in await answer.get_data(as_text=True)
        for user_id, login in ((9, "renamed"), (10, "Operator")):
            answer = await site.get("/runners", **await site.signed_in(user_id, login))
            assert answer.status_code == 200


async def test_the_page_shows_owners_times_running_checks_and_limitations(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        operator = await site.signed_in(9, "operator")
        empty = await site.get("/runners", **operator)
        assert "No runner is connected" in await empty.get_data(as_text=True)
        await site.queued("seen", check_name="test")
        await site.queued("private", check_name="secret", public=False)
        site.connected += [
            runner("go", "seen", "private", "Resolve"),
            runner("openssh", login=HOSTILE),
        ]
        page = await (await site.get("/runners", **operator)).get_data(as_text=True)
        for said in ("octocat", "linux/arm64", "priority 3", "2023-11-14 22:13", "OpenSSH"):
            assert said in page
        assert 'href="/runs/seen"' in page
        assert "secret</a>" not in page
        assert "2 other calls: hooks, or runs that you don't have access to" in page
        assert "secrets reach it without a value" in page
        assert "Idle" in page
        assert HOSTILE not in page


async def test_runners_are_served_as_json_at_the_same_address(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        operator = await site.signed_in(9, "operator")
        await site.queued("seen", check_name="test")
        site.connected.append(runner("bassloop", "seen"))
        answer = await site.get("/runners", accept="application/json", **operator)
        [found] = (await answer.get_json())["runners"]
        assert (found["login"], found["kind"], found["caveats"]) == ("octocat", "bassloop", [])
        assert found["connected_at"] == "2023-11-14T22:13:20.000Z"
        assert [run["id"] for run in found["runs"]] == ["seen"]
        assert found["others"] == 0


async def test_runners_of_other_nodes_are_listed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = RuntimeRecord("there", 1, "ada", "linux", "", 0, 1.0, "", "there", "go", node="other")

    async def elsewhere(self: object) -> list[RuntimeRecord]:
        return [there]

    async with open_site(tmp_path) as site:
        operator = await site.signed_in(9, "operator")
        await site.queued("seen", check_name="test")
        await site.store.runs.start("seen", "there", "ada", "linux", 1.0)
        site.connected.append(runner("bassloop"))
        monkeypatch.setattr(type(site.store.runtimes), "elsewhere", elsewhere)
        answer = await site.get("/runners", accept="application/json", **operator)
        first, second = (await answer.get_json())["runners"]
        assert (first["login"], second["login"]) == ("ada", "octocat")
        assert [run["id"] for run in first["runs"]] == ["seen"]
        assert first["caveats"] == list(caveats("go"))


async def test_only_operators_get_a_link_to_the_page(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        assert "/runners" not in await site.text("/runs")
        page = await site.get("/runs", **await site.signed_in(9, "operator"))
        assert 'href="/runners"' in await page.get_data(as_text=True)

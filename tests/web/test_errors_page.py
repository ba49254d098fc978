"""The search for errors across a repository's runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store import search_index

from .site import HOSTILE, open_site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HERE = "/repositories/octocat/hello"


async def test_errors_are_found_with_their_first_and_last_run(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        for run_id, branch, lines in (
            ("one", "main", ["no Such type", "other"]),
            ("two", "topic", ["no Such type", "no Such type"]),
            ("three", None, ["no Such type"]),
        ):
            pull = None if branch else 7
            await site.run(run_id, head_branch=branch, pull_request=pull)
            await site.store.error_lines.put(run_id, lines)
        found = (await site.json(f"{HERE}/errors?q=SUCH"))["errors"]
        assert [(each["text"], each["runs"]) for each in found] == [("no Such type", 3)]
        assert (found[0]["first"]["id"], found[0]["last"]["id"]) == ("one", "three")
        assert sorted(found[0]["branches"]) == ["#7", "main", "topic"]
        everything = (await site.json(f"{HERE}/errors"))["errors"]
        assert [each["text"] for each in everything] == ["no Such type", "other"]
        assert (await site.json(f"{HERE}/errors?q=%25"))["errors"] == []
        page = await site.text(f"{HERE}/errors?q=such")
        assert "no Such type" in page
        assert "No run failed of anything" in await site.text(f"{HERE}/errors?q=nothing")
        assert f'href="{HERE}/errors"' in await site.text(HERE)
        await site.store.error_lines.put("one", ["changed"])
        assert (await site.json(f"{HERE}/errors?q=other"))["errors"] == []


async def test_errors_are_shown_as_text(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("one")
        await site.store.error_lines.put("one", [HOSTILE, "", "x" * 9000])
        page = await site.text(f"{HERE}/errors")
        assert "<script>alert" not in page
        found = (await site.json(f"{HERE}/errors"))["errors"]
        assert sorted(len(each["text"]) for each in found) == [len(HOSTILE), 500]


async def test_errors_of_private_runs_are_shown_to_readers_only(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run("one", public=False)
        await site.store.error_lines.put("one", ["hushed"])
        assert (await site.get(f"{HERE}/errors")).status_code == 404
        reader = await site.signed_in(7, "hubot", r2="read")
        answer = await site.get(f"{HERE}/errors", **reader)
        assert "hushed" in await answer.get_data(as_text=True)


async def test_a_search_reports_how_far_it_got_and_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "MAX_RUNS_SEARCHED", 2)
    async with open_site(tmp_path) as site:
        for run_id in ("one", "two", "three"):
            await site.run(run_id)
        await site.run("hidden", public=False)
        await site.store.error_lines.put("one", ["of old"])
        found = await site.json(f"{HERE}/errors?q=old")
        assert (found["errors"], found["searched"], found["next"]) == ([], 2, "two")
        page = await site.text(f"{HERE}/errors?q=old")
        assert "of 2 runs" in page
        assert f'href="{HERE}/errors?q=old&amp;before=two"' in page
        found = await site.json(f"{HERE}/errors?q=old&before=two")
        assert [each["text"] for each in found["errors"]] == ["of old"]
        assert (found["searched"], found["next"]) == (1, None)
        for unknown in ("hidden", "none"):
            found = await site.json(f"{HERE}/errors?q=old&before={unknown}")
            assert (found["errors"], found["searched"], found["next"]) == ([], 0, None)

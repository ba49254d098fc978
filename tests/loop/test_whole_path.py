"""The whole path, nothing faked: webhook, hook, check run over HTTP, gRPC over SSH, command, log, page."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import trio
from trio_websocket import open_websocket_url

from bassloop.tools.trial import Trial, Trying, trying

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from .conftest import MakeRepository


@asynccontextmanager
async def tried(path: Path, **options: Any) -> AsyncGenerator[Trying]:
    """A trial whose delivery is handled."""
    with trio.fail_after(120):
        async with trying(Trial(path, **options)) as its:
            await its.serving.inbox.finished(its.guid)
            yield its


def check_run(its: Trying, name: str) -> dict[str, Any]:
    """The check run of a name, as GitHub has it."""
    found = [run for run in its.standin.check_runs if run["name"] == name]
    assert len(found) == 1, [run["name"] for run in its.standin.check_runs]
    return found[0]


async def get(its: Trying, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(its.serving.local_url + path, headers=headers)


async def test_checks_run_on_the_senders_runner_and_conclude_on_github(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(
        """:greet (on src ($ sh -c "echo hello from $(cat name.txt)"))
           :broken (on src ($ sh -c "echo tests/a.py:3: it broke >&2; exit 3"))""",
        **{"name.txt": "a file\n"},
    )
    async with tried(path) as its:
        greet, broken = check_run(its, "greet"), check_run(its, "broken")
        assert (greet["status"], greet["conclusion"]) == ("completed", "success")
        assert (broken["status"], broken["conclusion"]) == ("completed", "failure")
        assert greet["head_sha"] == its.head
        assert "exit status 3" in broken["output"]["title"]
        assert "tests/a.py:3: it broke" in broken["output"]["text"]
        for said in (greet, broken):
            assert f"**{its.standin.login}**'s runner" in said["output"]["summary"]

        page = await get(its, f"/runs/{greet['external_id']}")
        assert page.status_code == 200
        assert "echo hello from" in page.text
        assert greet["details_url"] == f"{its.serving.url}/runs/{greet['external_id']}"

        run = (await get(its, f"/runs/{greet['external_id']}", accept="application/json")).json()
        assert run["state"] == "succeeded"
        assert run["runner"] == its.standin.login
        command = run["vertexes"][-1]
        assert command["name"].startswith("sh -c")
        raw = await get(its, f"/runs/{run['id']}/vertexes/{command['row']}/raw")
        assert raw.content == b"hello from a file\n"
        thunk = await get(its, f"/thunks/{run['thunk']}")
        assert greet["external_id"] in thunk.text


async def test_what_a_failing_log_points_at_is_noted_on_its_line_once(
    make_repository: MakeRepository,
) -> None:
    lines = "; ".join(f"echo src/a.py:{n}: broke {n}" for n in range(1, 61))
    script = f"echo src/none.py:1: not there; echo {{path}}/src/b.sh:2:7: warning: too; {lines}"
    path = make_repository(
        f""":noisy (on src ($ sh -c "{script.replace("{path}", "$PWD")}; exit 1"))""",
        **{"src/a.py": "1\n", "src/b.sh": "true\n"},
    )
    async with tried(path) as its:
        noisy = check_run(its, "noisy")
        noted = its.standin.annotations[noisy["id"]]
        assert noisy["output"]["annotations_count"] == len(noted) == 61
        assert [(note["path"], note["start_line"]) for note in noted[:2]] == [
            ("src/b.sh", 2),
            ("src/a.py", 1),
        ]
        assert (noted[0]["annotation_level"], noted[0]["start_column"]) == ("warning", 7)
        assert len({note["message"] for note in noted}) == 61


async def test_a_hook_that_fails_is_noted_on_its_own_line(make_repository: MakeRepository) -> None:
    path = make_repository(**{"project.bass": "(defn github-hook [event client]\n  (nosuch))\n"})
    async with tried(path) as its:
        said = check_run(its, "project.bass")
        assert said["conclusion"] == "failure"
        [noted] = its.standin.annotations[said["id"]]
        assert (noted["path"], noted["start_line"]) == ("project.bass", 2)
        assert "nosuch" in noted["message"]


async def test_what_a_hook_ran_itself_is_shown_when_it_fails(
    make_repository: MakeRepository,
) -> None:
    hook = """
(defn github-hook [event client]
  (run (with-image ($ sh -c "echo it works >&2; echo src: it broke >&2; exit 3")
                   {:repository "alpine" :platform {:os "linux"}})))
"""
    async with tried(make_repository(**{"project.bass": hook})) as its:
        said = check_run(its, "project.bass")
        assert said["conclusion"] == "failure"
        assert "| ❌ | [`sh -c" in said["output"]["summary"]
        assert "it works\nsrc: it broke" in said["output"]["text"]
        page = await get(its, f"/runs/{said['external_id']}")
        assert "it works" in page.text


async def test_a_hook_reads_what_a_thunk_has_made(make_repository: MakeRepository) -> None:
    path = make_repository(
        """:said (with-env (on src ($ sh -c "test \\"$SAID\\" = made"))
                   {:SAID (next (read (subpath (on src ($ sh -c "printf made > w.txt")) ./w.txt)
                                      :raw))})"""
    )
    async with tried(path) as its:
        said = check_run(its, "said")
        assert said["conclusion"] == "success", said["output"]


async def test_the_later_form_of_a_hook_is_a_script_with_a_main(
    make_repository: MakeRepository,
) -> None:
    script = """
(use (.git (linux/alpine/git)) (.github) (*dir*/things.bass))
(defn main []
  (for [event *stdin*]
    (github:check-hook event git:checkout things:checks)))
"""
    things = '(defn checks [src] {:ok (from (linux/alpine) (cd src ($ sh -c "echo fine")))})'
    path = make_repository(**{"bass/github-hook": script, "bass/things.bass": things})
    async with tried(path) as its:
        assert check_run(its, "ok")["conclusion"] == "success"


async def test_a_log_is_on_the_page_while_it_is_written(make_repository: MakeRepository) -> None:
    path = make_repository(
        """:slow (on src ($ sh -c "echo first; while [ ! -e go ]; do sleep 0.05; done; echo last"))"""
    )
    with trio.fail_after(120):
        async with trying(Trial(path)) as its:
            async with its.serving.tail.follow(None) as following:
                runs: tuple[Any, ...] = ()
                while not runs:
                    await following.changed()
                    runs = (await its.serving.store.runs()).items
            address = its.serving.local_url.replace("http", "ws") + f"/runs/{runs[0].id}/live"
            lines: list[str] = []
            async with open_websocket_url(address) as socket:
                await socket.send_message(json.dumps({"logs": {}}))
                screen: list[str] = []
                while "first" not in screen:
                    news = json.loads(await socket.get_message())
                    screen = [line for log in news.get("logs", ()) for line in log["screen"]]
                run = await its.serving.store.run(runs[0].id)
                assert run is not None
                assert run.state == "running"
                _let_go(its)
                while not news.get("end"):
                    news = json.loads(await socket.get_message())
                    lines += [line for log in news.get("logs", ()) for line in log["lines"]]
            await its.serving.inbox.finished(its.guid)
            said = [line for line in lines if line in ("first", "last")]
            assert said == ["first", "last"]
            assert check_run(its, "slow")["conclusion"] == "success"


def _let_go(its: Trying) -> None:
    """Make the file that the command waits for, in the folder where it runs."""
    from pathlib import Path

    root = Path(str(its.serving.store._blobs)).parent.parent / "runner" / "making"
    for folder in root.glob("*/*/files"):
        (folder / "go").touch()


async def test_a_runner_that_leaves_leaves_no_runtime_behind(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(':ok (on src ($ sh -c "true"))')) as its:
        assert len(await its.serving.store.runtimes()) == 1
        [runtime] = its.serving.pool.snapshot()
        assert runtime.login == its.standin.login
        pool = its.serving.pool
    assert pool.snapshot() == []


async def test_without_a_runner_a_check_says_the_command_that_connects_one(
    make_repository: MakeRepository,
) -> None:
    project = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "lonely" event:payload:check_suite:head_sha))
"""
    async with tried(make_repository(**{"project.bass": project}), runner=False) as its:
        lonely = check_run(its, "lonely")
        assert lonely["conclusion"] == "action_required"
        assert f"bassloop runner {its.standin.login}@127.0.0.1:" in lonely["output"]["summary"]
        page = await get(its, f"/runs/{lonely['external_id']}")
        assert "bassloop runner" in page.text


async def test_a_hook_that_needs_a_runner_and_has_none_says_so(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(':ok (on src ($ sh -c "true"))'), runner=False) as its:
        hook = check_run(its, "project.bass")
        assert hook["conclusion"] == "failure"
        assert f"bassloop runner {its.standin.login}@" in hook["output"]["summary"]

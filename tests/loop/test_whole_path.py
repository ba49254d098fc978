"""The whole path, nothing faked: webhook, hook, check run over HTTP, gRPC over SSH, command, log, page."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from trio_websocket import open_websocket_url

from bassloop.tools.trial import Trial, TrialOptions, open_trial
from tests.repositories import PROJECT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.repositories import MakeRepository

pytestmark = pytest.mark.usefixtures("shared_fork_servers")


@asynccontextmanager
async def tried(path: Path, seconds: float = 600, **options: Any) -> AsyncGenerator[Trial]:
    """A trial whose delivery is handled."""
    with trio.fail_after(seconds):
        async with open_trial(TrialOptions(path, **options)) as trial:
            await trial.daemon.inbox.finished(trial.guid)
            yield trial


def check_run(trial: Trial, name: str) -> dict[str, Any]:
    """The check run of a name, as GitHub has it."""
    found = [run for run in trial.standin.check_runs if run["name"] == name]
    assert len(found) == 1, [run["name"] for run in trial.standin.check_runs]
    return found[0]


async def get(trial: Trial, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=120) as client:
        return await client.get(trial.daemon.local_url + path, headers=headers)


async def test_checks_run_on_the_senders_runner_and_conclude_on_github(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(
        """:greet (on src ($ sh -c "echo hello from $(cat name.txt)"))
           :broken (on src ($ sh -c "echo tests/a.py:3: it broke >&2; exit 3"))""",
        **{"name.txt": "a file\n"},
    )
    async with tried(path) as trial:
        greet, broken = check_run(trial, "greet"), check_run(trial, "broken")
        assert (greet["status"], greet["conclusion"]) == ("completed", "success")
        assert (broken["status"], broken["conclusion"]) == ("completed", "failure")
        assert greet["head_sha"] == trial.head
        assert "exit status 3" in broken["output"]["title"]
        assert "tests/a.py:3: it broke" in broken["output"]["text"]
        name = f"{trial.standin.login}/{trial.standin.name}"
        errors = await get(
            trial, f"/repositories/{name}/errors?q=It+broke", accept="application/json"
        )
        assert [each["text"] for each in errors.json()["errors"]] == ["tests/a.py:3: it broke"]
        for said in (greet, broken):
            assert f"**{trial.standin.login}**'s runner" in said["output"]["summary"]

        page = await get(trial, f"/runs/{greet['external_id']}")
        assert page.status_code == 200
        assert "echo hello from" in page.text
        assert greet["details_url"] == f"{trial.daemon.url}/runs/{greet['external_id']}"

        run = (await get(trial, f"/runs/{greet['external_id']}", accept="application/json")).json()
        assert run["state"] == "succeeded"
        assert run["runner"] == trial.standin.login
        command = run["vertexes"][-1]
        assert command["name"].startswith("sh -c")
        raw = await get(trial, f"/runs/{run['id']}/vertexes/{command['row']}/raw")
        assert raw.content == b"hello from a file\n"
        thunk = await get(trial, f"/thunks/{run['thunk']}")
        assert greet["external_id"] in thunk.text


@pytest.mark.parametrize("levels", [300, pytest.param(1_000, marks=pytest.mark.slow)])
async def test_hundreds_of_nested_mounts_run_and_are_shown(
    make_repository: MakeRepository, levels: int
) -> None:
    deeper = """
    (defn deeper [n thunk]
      (if (= n 0)
        thunk
        (deeper (- n 1) (with-mount (with-entrypoint ($ true) []) thunk/./ ./in/))))
    """
    hook = deeper + PROJECT.replace("CHECKS", f":deep (deeper {levels} ($ true))")
    await _try_nested_thunks(make_repository(**{"project.bass": hook}), thunks=levels)


@pytest.mark.parametrize("commands", [100, pytest.param(1_000, marks=pytest.mark.slow)])
async def test_a_chain_of_a_thousand_commands_runs_and_is_shown(
    make_repository: MakeRepository, commands: int
) -> None:
    steps = " ".join(f'($ sh -c "echo {number} >> it")' for number in range(1, commands))
    check = f':deep (from (linux/alpine) {steps} ($ sh -c "test $(wc -l < it) = {commands - 1}"))'
    await _try_nested_thunks(make_repository(check), thunks=commands)


async def _try_nested_thunks(path: Path, thunks: int) -> None:
    """Try a repository whose check `deep` is a thunk that so many others are nested in."""
    async with tried(
        path, seconds=800, settings={"hook_cpu": 300.0, "hook_seconds": 800.0}
    ) as trial:
        deep = check_run(trial, "deep")
        assert deep["conclusion"] == "success", deep["output"]
        run = f"/runs/{deep['external_id']}"
        shown = (await get(trial, run, accept="application/json")).json()
        assert len(shown["vertexes"]) >= thunks
        assert (await get(trial, run)).status_code == 200
        thunk = await get(trial, f"/thunks/{shown['thunk']}", accept="application/json")
        assert len(thunk.json()["thunks"]) == thunks
        assert (await get(trial, f"/thunks/{shown['thunk']}")).status_code == 200


async def test_each_location_in_a_failing_log_is_annotated_once(
    make_repository: MakeRepository,
) -> None:
    lines = "; ".join(f"echo src/a.py:{n}: broke {n}" for n in range(1, 61))
    script = f"echo src/none.py:1: not there; echo {{path}}/src/b.sh:2:7: warning: too; {lines}"
    path = make_repository(
        f""":noisy (on src ($ sh -c "{script.replace("{path}", "$PWD")}; exit 1"))""",
        **{"src/a.py": "1\n", "src/b.sh": "true\n"},
    )
    async with tried(path) as trial:
        noisy = check_run(trial, "noisy")
        noted = trial.standin.annotations[noisy["id"]]
        assert noisy["output"]["annotations_count"] == len(noted) == 61
        assert [(note["path"], note["start_line"]) for note in noted[:2]] == [
            ("src/b.sh", 2),
            ("src/a.py", 1),
        ]
        assert (noted[0]["annotation_level"], noted[0]["start_column"]) == ("warning", 7)
        assert len({note["message"] for note in noted}) == 61


async def test_a_failing_hook_is_annotated_at_its_own_line(make_repository: MakeRepository) -> None:
    path = make_repository(**{"project.bass": "(defn github-hook [event client]\n  (nosuch))\n"})
    async with tried(path) as trial:
        said = check_run(trial, "project.bass")
        assert said["conclusion"] == "failure"
        [noted] = trial.standin.annotations[said["id"]]
        assert (noted["path"], noted["start_line"]) == ("project.bass", 2)
        assert "nosuch" in noted["message"]


async def test_a_failing_hooks_own_thunks_are_shown(
    make_repository: MakeRepository,
) -> None:
    hook = """
(defn github-hook [event client]
  (run (with-image ($ sh -c "echo it works >&2; echo src: it broke >&2; exit 3")
                   {:repository "alpine" :platform {:os "linux"}})))
"""
    async with tried(make_repository(**{"project.bass": hook})) as trial:
        said = check_run(trial, "project.bass")
        assert said["conclusion"] == "failure"
        assert "| ❌ | [`sh -c" in said["output"]["summary"]
        assert "it works\nsrc: it broke" in said["output"]["text"]
        page = await get(trial, f"/runs/{said['external_id']}")
        assert "it works" in page.text


async def test_a_hook_can_read_the_output_of_a_thunk(make_repository: MakeRepository) -> None:
    path = make_repository(
        """:said (with-env (on src ($ sh -c "test \\"$SAID\\" = made"))
                   {:SAID (next (read (subpath (on src ($ sh -c "printf made > w.txt")) ./w.txt)
                                      :raw))})"""
    )
    async with tried(path) as trial:
        said = check_run(trial, "said")
        assert said["conclusion"] == "success", said["output"]


async def test_a_hook_can_also_be_a_script_with_a_main(
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
    async with tried(path) as trial:
        assert check_run(trial, "ok")["conclusion"] == "success"


async def test_a_log_is_shown_on_the_page_while_it_is_written(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(
        """:slow (on src ($ sh -c "echo first; while [ ! -e go ]; do sleep 0.05; done; echo last"))"""
    )
    with trio.fail_after(600):
        async with open_trial(TrialOptions(path)) as trial:
            async with trial.daemon.live_runs.follow(None) as following:
                runs: tuple[Any, ...] = ()
                while not runs:
                    await following.changed()
                    runs = (await trial.daemon.store.runs.newest()).items
            address = trial.daemon.local_url.replace("http", "ws") + f"/runs/{runs[0].id}/live"
            lines: list[str] = []
            async with open_websocket_url(address) as socket:
                await socket.send_message(json.dumps({"logs": {}}))
                screen: list[str] = []
                while "first" not in screen:
                    news = json.loads(await socket.get_message())
                    screen = [line for log in news.get("logs", ()) for line in log["screen"]]
                run = await trial.daemon.store.runs.get(runs[0].id)
                assert run is not None
                assert run.state == "running"
                _let_go(trial)
                while not news.get("end"):
                    news = json.loads(await socket.get_message())
                    lines += [line for log in news.get("logs", ()) for line in log["lines"]]
            await trial.daemon.inbox.finished(trial.guid)
            said = [line for line in lines if line in ("first", "last")]
            assert said == ["first", "last"]
            assert check_run(trial, "slow")["conclusion"] == "success"


def _let_go(trial: Trial) -> None:
    """Make the file that the command waits for, in the folder where it runs."""
    from pathlib import Path

    root = Path(str(trial.daemon.store._blobs)).parent.parent / "runner" / "making"
    for folder in root.glob("*/*/files"):
        (folder / "go").touch()


async def test_a_runner_that_leaves_leaves_no_runtime_behind(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(':ok (on src ($ sh -c "true"))')) as trial:
        assert len(await trial.daemon.store.runtimes.connected()) == 1
        [runtime] = trial.daemon.pool.snapshot()
        assert runtime.login == trial.standin.login
        pool = trial.daemon.pool
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
    async with tried(make_repository(**{"project.bass": project}), runner=False) as trial:
        lonely = check_run(trial, "lonely")
        assert lonely["conclusion"] == "action_required"
        assert f"bassloop runner {trial.standin.login}@127.0.0.1:" in lonely["output"]["summary"]
        page = await get(trial, f"/runs/{lonely['external_id']}")
        assert "bassloop runner" in page.text


async def test_a_hook_that_needs_a_runner_and_finds_none_says_so(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(':ok (on src ($ sh -c "true"))'), runner=False) as trial:
        hook = check_run(trial, "project.bass")
        assert hook["conclusion"] == "failure"
        assert f"bassloop runner {trial.standin.login}@" in hook["output"]["summary"]

"""Artifacts, from one runner's command to another check's, and to whoever downloads them, with nothing faked."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import trio

from tests.loop.test_whole_path import check_run, tried

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.repositories import MakeRepository

CHECKS = """
(defn github-hook [event client]
  (client:start-check
    (with-label
      ($ sh -c "mkdir -p dist site; echo wheel > dist/a.whl; echo page > site/i.html; ln -s / site/link")
      :artifacts ["dist/*" "site/" "nothing/*"])
    "build" event:payload:check_suite:head_sha)
  (client:start-check
    (with-label
      ($ sh -c "cat artifacts/build/dist/a.whl && tar tf artifacts/build/site.tar")
      :uses ["build"])
    "deploy" event:payload:check_suite:head_sha))
"""


async def bassloop(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bassloop", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    return await trio.run_process(
        command, check=False, capture_stdout=True, capture_stderr=True, env=environment
    )


async def test_what_a_check_left_is_used_downloaded_and_verified(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with tried(make_repository(**{"project.bass": CHECKS})) as trial:
        build, deploy = check_run(trial, "build"), check_run(trial, "deploy")
        assert (build["conclusion"], deploy["conclusion"]) == ("success", "success"), deploy
        assert "artifacts/dist/a.whl" in build["output"]["summary"]
        store = trial.daemon.store
        steps = await store.steps.of_run(deploy["external_id"])
        [step] = [each for each in steps if each.name.startswith("sh -c")]
        lines = await store.logs.lines(deploy["external_id"], step.row, 0, 9)
        assert lines == [b"wheel", b"i.html", b"link"]
        names = [each.name for each in await store.steps.of_run(build["external_id"])]
        assert [name for name in names if name.startswith("[loop]")] == [
            "[loop] artifacts are missing: there is nothing at nothing/*"
        ]
        for run in (build, deploy):
            page = f"{trial.daemon.local_url}/runs/{run['external_id']}"
            keys = tmp_path / "keys"
            keys.write_text("\n".join(trial.standin.account(trial.standin.login).keys))
            done = await bassloop("verify", page, "--keys", str(keys))
            assert done.returncode == 0, done.stdout
        page = f"{trial.daemon.local_url}/runs/{build['external_id']}"
        listed = await bassloop("artifacts", page)
        assert b"dist/a.whl" in listed.stdout
        done = await bassloop("artifacts", page, "--to", str(tmp_path / "to"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "to" / "dist" / "a.whl").read_text() == "wheel\n"
        again = await bassloop("artifacts", page, "dist/a.whl", "--to", str(tmp_path / "to"))
        assert again.returncode == 1
        assert b"is there already" in again.stderr

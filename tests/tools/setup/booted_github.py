"""A stand-in for GitHub in a booted machine. A line of its input is a request, and a line is the answer.

`push` pushes a commit, and answers with the loop's status, or 0 if nobody answers. `checks` waits until the checks of
all of them are completed, and answers with the number of each conclusion.

Usage: booted_github.py REPOSITORY LOOP-URL WEBHOOK-SECRET APP-KEY USER-KEY
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import trio

from bassloop.standin import StandIn, StandInError, serve_standin
from tests.repositories import commits
from tests.until import until


async def main(repository: str, loop_url: str, secret: str, app_key: str, user_key: str) -> None:
    standin = StandIn(
        repository_path=Path(repository),
        owner="octocat",
        name="hello",
        login="octocat",
        keys=[user_key],
        app_key=app_key,
        webhook_secret=secret,
    )
    heads = commits(standin.repository_path, 100)
    pushed = set[str]()

    async def push() -> int:
        head = heads.pop()
        pushed.add(head)
        payload = await standin.payload("push")
        try:
            return (await standin.deliver(loop_url, "push", {**payload, "after": head})).status
        except StandInError:
            return 0

    async def checks() -> dict[str, int]:
        def completed() -> bool:
            runs = standin.check_runs
            return {run["head_sha"] for run in runs if run["status"] == "completed"} >= pushed

        await until(completed)
        return Counter(str(run["conclusion"]) for run in standin.check_runs)

    async with trio.open_nursery() as nursery:
        print(await nursery.start(serve_standin, standin), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            answer = await (push() if line.strip() == "push" else checks())
            print(json.dumps(answer), flush=True)
        nursery.cancel_scope.cancel()


trio.run(main, *sys.argv[1:])

"""A loop without a daemon: a store, a stand-in for GitHub over HTTP, an inbox, runtimes that obey tests."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from bassloop.checks.delivery_handler import handle_delivery
from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.loop_state import LoopState
from bassloop.checks.recovery import end_set_aside, interrupt_lost_runs, keep_concluding
from bassloop.concurrency import Backoff
from bassloop.deliveries.inbox import Inbox
from bassloop.evaluator.evaluators import Evaluators
from bassloop.github import GitHubConfig, RetryPolicy, open_github, sign
from bassloop.github.api_budget import POINTS
from bassloop.runtimes import Platform, Pool, Runtime
from bassloop.standin import StandIn, serve_standin
from bassloop.store import Store, open_store
from tests.fork_servers import run_shared_server
from tests.keys import APP
from tests.sqlite_databases import copy_sqlite
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

BACKOFF = Backoff(first=0.01, longest=600.0, jitter=0.2)
SECRET = "the webhook's secret"

START = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


@dataclass(eq=False)
class FakeRuntime(Runtime):
    """A runtime whose runs succeed when the test lets them; it keeps what it was told beside."""

    going: trio.Event = field(default_factory=trio.Event)
    told: list[dict[str, str]] = field(default_factory=list)

    @asynccontextmanager
    async def run(
        self, thunk: Any, metadata: Mapping[str, str], trailers: Any = None, on_open: Any = None
    ) -> AsyncGenerator[Any]:
        self.told.append(dict(metadata))
        if on_open is not None:
            await on_open()
        send, receive = trio.open_memory_channel[Any](0)
        async with receive:
            send.close()
            await self.going.wait()
            yield receive


@dataclass(eq=False)
class SmallLoop:
    """A small loop."""

    standin: StandIn
    store: Store
    core: LoopState
    inbox: Inbox

    async def deliver(self, payload: Mapping[str, Any], guid: str, event: str = "") -> int:
        """Put a payload in the inbox as GitHub does; the answer's status."""
        name = event or next(name for name in ("check_suite", "check_run") if name in payload)
        body = json.dumps(payload).encode()
        headers = {
            "content-type": "application/json",
            "x-github-event": name,
            "x-github-delivery": guid,
            "x-hub-signature-256": sign(SECRET.encode(), body),
        }
        return (await self.inbox.accept(headers, body)).status

    @asynccontextmanager
    async def runner(self, login: str = "", *, ready: bool = True) -> AsyncGenerator[FakeRuntime]:
        """A connected runtime of a user's; what it runs succeeds at once when it is `ready`."""
        account = self.standin.account(login or self.standin.login)
        runtime = FakeRuntime(
            f"runtime of {account.login}",
            account.id,
            account.login,
            Platform("linux", "amd64"),
            0,
            time.time(),
            _nowhere,
        )
        if ready:
            runtime.going.set()
        async with self.core.pool.registered(runtime):
            yield runtime

    def shown(self) -> bool:
        """Return whether there is a check run, and the loop knows that it is there."""
        return bool(self.standin.check_runs) and not self.core.github.statistics()["asking"]

    async def until_stored(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Wait until a condition holds of what is stored, looking again after each commit."""
        while True:
            commits = self._commits()
            if await condition():
                return
            await until(lambda before=commits: self._commits() != before)  # type: ignore[misc]

    def _commits(self) -> int:
        return self.store.statistics().writer.batches

    def check_run(self, name: str = "it") -> dict[str, Any]:
        """The newest check run of a name, as GitHub has it."""
        found = [run for run in self.standin.check_runs if run["name"] == name]
        assert found, [run["name"] for run in self.standin.check_runs]
        return found[-1]


async def _nowhere(session_factory: object) -> Any:
    raise ConnectionError("nowhere")


@asynccontextmanager
async def small_loop(
    repository: Path,
    folder: Path,
    *,
    evaluators: Evaluators | None = None,
    points: int = POINTS,
    seconds: float = 600,
    **options: Any,
) -> AsyncGenerator[SmallLoop]:
    """A small loop around a repository; the data in `folder` is that of an earlier one, if any."""
    standin = options.pop("standin", None) or StandIn(
        repository_path=repository,
        owner="octocat",
        name="hello",
        login="octocat",
        keys=[],
        app_key=APP.public,
        webhook_secret=SECRET,
    )
    database = copy_sqlite(folder / "loop.db")
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            api: str = await nursery.start(serve_standin, standin)
            config = GitHubConfig(
                api,
                standin.app_id,
                APP.private,
                retries=RetryPolicy(attempts=1, longest_delay=0),
                points=points,
            )
            async with (
                open_store(database, folder / "blobs", synchronous="OFF") as store,
                open_github(config) as github,
            ):
                loop = LoopState(
                    store=store,
                    live_runs=LiveRuns(),
                    pool=Pool(),
                    github=github,
                    evaluators=evaluators or Evaluators(run_server=run_shared_server),
                    external_url="http://loop",
                    app_id=standin.app_id,
                    connect=lambda login: f"bassloop runner {login}@loop",
                    backoff=BACKOFF,
                )
                if options:
                    loop = replace(loop, **options)
                inbox = Inbox(
                    store,
                    partial(handle_delivery, loop),
                    SECRET.encode(),
                    backoff=BACKOFF,
                    on_set_aside=partial(end_set_aside, loop),
                )
                await interrupt_lost_runs(loop)
                async with trio.open_nursery() as inner:
                    inner.start_soon(keep_concluding, loop)
                    await inner.start(loop.evaluators.run)
                    await inner.start(inbox.run)
                    yield SmallLoop(standin, store, loop, inbox)
                    inner.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

"""An application over a store of its own, to ask things of."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio
from quart.testing import connections
from quart.wrappers import base

from bassloop.checks.live_runs import LiveRuns
from bassloop.deliveries.backlog import Backlog, Pace
from bassloop.deliveries.inbox import WebhookResponse
from bassloop.github import APIBudget, Purpose
from bassloop.store import (
    Artifact,
    StatementRecord,
    StepUpdate,
    Store,
    ThunkRecord,
    User,
    open_store,
)
from bassloop.trust.envelope import SignedStatement
from bassloop.trust.sshsig import SSHSignature
from bassloop.web import Health, PartStatus, WebContext, create_app
from bassloop.web.websocket_limits import WebsocketLimits
from tests.records import make_run
from tests.sqlite_databases import copy_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping
    from pathlib import Path

    from quart_trio import QuartTrio

    from bassloop.github import OAuth
    from bassloop.store import Blobs
    from bassloop.web.web_sessions import Visitor

Disconnected: type[Exception] = (
    getattr(base, "ClientDisconnectedError", None) or connections.WebsocketDisconnectError
)
"""The exception of a test's websocket that was closed: Quart 0.23, which needs Python 3.13, renamed it."""

HOSTILE = "<script>alert(1)</script>\"'&`{{41*271}}"


class FakeInbox:
    """Remembers what it is given."""

    is_draining = False

    def __init__(self) -> None:
        self.given: list[tuple[dict[str, str], bytes]] = []
        self.replayed: list[str] = []

    async def accept(self, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        self.given.append((dict(headers), body))
        return WebhookResponse(202, "accepted")

    async def replay(self, guid: str) -> bool:
        self.replayed.append(guid)
        return guid != "done"


class FakeAPI:
    """GitHub's API as somebody has used it who writes a lot."""

    def __init__(self) -> None:
        self.budget = APIBudget()
        self.budget.begin(Purpose.START, 20)
        self.budget.waiting[Purpose.CONCLUDE] = 3

    def budgets(self) -> dict[str, APIBudget]:
        return {"installation 1": self.budget}


async def _ready(only: Collection[str] | None) -> list[PartStatus]:
    return [PartStatus("store", True), PartStatus("github", True)]


async def _metrics(accept: str) -> tuple[bytes, str]:
    return b"bassloop_tasks 1.0\n", "text/plain; version=1.0.0; charset=utf-8"


class FakePermissions:
    """GitHub's permissions: levels by user and repository."""

    def __init__(self) -> None:
        self.levels: dict[tuple[int, int], str] = {}
        self.forgotten: list[tuple[int | None, int | None]] = []

    async def level(self, person: Visitor, repository_id: int) -> str:
        await trio.lowlevel.checkpoint()
        return self.levels.get((person.id, repository_id), "none")

    async def readable(self, person: Visitor) -> frozenset[int]:
        await trio.lowlevel.checkpoint()
        theirs = {repo for (user, repo), level in self.levels.items() if user == person.id}
        return frozenset(repo for repo in theirs if self.levels[person.id, repo] != "none")

    async def forget_everywhere(
        self, *, user_id: int | None = None, repository_id: int | None = None
    ) -> None:
        self.forgotten.append((user_id, repository_id))


class FakeControl:
    """Remembers what was asked for, and refuses what it is told to."""

    verifiable: frozenset[str] = frozenset({"verifiable"})

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.refusal: Exception | None = None

    async def cancel(self, run_id: str, by: Visitor) -> bool:
        await self._do("cancel", run_id, by)
        return True

    async def approve(self, run_id: str, by: Visitor) -> None:
        await self._do("approve", run_id, by)

    async def rerun(self, run_id: str, by: Visitor) -> bool:
        await self._do("rerun", run_id, by)
        return True

    async def verify(self, run_id: str, by: Visitor) -> bool:
        await self._do("verify", run_id, by)
        return True

    async def is_any_verifiable(self, *run_ids: str) -> bool:
        await trio.lowlevel.checkpoint()
        return not self.verifiable.isdisjoint(run_ids)

    async def _do(self, what: str, run_id: str, by: Visitor) -> None:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((what, run_id, by.login))


@dataclass
class Site:
    """An application and what is behind it."""

    app: QuartTrio
    store: Store
    inbox: FakeInbox
    live_runs: LiveRuns
    context: WebContext

    permissions: FakePermissions
    connected: list[Any]

    async def signed_in(self, user_id: int, login: str, **levels: str) -> dict[str, str]:
        """The headers of somebody who signed in; `levels` are theirs, in the repository `r<id>`."""
        await self.store.users.put(User(user_id, f"U_{user_id}", login))
        for name, level in levels.items():
            self.permissions.levels[user_id, int(name[1:])] = level
        token, _ = await self.context.sessions.begin(user_id)
        return {"cookie": f"{self.context.sessions.cookie}={token}"}

    async def get(self, path: str, **headers: str) -> Any:
        return await self.app.test_client().get(path, headers=headers)

    async def text(self, path: str) -> str:
        answer = await self.get(path)
        assert answer.status_code == 200, path
        text: str = await answer.get_data(as_text=True)
        return text

    async def json(self, path: str) -> Any:
        answer = await self.get(path, accept="application/json")
        assert answer.status_code == 200, path
        return await answer.get_json()

    async def queued(self, run_id: str = "r", **changes: Any) -> None:
        """A run that waits for its runner."""
        await self.store.users.put(User(1, "U_1", "octocat"))
        thunk = ThunkRecord("DIGEST", "0" * 64, "{}", b"", "sh test.sh", 1.0)
        await self.store.thunks.put(thunk)
        fields = {"thunk_digest": "DIGEST", "state": "queued", "started_at": None, "ended_at": None}
        run = replace(make_run(id=run_id, **fields), **changes)
        await self.store.checks.get_or_create(
            2, run.repository, 3, run.head_sha, f"{run.check_name} {run_id}", "g", False, run
        )

    async def step(self, run_id: str, name: str, text: bytes, **changes: Any) -> int:
        """A step of a run with its whole log; returns its row."""
        update = StepUpdate(name, name, 100.0, 101.0, **changes)
        row = (await self.store.steps.put(run_id, [update]))[name].row
        log = await self.store.logs.open(run_id, row)
        await log.append(text, None, 1, 100.0)
        await log.close()
        return row

    async def sign(self, run_id: str, problem: str | None = None) -> None:
        """Store a statement of a run, signed with a key that GitHub lists."""
        signed = SignedStatement(b"{}", SSHSignature(b"a key", b"a signature"))
        await self.store.statements.put(
            StatementRecord(
                run_id,
                signed.payload,
                signed.signature.encode(),
                "octocat",
                "SHA256:the-key",
                102.0,
                True,
                100.0,
                problem,
            )
        )

    async def keep(
        self, run_id: str, path: str, data: bytes, *, expires_at: float = 4e9
    ) -> Artifact:
        """Store an artifact of a run."""
        writer = self.store.artifacts.open(run_id)
        await writer.write(data)
        artifact = Artifact(run_id, path, len(data), await writer.finish(), 100.0, expires_at)
        assert await self.store.artifacts.put(artifact, 1 << 30) is None
        return artifact

    async def run(self, run_id: str = "r", state: str = "failed", **changes: Any) -> int:
        """An ended run of one step; returns the step's row."""
        await self.queued(run_id, **changes)
        log = f"one\n{HOSTILE}\nlast\n".encode()
        name = changes.get("cmdline", "sh test.sh")
        row = await self.step(run_id, name, log, error="exit status 1")
        await self.store.runs.start(run_id, "t", "octocat", "linux/amd64", 100.0)
        await self.store.runs.end(run_id, state, f"exit status 1 {HOSTILE}", 101.0)
        return row


@asynccontextmanager
async def open_site(
    tmp_path: Path,
    oauth: OAuth | None = None,
    blobs: Blobs | None = None,
    database: str | None = None,
    **options: Any,
) -> AsyncGenerator[Site]:
    place = database or copy_sqlite(tmp_path / "loop.db")
    options = {"synchronous": "OFF", **options}
    async with open_store(place, blobs or tmp_path / "blobs", **options) as store:
        connected: list[Any] = []
        inbox, live_runs, permissions = FakeInbox(), LiveRuns(), FakePermissions()
        context = WebContext(
            store=store,
            inbox=inbox,
            live_runs=live_runs,
            external_url="https://loop.example.com",
            version="1",
            known_hosts="loop.example.com ssh-ed25519 AAAA",
            host_key="SHA256:AAAA",
            ssh_command="bassloop runner YOUR-LOGIN@loop.example.com",
            pool_snapshot=lambda: connected,
            health=Health(ready=_ready, metrics=_metrics, metrics_token="s3cret"),
            permissions=permissions,
            control=FakeControl(),
            backlog=Backlog(store, FakeAPI(), Pace()).report,
            websockets=WebsocketLimits(200, 200),
            session_secret=b"the secret of the sessions' tests",
            oauth=oauth,
            operators=frozenset({"9", "operator"}),
        )
        yield Site(create_app(context), store, inbox, live_runs, context, permissions, connected)

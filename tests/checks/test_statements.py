"""Signed statements are stored with their run, and never accepted for another."""

from __future__ import annotations

import hashlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncssh
import trio
from grpclib.metadata import encode_metadata

from bassloop.bass import thunk_sha256
from bassloop.runtimes import RunFailed
from bassloop.trust.envelope import signed_bytes
from bassloop.trust.sshsig import SSHSignature, to_be_signed
from bassloop.trust.statement import CallDigests, RunnerDescription, RunStatement
from bassloop.wire import progrock_pb2
from bassloop.wire.conventions import ARTIFACT_PREFIX, digest_of_given, label_texts
from tests.small_loop import START, FakeRuntime, SmallLoop, small_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.repositories import MakeRepository

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")

Change = dict[str, Any]


@dataclass(eq=False)
class SigningRuntime(FakeRuntime):
    """A runtime that prints a line, and signs what a test lets it.

    Args:
        changes: what the statement says otherwise than it is.
        by: the key that signs.
        failure: fails with this, and signs that.
        silent: signs nothing.
        leaves: the artifacts that runs leave whose thunk names some.
        given: the artifacts that came for each run, by their names.
        replayed: a statement and signature that are sent in place of a new one.
    """

    changes: Change = field(default_factory=dict)
    by: asyncssh.SSHKey = KEY
    replayed: dict[str, str] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)
    failure: str | None = None
    silent: bool = False
    leaves: dict[str, bytes] = field(default_factory=dict)
    given: dict[str, dict[str, bytes]] = field(default_factory=dict)

    async def put_artifact(
        self, chunks: Callable[[], Awaitable[bytes]], metadata: Mapping[str, str]
    ) -> None:
        data = b""
        while chunk := await chunks():
            data += chunk
        assert hashlib.sha256(data).hexdigest() == metadata["bassloop-artifact-sha256"]
        self.given.setdefault(metadata["bassloop-run"], {})[metadata["bassloop-artifact-name"]] = (
            data
        )

    @asynccontextmanager
    async def run(
        self, thunk: Any, metadata: Mapping[str, str], trailers: Any = None, on_open: Any = None
    ) -> AsyncGenerator[Any]:  # type: ignore[override]
        self.told.append(dict(metadata))
        if on_open is not None:
            await on_open()
        update = progrock_pb2.StatusUpdate()
        update.vertexes.add(id="step", name="sh -c true")
        update.logs.add(vertex="step", data=b"hello\n", stream=1)
        send, receive = trio.open_memory_channel[Any](3)
        send.send_nowait(update)
        leaves = self.leaves if label_texts(thunk, "artifacts") else {}
        digests = CallDigests()
        digests.note(update)
        for path, data in leaves.items():
            artifact = progrock_pb2.StatusUpdate()
            vertex = artifact.vertexes.add(id=f"{ARTIFACT_PREFIX}{path}", name="artifact")
            vertex.completed.FromSeconds(1)
            artifact.logs.add(vertex=vertex.id, data=data, stream=1)
            send.send_nowait(artifact)
            digests.note(artifact)
        send.close()
        async with receive:
            yield receive
        if trailers is not None and not self.silent:
            self._sign(thunk, metadata, trailers, digests)
        if self.failure is not None:
            raise RunFailed(self.failure)

    def _sign(
        self,
        thunk: Any,
        metadata: Mapping[str, str],
        trailers: dict[str, str],
        digests: CallDigests,
    ) -> None:
        given = [
            (name, hashlib.sha256(data).hexdigest())
            for name, data in self.given.get(metadata["bassloop-run"], {}).items()
        ]
        statement = RunStatement(
            run=metadata["bassloop-run"],
            login=self.login,
            repository=metadata["bassloop-repository"],
            commit=metadata["bassloop-head"],
            thunk=thunk_sha256(thunk),
            result="PASSED" if self.failure is None else "FAILED",
            log=digests.log.hexdigest(),
            artifacts=digests.artifacts.listed(),
            given=digest_of_given(given) if given else None,
            started_at=time.time() - 1,
            ended_at=time.time(),
            runner=RunnerDescription("1", "host", uses_images=False, contained=True),
        )
        payload = replace(statement, **self.changes).encode()
        blob = self.by.sign(to_be_signed(signed_bytes(payload)), self.by.algorithm)
        signature = SSHSignature(self.by.public_data, blob).encode()
        self.sent = dict(
            encode_metadata(
                {"bassloop-statement-bin": payload, "bassloop-signature-bin": signature}
            )
        )
        trailers.update(self.replayed or self.sent)


@asynccontextmanager
async def signing_runner(loop: SmallLoop, **options: Any) -> AsyncGenerator[SigningRuntime]:
    async with loop.runner() as plain:
        values = {name: getattr(plain, name) for name in ("user_id", "login", "platform")}
    runtime = SigningRuntime(
        id="signs",
        priority=9,
        connected_at=0.0,
        open_channel=plain.open_channel,
        kind="bassloop",
        key=KEY.public_data,
        **values,
        **options,
    )
    async with loop.core.pool.registered(runtime):
        yield runtime


def list_keys(loop: SmallLoop, *keys: asyncssh.SSHKey) -> None:
    """Let GitHub list these keys for the sender, and no others."""
    lines = [key.export_public_key().decode().strip() for key in keys]
    loop.standin.add_user(loop.standin.login, lines, permission="admin")


async def checked(loop: SmallLoop, guid: str = "g") -> dict[str, Any]:
    await loop.deliver(await loop.standin.payload("check_suite"), guid)
    await loop.inbox.finished(guid)
    return loop.check_run()


async def test_a_valid_statement_is_stored(make_repository: MakeRepository, tmp_path: Path) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop):
            check = await checked(loop)
        assert check["conclusion"] == "success"
        record = await loop.store.statements.get(check["external_id"])
        assert record is not None
        assert (record.login, record.listed, record.problem) == (loop.standin.login, True, None)
        assert record.listed_since == datetime(2020, 1, 1, tzinfo=UTC).timestamp()


async def test_a_run_that_is_not_signed_ends_normally(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        async with loop.runner():
            check = await checked(loop)
        assert check["conclusion"] == "success"
        assert await loop.store.statements.get(check["external_id"]) is None

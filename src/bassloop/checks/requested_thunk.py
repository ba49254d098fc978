"""A thunk as a hook has sent it: its bytes, and what they say."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop import bass
from bassloop.checks.check_request import CheckRequest
from bassloop.evaluator.errors import HookFailed, HookStopped, HostRefusal
from bassloop.runtimes import Platform
from bassloop.store import ThunkRecord
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext
    from bassloop.store import Run


@dataclass(frozen=True, slots=True)
class RequestedThunk:
    """A thunk that a hook has sent: its bytes, and what they say."""

    encoded: bytes
    message: bass_pb2.Thunk
    command: str
    platform: Platform | None
    json: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, in hexadecimal digits."""
        return hashlib.sha256(self.encoded).hexdigest()

    def record(self) -> ThunkRecord:
        """Return the thunk as the store keeps it. Its names are taken over its bytes, and nothing else."""
        return ThunkRecord(
            digest=bass.digest_of_encoded(self.encoded),
            sha256=self.sha256,
            json=self.json,
            proto=self.encoded,
            cmdline=self.command,
            created_at=time.time(),
        )


async def read_thunk(context: DeliveryContext, encoded: bytes) -> RequestedThunk:
    """Return a thunk that a hook has sent. Raises HostRefusal if it can't be run."""
    try:
        described = await context.loop.evaluators.describe(encoded, context.repository.id)
    except HookFailed as error:
        raise HostRefusal(str(error)) from error
    except HookStopped as error:
        raise HostRefusal(
            f"the thunk is too large: {error}; {error.setting} is the limit"
        ) from error
    platform = None if described.platform is None else Platform(*described.platform)
    message = bass_pb2.Thunk.FromString(encoded)
    return RequestedThunk(encoded, message, described.command, platform, described.content.decode())


async def request_again(context: DeliveryContext, run: Run) -> CheckRequest:
    """Return the request of a run's check, with the very thunk that it had. Raises HostRefusal."""
    record = await context.loop.store.thunks.get(run.thunk_digest)
    assert record is not None, "a foreign key ties a run to its thunk"
    requested = await read_thunk(context, record.proto)
    return CheckRequest(
        name=run.check_name,
        sha=run.head_sha,
        thunk=requested.message,
        record=record,
        platform=requested.platform,
    )


async def newest_run(context: DeliveryContext, name: str, sha: str) -> Run | None:
    """Return the newest run of a check of a head, or None."""
    newest = await context.loop.store.runs.newest(
        1,
        public_only=False,
        repository=context.repository.full_name,
        head_sha=sha,
        check_name=name,
    )
    return next(iter(newest.items), None)


async def earlier_request(context: DeliveryContext, name: str, sha: str) -> CheckRequest | None:
    """Return the request of the newest run of a check of a head, or None. Raises HostRefusal."""
    run = await newest_run(context, name, sha)
    return None if run is None or not run.thunk_digest else await request_again(context, run)

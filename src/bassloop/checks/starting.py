"""Starting checks: parse their thunks, store them, and run them in their delivery's nursery."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bassloop import bass
from bassloop.access.policy import fold_name
from bassloop.checks import check_output
from bassloop.checks.check import CheckTask
from bassloop.checks.check_request import CheckRefused, CheckRequest
from bassloop.checks.given_artifacts import missing_artifacts
from bassloop.checks.loop_state import CheckHandle
from bassloop.checks.notices import post_notice
from bassloop.evaluator import HookFailed, HookStopped, HostRefusal
from bassloop.lifecycle import RunState
from bassloop.runtimes import Platform
from bassloop.store import ThunkRecord
from bassloop.wire import bass_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.access.policy import RunnersOfCheck
    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.store import Run


MAX_NAME = 255
"""GitHub's limit on the length of a check's name, in characters."""


@dataclass(frozen=True, slots=True)
class RequestedThunk:
    """A thunk that a hook has sent: its bytes, and their description."""

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
        """Return the thunk for the store. Its digests are those of its bytes."""
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
    """Return a request for a run's check with exactly the same thunk. Raises HostRefusal."""
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
    """Return the newest run of a head's check, or None."""
    newest = await context.loop.store.runs.newest(
        1,
        public_only=False,
        repository=context.repository.full_name,
        head_sha=sha,
        check_name=name,
    )
    return next(iter(newest.items), None)


async def earlier_request(context: DeliveryContext, name: str, sha: str) -> CheckRequest | None:
    """Return a request like that of the newest run of a head's check, or None. Raises HostRefusal."""
    run = await newest_run(context, name, sha)
    return None if run is None or not run.thunk_digest else await request_again(context, run)


async def start_check(context: DeliveryContext, request: CheckRequest) -> CheckHandle:
    """Store a check, and start running it in the delivery's nursery.

    Idempotent by head, name and generation: if the same hook starts it again, for another event of the head or after
    a crash, it is the same check, and runs once. Raises CheckRefused for a name or head that GitHub wouldn't accept.
    """
    _validate(context, request)
    if context.policy.trust.runners:
        await _validate_spelling(context, request)
    return await _start(context, request, context.policy.trust.runners_of(request.name))


async def _start(
    context: DeliveryContext,
    request: CheckRequest,
    runners: RunnersOfCheck,
    earlier: Run | None = None,
    *,
    rerun: bool | None = None,
) -> CheckHandle:
    """Start a check, or return the existing one.

    Args:
        earlier: the run that it should confirm.
        rerun: whether to run it again; by default, as for all of the delivery's checks.
    """
    key = request.name, request.sha
    if key in context.started:
        return context.started[key]
    if key in context.starting:
        raise CheckRefused(f"check {request.name} uses artifacts of its own")
    context.requests[key] = request
    context.starting.add(key)
    try:
        sources = await _sources(context, request, trusted=runners == "trusted")
    finally:
        context.starting.discard(key)
    needs = (*_needed(context, request), *sources.values())
    loop = context.loop
    check_run, created = await loop.store.checks.get_or_create(
        repository_id=context.repository.id,
        repository=context.repository.full_name,
        installation_id=context.event.installation_id or 0,
        head_sha=request.sha,
        name=request.name,
        delivery=context.delivery,
        rerun=context.rerun if rerun is None else rerun,
        run=context.new_run(request.name, request.sha, request.record),
        thunk=request.record,
    )
    run = await loop.store.runs.get(check_run.run_id)
    assert run is not None
    if created and context.rerun:
        action = "rerun" if earlier is None else "asked to verify"
        about = run.check_name if earlier is None else f"{run.check_name}, of {earlier.id}"
        await loop.store.journals.append(run, context.sender.login, action, about)
    if (active := loop.active_checks.get(run.id)) is not None:
        return context.started.setdefault(key, active)
    handle = context.started.setdefault(key, CheckHandle(run))
    is_own = run.node == loop.store.nodes.own_id
    if run.ended or (is_own and run.state != RunState.QUEUED):
        handle.finished.set()
    else:
        loop.active_checks[run.id] = handle
        try:
            both = runners == "both"
            verification = await start_verification(context, request) if both else None
        except BaseException:  # whoever waits for it goes on, and the delivery may start it again
            del loop.active_checks[run.id], context.started[key]
            handle.finished.set()
            raise
        check = CheckTask(
            context=context,
            check_run=check_run,
            request=request,
            needs=needs,
            handle=handle,
            start_verification=partial(start_verification, context, request),
            trusted=runners == "trusted",
            verification=verification,
            earlier=earlier,
            sources=sources,
        )
        context.nursery.start_soon(partial(check.run, created=created))
    return handle


async def start_verification(context: DeliveryContext, request: CheckRequest) -> CheckHandle:
    """Start a check of its own in which a trusted runner runs another check's thunk."""
    name = check_output.verification_name(request.name)
    return await _start(context, replace(request, name=name), "trusted")


async def _sources(
    context: DeliveryContext, request: CheckRequest, *, trusted: bool
) -> dict[str, CheckHandle]:
    """Return the checks whose artifacts a check uses, by name. Raises CheckRefused.

    Trusted runs use only artifacts that trusted runners made, so these run the other checks as well. If only this
    check should run again, checks whose artifacts are kept aren't repeated.
    """
    sources = {}
    for name in request.uses:
        if check_output.is_verification(name):
            raise CheckRefused(
                f"check {request.name} can't use the artifacts of {name}: such names are the loop's own"
            )
        key = name, request.sha
        is_started = key in context.requests
        made = context.requests.get(key) or await earlier_request(context, *key)
        if made is None:
            raise CheckRefused(
                f"check {request.name} uses the artifacts of {name}, which this event has not started before it"
            )
        runners = context.policy.trust.runners_of(name)
        if trusted and runners != "trusted":
            made, runners = replace(made, name=check_output.verification_name(name)), "trusted"
        rerun = context.rerun and (is_started or not await _has_artifacts(context, made, runners))
        sources[name] = await _start(context, made, runners, rerun=rerun)
    return sources


async def _has_artifacts(
    context: DeliveryContext, request: CheckRequest, runners: RunnersOfCheck
) -> bool:
    """Return whether the newest run of a check had the same thunk, and its artifacts are still kept."""
    run = await newest_run(context, request.name, request.sha)
    if run is None or run.state != RunState.SUCCEEDED:
        return False
    if run.thunk_digest != request.record.digest:
        return False
    if runners == "trusted" and not context.trusts(run.runner_login):
        return False
    return await missing_artifacts(context.loop.store, run) is None


def _needed(context: DeliveryContext, request: CheckRequest) -> Iterator[CheckHandle]:
    for name in request.after:
        handle = context.started.get((name, request.sha))
        if handle is None:
            raise CheckRefused(
                f"check {request.name} needs {name}, which this event has not started before it"
            )
        yield handle


async def _validate_spelling(context: DeliveryContext, request: CheckRequest) -> None:
    """Raise CheckRefused if the head has a check whose name differs only in spelling.

    GitHub may treat the names as equal, but a trusted runner's result counts for one of them only.
    """
    stored = await context.loop.store.checks.names(context.repository.id, request.sha)
    names = {*stored, *(name for name, sha in context.requests if sha == request.sha)}
    folded = fold_name(request.name)
    for name in sorted(names - {request.name}):
        if fold_name(name) == folded:
            raise CheckRefused(
                f"check {request.name}: the name is spelled {name!r} already on {request.sha[:12]}, and GitHub "
                "may take one for the other"
            )


def _validate(context: DeliveryContext, request: CheckRequest) -> None:
    """Raise CheckRefused for a name or a head that GitHub wouldn't accept, or that the hook may not use."""
    name, sha = request.name, request.sha
    # A name with spaces around it looks like another one, but no policy applies to it.
    if not name or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise CheckRefused(f"a check's name is 1 to 255 printable characters, not {name[:40]!r}")
    if len(sha) != 40 or not all(char in "0123456789abcdef" for char in sha):
        raise CheckRefused(
            f"check {name}: a head is the 40 hexadecimal digits of a commit, not {sha[:60]!r}"
        )
    if name in (check_output.APPROVAL, check_output.SUPERSEDED):
        raise CheckRefused(f"a check can't be named {name}: that name is the loop's own")
    if check_output.is_verification(name):
        raise CheckRefused(
            f"a check's name can't end in {check_output.VERIFICATION}: such names are the loop's own"
        )
    trust = context.policy.trust
    may_be_verified = trust.runners_of(name) != "sender" or trust.spot_check > 0
    if may_be_verified and len(check_output.verification_name(name)) > MAX_NAME:
        raise CheckRefused(
            f"check {name[:40]}…: a name that a trusted runner may have to verify leaves room for "
            f"{check_output.VERIFICATION!r} in {MAX_NAME} characters"
        )
    if sha != context.head.sha and may_be_verified:
        raise CheckRefused(
            f"check {name}: what a trusted runner may have to run is of the event's own head, "
            f"{context.head.sha[:12]}, and not of {sha[:12]}: whoever reviews that can't see this hook"
        )
    if context.choice.fork and sha != context.head.sha:
        raise CheckRefused(
            f"check {name}: a fork's event can start checks of its own head only, "
            f"{context.head.sha[:12]}, not of {sha[:12]}"
        )
    limit = context.loop.checks_per_delivery
    if len(context.started) >= limit:
        raise CheckRefused(f"check {name}: one event can start {limit} checks, and has done so")


async def verify_run(context: DeliveryContext, earlier: Run) -> None:
    """Have a trusted runner run an earlier run's check again, with the same thunk, and wait for its end."""
    try:
        request = await request_again(context, earlier)
        handle = await _start(context, request, "trusted", earlier)
    except (CheckRefused, HostRefusal) as error:
        await post_notice(context, earlier.check_name, str(error))
        return
    context.slot.unblock_head()
    await handle.finished.wait()
    context.note_retryable(handle.retryable_error)

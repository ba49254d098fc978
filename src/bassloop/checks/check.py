"""A check: stored, shown on GitHub, run on somebody's runner, concluded.

It is stored before the first call to GitHub, so that it can be resumed after a crash at any instruction. A check that
hadn't started is started by the next attempt at its delivery. One that had is never silently started again;
:mod:`bassloop.checks.recovery` concludes it. A check starts when its runner has answered and is asked to run it. If
the runner is lost before that, another one is used, or waited for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks import check_output
from bassloop.checks.call_metadata import call_metadata
from bassloop.checks.conclude import (
    Ending,
    awaited_runner,
    conclude,
    end_run,
    ending_without_runner,
)
from bassloop.checks.file_collectors import ArtifactCollector
from bassloop.checks.given_artifacts import GivenFile, NotGiven, gather, give
from bassloop.checks.handover import HandledElsewhere, hand_over, handover_request
from bassloop.checks.recorder import Recorder, recording
from bassloop.checks.supersede import must_finish, why_superseded
from bassloop.checks.trusted_runs import (
    CallObservation,
    confirmed_by,
    is_spot_checked,
    keep_statement,
    trusted_ending,
    trusted_failures,
)
from bassloop.concurrency import open_flat_nursery, retry, shielded
from bassloop.deliveries.scheduling import MAX_POSTPONED
from bassloop.github import CheckOutput, CheckRunDraft, GitHubError, Purpose, retry_after, spending
from bassloop.lifecycle import RunState
from bassloop.runtimes import NoRuntime, RunFailed, RunnerWait, Runtime, RuntimeLost
from bassloop.store import ClaimLost, StoreFull
from bassloop.telemetry.spans import span
from bassloop.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bassloop.checks.check_request import CheckRequest
    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.checks.loop_state import CheckHandle
    from bassloop.store import CheckRun, Run

log = structlog.get_logger(__name__)

CLEANUP_SECONDS = 15.0


@dataclass(eq=False)
class CheckTask:
    """The task that runs a check of a delivery, from its stored intention to its conclusion on GitHub.

    Args:
        check_run: what GitHub shows, as last stored.
        request: what the hook asked for.
        needs: the checks that must have succeeded before it runs.
        handle: what its delivery, and others of the same head, wait for.
        start_verification: starts a check that verifies it on a trusted runner.
        trusted: whether only a trusted runner may run it.
        verification: the check that verifies it on a trusted runner.
        earlier: the run that it should confirm, if somebody has asked for that.
        sources: the checks whose artifacts it uses, by name.
        is_handed_over: whether another node handles its delivery, and waits for the end of its run.
        given: the files of these artifacts, once their checks have ended.
    """

    context: DeliveryContext
    check_run: CheckRun
    request: CheckRequest
    needs: tuple[CheckHandle, ...]
    handle: CheckHandle
    start_verification: Callable[[], Awaitable[CheckHandle]]
    trusted: bool = False
    verification: CheckHandle | None = None
    earlier: Run | None = None
    sources: Mapping[str, CheckHandle] = field(default_factory=dict)
    is_handed_over: bool = False
    given: Sequence[GivenFile] = ()

    async def run(self, *, created: bool) -> None:
        """Run the check until it's concluded, here or on another node, and set its handle's `finished`.

        If it's cancelled or an error is raised, the run is interrupted if it has started. Otherwise, its delivery
        resumes it after the restart.

        Args:
            created: whether the check is new. Otherwise, it may have been shown on GitHub before a crash.
        """
        loop, run = self.context.loop, self.handle.run
        with (
            structlog.contextvars.bound_contextvars(run=run.id, check=self.check_run.name),
            span("check", check=self.check_run.name, run=run.id) as check_span,
        ):
            try:
                if run.node != loop.store.nodes.own_id:
                    self.context.slot.unblock_head()
                    self.handle.run = await loop.other_runs.wait_for(run.id)
                if not self.handle.run.ended:
                    await self._run_and_conclude(created)
            except BaseException:
                with shielded(CLEANUP_SECONDS):
                    await self._interrupt()
                raise
            finally:
                check_span.set_attribute("outcome", self.handle.run.state)
                del loop.active_checks[run.id]
                self.handle.finished.set()

    async def _run_and_conclude(self, created: bool) -> None:
        """Run the check unless it's cancelled, and conclude it. Errors end this check, and no other."""
        loop, run = self.context.loop, self.handle.run
        try:
            if not created:
                await self._find_on_github()
            ending: Ending | None = None
            async with open_flat_nursery() as updates:
                with loop.cancellable(run.id) as cancellation:
                    await self._cancel_if_superseded()
                    try:
                        ending = await self._wait_for_inputs()
                        if ending is None:
                            ending = await self._run_on_any_runtime(updates)
                        ending = await self._confirm(ending)
                    finally:
                        loop.note_ended(run.id)
                if ending is None or cancellation.cancelled:
                    ending = Ending(RunState.CANCELLED, cancellation.why)
                await self._conclude(ending)
        except (HandledElsewhere, ClaimLost):
            self.handle.run = await loop.store.runs.get(run.id) or run
        except GitHubError as error:
            # GitHub has no check run to report on: the delivery is tried again, or set aside.
            log.error("check run not created", error=str(error))
            self.context.note_retryable(error)
            self.handle.retryable_error = error
        except Exception as error:
            log.error("check crashed", error=str(error), exc_info=not isinstance(error, StoreFull))
            try:
                message = f"the loop could not run this check: {str(error) or type(error).__name__}"
                await self._conclude(Ending(RunState.FAILED, message))
            except Exception:  # must not affect other checks; the next start ends and concludes it
                log.exception("check not ended")

    async def _wait_for_inputs(self) -> Ending | None:
        """Wait for the checks that this one needs, and collect their artifacts.

        Return how it ends if it can't run because of them, otherwise None.
        """
        if self.needs:
            await self._show(None)
            self.context.slot.unblock_head()
        for need in self.needs:
            await need.finished.wait()
            self.context.note_retryable(need.retryable_error)
            if need.run.state != RunState.SUCCEEDED:
                name, state = need.run.check_name, need.run.state.replace("_", " ")
                return Ending(RunState.CANCELLED, f"not run: it needs {name}, which {state}")
        try:
            logins = [user.login for user in self.context.trusted] if self.trusted else None
            self.given = await gather(self.context.loop.store, self.sources, logins)
        except NotGiven as error:
            await self._show(None)
            return Ending(RunState.ACTION_REQUIRED, str(error))
        return None

    async def _run_on_any_runtime(self, updates: trio.Nursery) -> Ending:
        """Run the thunk on the first runtime on which it begins, and return how the run ended.

        Args:
            updates: a nursery for tasks that update the check on GitHub; it outlives the run.
        """
        context, run, loop = self.context, self.handle.run, self.context.loop
        runtime = context.connected_runtime(self.request.platform, trusted=self.trusted)
        await self._show(runtime)
        shown = None if self.needs or self.is_handed_over else runtime
        wait = RunnerWait(context.policy.runner_wait)
        while True:
            if runtime is None:
                try:
                    runtime = await self._wait_for_runtime(wait)
                except NoRuntime as error:
                    return ending_without_runner(
                        context, run, error, wait.reason, trusted=self.trusted
                    )
            with spending(Purpose.CONCLUDE):
                if runtime is not shown:
                    # In the background: the check runs even while GitHub's rate limit leaves no room for this update,
                    # which the one at the end replaces.
                    shown = runtime
                    output = check_output.started(run, loop.run_url(run.id), runtime)
                    updates.start_soon(self._update, output)
                asked_at = trio.current_time()
                try:
                    return await self._run_and_record(runtime)
                except RuntimeLost as error:
                    log.warning("runner lost before the check began", error=str(error))
                    wait.note_lost(runtime, trio.current_time() - asked_at, str(error), loop.pool)
                runtime = context.connected_runtime(
                    self.request.platform, trusted=self.trusted, wait=wait
                )
                if runtime is None and wait.left > 0:
                    shown = None
                    output = self._queued(wait.reason)
                    updates.start_soon(partial(self._update, output, status="queued"))

    async def _wait_for_runtime(self, wait: RunnerWait) -> Runtime:
        """Wait for a runtime, and hand the run over to another node if that has one.

        Raises NoRuntime, and HandledElsewhere if another node has ended the run, or has taken it back.
        """
        loop, run_id = self.context.loop, self.handle.run.id
        if self.is_handed_over and await loop.store.runs.hand_back(run_id):
            raise HandledElsewhere
        while True:
            found = await self.context.runtime_or_node(
                self.request.platform, trusted=self.trusted, wait=wait
            )
            if not isinstance(found, str):
                return found
            request = handover_request(
                self.context,
                limit=self.request.limit,
                trusted=self.trusted,
                sources=self.sources,
                verification=self.verification,
                earlier=self.earlier,
            )
            await hand_over(loop, run_id, found, request)

    async def _run_and_record(self, runtime: Runtime) -> Ending:
        """Run the thunk on a runtime, within the quotas, and record what the runner sends.

        Raises RuntimeLost if the runtime is lost before the run has begun.
        """
        loop, run = self.context.loop, self.handle.run
        loop.note_running(run.id)
        try:
            async with (
                loop.quotas.under_way(run, partial(self._show_wait, runtime)),
                recording(
                    loop.store,
                    loop.live_runs,
                    run.id,
                    loop.quotas.of_run(run),
                    ArtifactCollector(loop.store, run, loop.artifact_quotas, loop.quotas),
                ) as recorder,
            ):
                ending = await self._run_within_limit(runtime, recorder)
        except RuntimeLost:
            loop.note_ended(run.id)
            if await loop.store.runs.requeue(run.id):
                loop.live_runs.publish(run.id)
            raise
        if notes := recorder.notes():
            message = "\n".join([ending.message or "", *(f"({note})" for note in notes)]).strip()
            ending = replace(ending, message=message)
        return ending

    async def _confirm(self, ending: Ending) -> Ending:
        """Have a trusted runner confirm how the run ended, if that is required. Return how the check ends."""
        context, loop = self.context, self.context.loop
        run = await loop.store.runs.get(self.handle.run.id)
        assert run is not None
        passed = ending.state == RunState.SUCCEEDED
        failures = await trusted_failures(context, run) if passed else []
        for each in failures:
            if each.thunk_digest == run.thunk_digest:
                url = loop.run_url(each.id)
                message = f"a trusted runner answers differently: the same thunk of this commit failed in {url}"
                return Ending(RunState.FAILED, message)
        if self.trusted:
            return await trusted_ending(context, ending, run, self.earlier)
        share = context.policy.trust.spot_check
        # A hook could generate a different thunk for the same commit each time.
        if (
            self.verification is None
            and passed
            and (failures or await is_spot_checked(loop, run, share))
        ):
            self.verification = await self.start_verification()
        if self.verification is None:
            return ending
        return await confirmed_by(
            context, ending, run, self.verification, self.request.record.sha256
        )

    async def _show_wait(self, runtime: Runtime, why: str) -> None:
        """Say on the check that it waits for other runs to end."""
        run, loop = self.handle.run, self.context.loop
        self.context.slot.unblock_head()
        output = check_output.started(run, loop.run_url(run.id), runtime)
        waits = f"It waits for others to end: {why}.\n\n{output.summary}"
        await self._update(replace(output, summary=waits))

    async def _show(self, runtime: Runtime | None) -> None:
        """Create the check on GitHub if it isn't there, however long GitHub is down or limits the rate.

        Raises GitHubError for a permanent error.

        Args:
            runtime: the runtime that the check runs on; None while it waits for one.
        """

        def before_retry(error: Exception, seconds: float) -> None:
            log.warning("check run not created yet", error=str(error), seconds=round(seconds))
            self.context.slot.free()

        may_exist = False

        async def attempt() -> None:
            nonlocal may_exist
            if may_exist:
                await self._find_on_github()
            if self.check_run.github_id is None:
                try:
                    await self._create_on_github(runtime)
                except GitHubError as error:
                    may_exist = error.uncertain
                    raise

        if self.check_run.github_id is None:
            await retry(
                attempt,
                self.context.loop.backoff,
                retry_after=retry_after,
                attempts=MAX_POSTPONED + 1,
                on_retry=before_retry,
            )

    async def _conclude(self, ending: Ending) -> None:
        """Store the run's end, and conclude the check run on GitHub."""
        loop = self.context.loop
        self.handle.run = await end_run(loop, self.handle.run.id, ending.state, ending.message)
        await conclude(loop, self.handle.run, ending.output)

    async def _interrupt(self) -> None:
        """End the run if it has started. Otherwise, its delivery resumes it after the restart."""
        store = self.context.loop.store
        run = await store.runs.get(self.handle.run.id)
        is_own = run is not None and run.node == store.nodes.own_id
        if run is not None and is_own and run.state == RunState.RUNNING:
            message = "the loop was shut down while this check ran; run it again"
            await self._conclude(Ending(RunState.INTERRUPTED, message))

    async def _cancel_if_superseded(self) -> None:
        """Cancel the run, which hasn't started, if a newer head has replaced its own."""
        context, loop = self.context, self.context.loop
        if context.rerun or not context.policy.supersede:
            return
        if await must_finish(loop, self.handle.run):
            return
        if (why := await why_superseded(loop, context.event, context.received_at)) is not None:
            loop.cancel(self.handle.run.id, why)

    async def _find_on_github(self) -> None:
        """Look for the check run, which an attempt before a crash may have created."""
        check_run, repo = self.check_run, self.context.repo
        if check_run.github_id is None and (
            found := await repo.find_check_run(check_run.head_sha, check_run.name, check_run.run_id)
        ):
            await self._bind(found.id)

    async def _create_on_github(self, runtime: Runtime | None) -> None:
        context, run, check_run = self.context, self.handle.run, self.check_run
        url = context.loop.run_url(run.id)
        if self.needs and not all(need.finished.is_set() for need in self.needs):
            names = [need.run.check_name for need in self.needs]
            output = check_output.waiting_for_checks(run, url, names)
        elif runtime is None:
            output = self._queued()
        else:
            output = check_output.started(run, url, runtime)
        created = await context.repo.create_check_run(
            CheckRunDraft(
                name=check_run.name,
                head_sha=check_run.head_sha,
                external_id=run.id,
                details_url=url,
                status="queued" if runtime is None else "in_progress",
                output=output,
                started_at=time.time(),
            )
        )
        await self._bind(created.id)
        log.info("check run created", github_id=created.id)

    async def _bind(self, github_id: int) -> None:
        await self.context.loop.store.checks.bind(self.check_run.row, github_id)
        self.check_run = replace(self.check_run, github_id=github_id)

    def _queued(self, lost: str | None = None) -> CheckOutput:
        """Return the output while it waits for a runner; `lost` says why the last one was lost, if any was."""
        run, awaited = self.handle.run, awaited_runner(self.context, trusted=self.trusted)
        return check_output.queued(run, self.context.loop.run_url(run.id), awaited, lost)

    async def _update(self, output: CheckOutput, status: str = "in_progress") -> None:
        """Update the check run. The check runs even if that fails."""
        assert self.check_run.github_id is not None
        try:
            update = self.context.repo.update_check_run
            await update(self.check_run.github_id, output, status=status)
        except GitHubError as error:
            log.warning("check run not updated", error=str(error))

    async def _run_within_limit(self, runtime: Runtime, recorder: Recorder) -> Ending:
        """Run the thunk on a runtime, within its time limit. Raises RuntimeLost if the run hasn't begun."""
        limit = self.context.policy.limit(self.check_run.name)
        setting = "the policy's check_limit or [checks], or the loop's CHECK_LIMIT"
        if self.request.limit is not None and self.request.limit < limit:
            limit, setting = self.request.limit, "the check's own timeout"
        ending, seen = None, CallObservation()
        with trio.move_on_after(limit):
            try:
                await self._call(runtime, recorder, seen, limit)
                ending = Ending(RunState.SUCCEEDED, None)
            except RunFailed as error:
                ending = Ending(RunState.FAILED, str(error))
            except RuntimeLost as error:
                if not seen.has_begun:
                    raise
                # Its command may have run, so it isn't repeated unless somebody asks for it.
                return Ending(RunState.INTERRUPTED, f"{error}; run the check again")
        if ending is None:
            late = f"stopped after {format_duration(limit)}, its time limit ({setting})"
            return Ending(RunState.TIMED_OUT, late)
        return await self._apply_statement(runtime, seen, ending)

    async def _apply_statement(
        self, runtime: Runtime, seen: CallObservation, ending: Ending
    ) -> Ending:
        """Store the runner's signed statement. Return how the run ends: without one that it needs, it fails."""
        passed = ending.state == RunState.SUCCEEDED
        loop, run, thunk = self.context.loop, self.handle.run, self.request.record.sha256
        signed = await keep_statement(loop, run, thunk, runtime, seen, passed=passed)
        needs_signature = self.trusted or self.context.policy.trust.require_signature
        if passed and signed is not None and signed.problem is not None:
            message = f"{runtime} has signed a statement that is refused: {signed.problem}"
            return Ending(RunState.FAILED, message)
        if passed and signed is None and needs_signature:
            who = "a trusted runner's word" if self.trusted else "the policy of this repository"
            message = f"{runtime} has not signed what it ran, and {who} needs a signature"
            return Ending(RunState.FAILED, message)
        return ending

    async def _call(
        self, runtime: Runtime, recorder: Recorder, seen: CallObservation, limit: float
    ) -> None:
        """Make the call to the runner. Raises RunFailed and RuntimeLost."""
        context, loop, run_id = self.context, self.context.loop, self.handle.run.id

        async def begin() -> None:
            """Note that the run begins. From now on, the runner may have run its command."""
            await loop.store.runs.start(
                run_id,
                runtime_id=runtime.id,
                runner_login=runtime.login,
                platform=str(runtime.platform),
                at=time.time(),
                runner_kind=runtime.kind,
            )
            how = "a trusted runner's run" if self.trusted else "run"
            name, sha, login = self.check_run.name, self.check_run.head_sha, self.handle.run.login
            about = f"{how} of {name} at {sha}, for {login}"
            await loop.store.journals.append(self.handle.run, runtime.login, "started", about)
            seen.has_begun = True
            loop.live_runs.publish(run_id)
            log.info("run started")

        with structlog.contextvars.bound_contextvars(runtime=runtime.id, runner=runtime.login):
            log.info("runner asked")
            calling = call_metadata(
                context,
                runtime,
                run_id,
                trusted=self.trusted,
                thunk=self.request.record.sha256,
                limit=limit,
            )
            async with calling as metadata:
                metadata |= await give(loop.store, runtime, metadata, self.given)
                seen.given = tuple((file.name, file.artifact.sha256) for file in self.given)
                call = runtime.run(self.request.thunk, metadata, seen.trailers, begin)
                async with call as updates:
                    async for update in updates:
                        seen.received.note(update)
                        await recorder.record(update)

"""The hook: found in the repository, evaluated in a process of its own, and reported on a check run if it fails.

There are three kinds. `project.bass` is a module whose `github-hook` is called with the event and a client;
`bass/github-hook` is a script whose `main` reads the event from `*stdin*`, with the client bound to `*loop*`.
Both start checks through the client's `start-check`. Checks that `.bassloop.toml` declares are written as
such a module (:mod:`bassloop.project`), and evaluated like one. A repository may have declared checks beside
one of the others; then both are evaluated, the declared ones first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.checks.hook_host import LoopHost
from bassloop.checks.notices import post_notice
from bassloop.concurrency import run_all, shielded
from bassloop.evaluator.errors import EvaluatorLost, HookCrashed, HookFailed, HookStopped
from bassloop.evaluator.messages import Evaluate
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState
from bassloop.project import CHECKS_FILE, ChecksFileError, read_checks, write_bass
from bassloop.store import StoreError
from bassloop.telemetry.spans import span

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext

log = structlog.get_logger(__name__)

PROJECT = "project.bass"
SCRIPT = "bass/github-hook"
HOOK_FILES = (CHECKS_FILE, PROJECT)
"""The files that are read for every hook. The script is only looked for where there is no module."""
MAX_SOURCE = 1 << 20
NOTE_SECONDS = 5.0

OUTCOMES = ("done", "failed", "stopped", "crashed")
"""The ways in which a hook can end, from best to worst."""


@dataclass(frozen=True, slots=True)
class HookSource:
    """A hook's source. Its name is its path in the repository, and its check run's name."""

    name: str
    source: str


async def run_hook(context: DeliveryContext, edit: str) -> None:
    """Run the hook of the event's head, and wait for what it waits for.

    Args:
        edit: what is changed in the payload, a name in :data:`bassloop.evaluator.fork_server.EDITS`, or "".

    What is wrong with the hook is reported on a check run of its name. Raises GitHubError if the repository
    can't be read, StoreError, and EvaluatorLost.
    """
    began, outcome = trio.current_time(), "broken off"
    try:
        repository, head = context.repository.full_name, context.head.sha
        with span("hook", repository=repository, head=head) as its:
            outcome = await _run_hook(context, edit)
            its.set_attribute("outcome", outcome)
    finally:
        context.loop.hook_tally.add(outcome, trio.current_time() - began)


async def _run_hook(context: DeliveryContext, edit: str) -> str:
    """Find, evaluate, report. Returns the outcome in a word; of several hooks, the worst one's."""
    try:
        hooks = await find_hooks(context)
    except ChecksFileError as error:
        host = LoopHost(context, CHECKS_FILE)
        await _report_failure(context, HookSource(CHECKS_FILE, ""), host, str(error))
        return "failed"
    if not hooks:
        await _report_missing(context)
        return "missing"
    outcomes = [await _evaluate_and_report(context, hook, edit) for hook in hooks]
    return max(outcomes, key=OUTCOMES.index)


async def _evaluate_and_report(context: DeliveryContext, hook: HookSource, edit: str) -> str:
    """Evaluate a hook, and report what is wrong with it. Returns the outcome in a word."""
    host = LoopHost(context, hook.name)
    try:
        await _evaluate(context, hook, host, edit)
    except HookFailed as error:
        if context.retryable_error is not None:
            raise context.retryable_error from error
        log.info("hook failed", hook=hook.name, error=str(error))
        await _report_failure(context, hook, host, error.report)
        return "failed"
    except HookStopped as error:
        log.warning("hook stopped", hook=hook.name, why=str(error), setting=error.setting)
        message = (
            f"{hook.name} was stopped: {error}. The loop's setting {error.setting} is the limit."
        )
        await _report_failure(context, hook, host, message)
        return "stopped"
    except (GitHubError, StoreError, EvaluatorLost):
        raise
    except Exception as error:
        log.exception("hook crashed", hook=hook.name)
        why = error if isinstance(error, HookCrashed) else f"{type(error).__name__}: {error}"
        message = f"the loop itself failed while it evaluated {hook.name}: {why}"
        await _report_failure(context, hook, host, message)
        return "crashed"
    if context.rerun_of == hook.name:
        message = "It was evaluated without an error."
        await post_notice(context, hook.name, message, state=RunState.SUCCEEDED)
    return "done"


async def find_hooks(context: DeliveryContext) -> list[HookSource]:
    """Return the repository's hooks at the delivery's `hook_sha`.

    Raises GitHubError, and ChecksFileError for checks that are declared wrongly.
    """
    hooks = []
    files, at = context.loop.hook_files, (context.repository.id, context.repo, context.hook_sha)
    found = await files.read_all(*at, HOOK_FILES)
    declared = found[CHECKS_FILE]
    if declared is not None:
        # In a thread: a file may be long, and a stranger's.
        source = await trio.to_thread.run_sync(_declared, declared)
        if source is not None:
            hooks.append(HookSource(CHECKS_FILE, source))
    name, content = PROJECT, found[PROJECT]
    if content is None:
        name, content = SCRIPT, await files.read(*at, SCRIPT)
    if content is not None:
        hooks.append(HookSource(name, content[:MAX_SOURCE].decode(errors="replace")))
    return hooks


def _declared(content: bytes) -> str | None:
    """Return the hook that declared checks mean; None where none are declared."""
    checks = read_checks(content)
    return write_bass(checks) if checks else None


async def _evaluate(context: DeliveryContext, hook: HookSource, host: LoopHost, edit: str) -> None:
    evaluators = context.loop.evaluators
    request = Evaluate(
        path=hook.name,
        source=hook.source,
        module=hook.name != SCRIPT,
        tree=host.tree,
        event=context.event.name,
        edit=edit,
        output=evaluators.limits.output,
    )
    deliveries = context.loop.store.deliveries
    try:
        await run_all(
            [
                partial(deliveries.begin_evaluation, context.delivery),
                partial(evaluators.evaluate, request, host, context.repository.id),
            ]
        )
    finally:
        with shielded(NOTE_SECONDS):
            await deliveries.end_evaluation(context.delivery)


async def _report_missing(context: DeliveryContext) -> None:
    message = (
        f"{context.repository.full_name} has neither checks in {CHECKS_FILE}, nor {PROJECT}, nor {SCRIPT} at "
        f"{context.hook_sha[:12]}. Run `bassloop init` in a clone, which proposes checks, and push."
    )
    await post_notice(context, PROJECT, message, state=RunState.NEUTRAL)


async def _report_failure(
    context: DeliveryContext, hook: HookSource, host: LoopHost, message: str
) -> None:
    await post_notice(context, hook.name, message, host.output(), progress=host.progress.updates)

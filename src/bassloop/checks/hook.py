"""The hook: found in the repository, evaluated within its budget, and reported on a check run if it fails.

There are two kinds. `project.bass` is a module whose `github-hook` is called with the event and a client;
`bass/github-hook` is a script whose `main` reads the event from `*stdin*`, with the client bound to `*loop*`.
Both start checks through the client's `start-check`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import trio

from bassloop import bass
from bassloop.checks.hook_host import LoopHost
from bassloop.checks.notices import post_notice
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState
from bassloop.store import StoreError
from bassloop.telemetry.spans import span

if TYPE_CHECKING:
    from bassloop.checks.context import DeliveryContext
    from bassloop.checks.loop import Limits

log = structlog.get_logger(__name__)

PROJECT = "project.bass"
SCRIPT = "bass/github-hook"
MAX_SOURCE = 1 << 20


@dataclass(frozen=True, slots=True)
class HookSource:
    """A hook's source. Its name is its path in the repository, and its check run's name."""

    name: str
    source: str


async def run_hook(context: DeliveryContext) -> None:
    """Run the hook of the event's head, and wait for what it waits for.

    What is wrong with the hook is reported on a check run of its name. Raises GitHubError if the repository
    can't be read, and StoreError.
    """
    began, outcome = trio.current_time(), "broken off"
    try:
        repository, head = context.repository.full_name, context.head.sha
        with span("hook", repository=repository, head=head) as its:
            outcome = await _run_hook(context)
            its.set_attribute("outcome", outcome)
    finally:
        context.loop.hook_tally.add(outcome, trio.current_time() - began)


async def _run_hook(context: DeliveryContext) -> str:
    """Prepare, evaluate, report. Returns the outcome in a word."""
    hook = await find_hook(context)
    if hook is None:
        await _report_missing(context)
        return "missing"
    host = LoopHost(context, hook.name)
    event = {"event": context.event.name, "payload": dict(context.event.payload)}
    try:
        await evaluate(hook, host, event, context.loop.limits)
    except bass.BassError as error:
        if context.retryable_error is not None:
            raise context.retryable_error from error
        log.info("hook failed", hook=hook.name, error=error.message)
        await _report_failure(context, hook, host, bass.render(error))
        return "failed"
    except (GitHubError, StoreError):
        raise
    except Exception as error:
        log.exception("hook crashed", hook=hook.name)
        message = f"the loop itself failed while it evaluated {hook.name}: {type(error).__name__}: {error}"
        await _report_failure(context, hook, host, message)
        return "crashed"
    if context.rerun_of == hook.name:
        message = "It was evaluated without an error."
        await post_notice(context, hook.name, message, state=RunState.SUCCEEDED)
    return "done"


async def find_hook(context: DeliveryContext) -> HookSource | None:
    """Return the repository's hook at the delivery's `hook_sha`, or None. Raises GitHubError."""
    for name in (PROJECT, SCRIPT):
        content = await context.repo.file(name, context.hook_sha)
        if content is not None:
            return HookSource(name, content[:MAX_SOURCE].decode(errors="replace"))
    return None


async def evaluate(hook: HookSource, host: LoopHost, event: dict[str, Any], limits: Limits) -> None:
    """Evaluate a hook, and wait for what it waits for. All that it does, it does through the host.

    Raises BassError for what is wrong with the hook.

    Args:
        event: the event's name and its payload, as the hook gets them.
    """
    budget = bass.Budget(
        steps=limits.hook_steps,
        live=limits.hook_live,
        seconds=limits.hook_seconds,
        output=limits.hook_output,
        setting="HOOK_{}",
    )
    async with bass.open_session(host, budget=budget) as session:
        client, argument = _client(session, host), bass.from_python(event)
        directory = host.directory(hook.name)
        if hook.name == PROJECT:
            module = await session.load(hook.source, hook.name, directory)
            github_hook = bass.binding(module, "github-hook", hook.name)
            await session.call(github_hook, argument, client)
        else:
            await session.run_script(
                hook.source,
                hook.name,
                directory=directory,
                stdin=[argument],
                bindings={"*loop*": client},
            )
        await session.wait()


def _client(session: bass.Session, host: LoopHost) -> bass.Scope:
    """Return the client that a hook gets: a scope with `start-check`."""

    async def start(thunk: bass.Value, name: bass.Value, sha: bass.Value) -> bass.Value:
        if (
            not isinstance(thunk, bass.Thunk)
            or not isinstance(name, str)
            or not isinstance(sha, str)
        ):
            given = " ".join(bass.show(value)[:100] for value in (thunk, name, sha))
            raise bass.BassError(f"start-check takes a thunk, a name and a head, not {given}")
        handle = await host.start_check(thunk, await session.thunk_proto(thunk), name, sha)

        async def wait() -> bass.Value:
            await host.wait_for_check(handle)
            return bass.from_python(None)

        return bass.builtin(f"wait-{name}", "[]", wait)

    return bass.scope({"start-check": bass.builtin("start-check", "[thunk name sha]", start)})


async def _report_missing(context: DeliveryContext) -> None:
    message = (
        f"{context.repository.full_name} has neither {PROJECT} nor {SCRIPT} at {context.hook_sha[:12]}. "
        f"Add a {PROJECT} that binds github-hook (see docs/bass.md), and push."
    )
    await post_notice(context, PROJECT, message, state=RunState.NEUTRAL)


async def _report_failure(
    context: DeliveryContext, hook: HookSource, host: LoopHost, message: str
) -> None:
    await post_notice(context, hook.name, message, host.output(), progress=host.progress.updates)

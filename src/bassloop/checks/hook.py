"""The hook: found in the repository, evaluated within its budget, told on a check when it fails.

Two forms are known. `project.bass` is a module whose `github-hook` is called with the event and a
client; `bass/github-hook` is a script whose `main` reads the event from `*stdin*`, with the client
bound to `*loop*`. Both start checks through the client's `start-check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from bassloop import bass
from bassloop.checks.check import CheckRefused, start_check
from bassloop.checks.hook_host import LoopHost
from bassloop.checks.notice import tell
from bassloop.checks.thunk_records import platform_of, thunk_record
from bassloop.github import GitHubError
from bassloop.store import StoreError
from bassloop.telemetry.spans import span

if TYPE_CHECKING:
    from bassloop.checks.context import Started, Work

log = structlog.get_logger(__name__)

PROJECT = "project.bass"
SCRIPT = "bass/github-hook"
MAX_SOURCE = 1 << 20


class HookMissing(Exception):
    """The repository has no hook at this head."""


async def run_hook(work: Work) -> None:
    """Evaluate the hook of the event's head and wait for all that it started.

    What is wrong with the script is told on a check run named for it. Raises GitHubError when the
    repository can't be read.
    """
    began, outcome = trio.current_time(), "broken off"
    try:
        with span("hook", repository=work.repository.full_name, head=work.head.sha) as its:
            outcome = await _run_hook(work)
            its.set_attribute("outcome", outcome)
    finally:
        work.loop.hooks.add(outcome, trio.current_time() - began)


async def _run_hook(work: Work) -> str:
    """What run_hook does; returns how it ended, in a word."""
    name, source = PROJECT, await _source(work, PROJECT)
    if source is None:
        name, source = SCRIPT, await _source(work, SCRIPT)
    if source is None:
        sha = work.hook_at[:12]
        message = (
            f"{work.repository.full_name} has neither {PROJECT} nor {SCRIPT} at {sha}. "
            f"Add a {PROJECT} that binds github-hook (see docs/bass.md), and push."
        )
        await tell(work, PROJECT, message, state="neutral")
        return "missing"
    host = LoopHost(work)
    limits = work.loop.limits
    budget = bass.Budget(
        steps=limits.hook_steps,
        live=limits.hook_live,
        seconds=limits.hook_seconds,
        output=limits.hook_output,
        setting="HOOK_{}",
    )
    try:
        async with bass.open_session(host, budget=budget) as session:
            client = _client(work, session, name)
            event = bass.from_python(
                {"event": work.event.name, "payload": dict(work.event.payload)}
            )
            directory = host.directory(name)
            if name == PROJECT:
                module = await session.load(source, name, directory)
                await session.call(bass.binding(module, "github-hook", name), event, client)
            else:
                await session.run_script(
                    source, name, directory=directory, stdin=[event], bindings={"*loop*": client}
                )
            await session.wait()
    except bass.BassError as error:
        if work.trouble is not None:
            raise work.trouble from error
        log.info("hook failed", hook=name, error=error.message)
        said = bass.render(error)
        await tell(work, name, said, host.output(), progress=host.progress.updates)
        return "failed"
    except (GitHubError, StoreError):
        raise
    except Exception as error:
        log.exception("hook crashed", hook=name)
        message = (
            f"the loop itself failed while it evaluated {name}: {type(error).__name__}: {error}"
        )
        await tell(work, name, message, host.output(), progress=host.progress.updates)
        return "crashed"
    if work.rerun_of == name:
        await tell(work, name, "It was evaluated without an error.", state="succeeded")
    return "done"


async def _source(work: Work, path: str) -> str | None:
    content = await work.repo.file(path, work.hook_at)
    return None if content is None else content[:MAX_SOURCE].decode(errors="replace")


def _client(work: Work, session: bass.Session, hook: str) -> bass.Scope:
    """The client that a hook is given: a scope with `start-check`."""

    async def start(thunk: bass.Value, name: bass.Value, sha: bass.Value) -> bass.Value:
        if (
            not isinstance(thunk, bass.Thunk)
            or not isinstance(name, str)
            or not isinstance(sha, str)
        ):
            given = " ".join(bass.show(value)[:100] for value in (thunk, name, sha))
            raise bass.BassError(f"start-check takes a thunk, a name and a head, not {given}")
        if name == hook:
            raise bass.BassError(f"a check can't be named {hook}: that is the hook's own")
        proto = await session.thunk_proto(thunk)
        try:
            started = await start_check(
                work, proto, thunk_record(thunk, proto), name, sha, platform_of(thunk)
            )
        except CheckRefused as error:
            raise bass.BassError(str(error)) from error
        return bass.builtin(f"wait-{name}", "[]", lambda: _wait(work, started))

    return bass.scope({"start-check": bass.builtin("start-check", "[thunk name sha]", start)})


async def _wait(work: Work, started: Started) -> bass.Value:
    """What a started check's combiner does when it is called: wait, and fail as the check failed."""
    work.slot.release()
    await started.over.wait()
    work.trouble = work.trouble or started.trouble
    if started.run.state != "succeeded":
        raise bass.BassError(started.run.message or f"the check {started.run.state}")
    return bass.from_python(None)

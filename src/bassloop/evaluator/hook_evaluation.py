"""Evaluates one hook, in the process that the fork server forked for it: `serve_one`.

There are two forms of hooks. A module's `github-hook` is called with the event and a client; a script's `main` reads
the event from `*stdin*`, with the client bound to `*loop*`. Both start checks with the client's `start-check`.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

from bassloop import bass
from bassloop.evaluator.confinement import use_reserve
from bassloop.evaluator.daemon_link import DaemonGone, Link
from bassloop.evaluator.messages import (
    Crashed,
    Describe,
    Evaluated,
    Failed,
    FinalMessage,
    OutOfMemory,
    PayloadEdit,
    as_text,
)
from bassloop.evaluator.remote_host import RemoteHost, Tree, encode_thunk
from bassloop.evaluator.thunk_description import describe
from bassloop.repository_files import MISSING_HOOK

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from bassloop.evaluator.messages import Evaluate


_LONGEST_MESSAGE: Final = 64 << 10
_LONGEST_REPORT: Final = 256 << 10


def serve_one(connection: socket.socket) -> None:
    """Do what the daemon asks for on a socket, and report how that ended."""
    link = Link(connection)
    try:
        link.send(_answer(link))
    except DaemonGone:
        return


def _answer(link: Link) -> FinalMessage:
    try:
        request = link.first()
        if isinstance(request, Describe):
            return describe(request.content)
        link.fibers.run(_evaluate(link, request))
    except bass.BassError as error:
        return _failed(error)
    except DaemonGone:
        raise
    except MemoryError:
        use_reserve()
        return OutOfMemory()
    except BaseException as error:  # noqa: BLE001 - told to the daemon
        trace = "".join(traceback.format_exception(error))
        return Crashed(
            as_text(f"{type(error).__name__}: {error}")[:_LONGEST_MESSAGE],
            as_text(trace)[-_LONGEST_MESSAGE:],
        )
    return Evaluated()


def _failed(error: bass.BassError) -> Failed:
    message, report = as_text(error.message), as_text(bass.render(error))
    return Failed(message[:_LONGEST_MESSAGE], report[:_LONGEST_REPORT])


async def _evaluate(link: Link, request: Evaluate) -> None:
    host = RemoteHost(link)
    # The kernel limits its memory and time, so its steps don't have to be counted.
    budget = bass.Budget(steps=sys.maxsize, output=request.output, setting="HOOK_{}")
    session = bass.Session(host, link.fibers, budget)
    client = _client(session, host)
    event = read_event(request.event, request.content, request.edit)
    folder = request.path.rpartition("/")[0] or "."
    directory = bass.repository_dir(Tree(link, request.tree), bass.DirPath(folder))
    if request.module:
        module = await session.load(request.source, request.path, directory)
        hook = bass.binding(module, "github-hook", request.path, MISSING_HOOK)
        await session.call(hook, event, client)
    else:
        await session.run_script(
            request.source,
            request.path,
            directory=directory,
            stdin=[event],
            bindings={"*loop*": client},
        )
    await session.wait()


def _client(session: bass.Session, host: RemoteHost) -> bass.Scope:
    """Return the client that a hook is called with: a scope with `start-check`.

    `start-check-with`, which other loops don't have, also takes options: a scope with `:after`, the names of
    checks that must have succeeded first, and `:limit`, in seconds.
    """

    async def start(
        thunk: bass.Value, name: bass.Value, sha: bass.Value, options: bass.Value = None
    ) -> bass.Value:
        if not (isinstance(thunk, bass.Thunk) and isinstance(name, str) and isinstance(sha, str)):
            given = " ".join(bass.show(value)[:100] for value in (thunk, name, sha))
            raise bass.BassError(f"start-check takes a thunk, a name and a head, not {given}")
        after, limit = _options(options)
        await bass.read_files(thunk)
        wait = await host.start_check(encode_thunk(thunk), name, sha, after, limit)
        return bass.builtin(f"wait-{name}", "[]", wait)

    return bass.scope(
        {
            "start-check": bass.builtin("start-check", "[thunk name sha]", start),
            "start-check-with": bass.builtin("start-check-with", "[thunk name sha options]", start),
        }
    )


def _options(options: bass.Value) -> tuple[Sequence[str], float | None]:
    """Return the options of a check: what it needs, and its limit in seconds."""
    given = {} if options is None else bass.to_python(options)
    if not isinstance(given, dict):
        raise bass.BassError(f"a check's options are a scope, not {bass.show(options)[:100]}")
    after, limit = given.get("after") or (), given.get("limit")
    if not isinstance(after, list | tuple) or not all(isinstance(name, str) for name in after):
        raise bass.BassError("a check's :after is a list of names")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0):
        raise bass.BassError("a check's :limit is a number of seconds, at least 1")
    return after, limit


def read_event(name: str, payload: bytes, edit: PayloadEdit) -> bass.Value:
    """Return the event that a hook is called with. Raises BassError for a payload that can't be read."""
    try:
        event = json.loads(payload)
        if edit is not PayloadEdit.NONE:
            name, event = _EDITS[edit](event)
        return bass.from_python({"event": name, "payload": event})
    except RecursionError as error:
        raise bass.BassError("the event's payload is nested too deep") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise bass.BassError(f"the event's payload can't be read: {error}") from error


def _as_check_rerun(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the event of GitHub's own button to run a check again, given that of the loop's button."""
    payload = {name: part for name, part in payload.items() if name != "requested_action"}
    return "check_run", {**payload, "action": "rerequested"}


def _as_suite_rerun(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the event that requests all checks of a head again, given one for a check that no script knows."""
    check = payload["check_run"]
    suite = {**(check.get("check_suite") or {}), "head_sha": check["head_sha"]}
    rest = {
        name: part
        for name, part in payload.items()
        if name not in ("check_run", "requested_action")
    }
    return "check_suite", {**rest, "action": "rerequested", "check_suite": suite}


_EDITS: Final[dict[PayloadEdit, Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]]] = {
    PayloadEdit.CHECK_RERUN: _as_check_rerun,
    PayloadEdit.SUITE_RERUN: _as_suite_rerun,
}

"""Imports the language and evaluates a typical hook before real ones arrive."""

from __future__ import annotations

import gc
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from bassloop import bass
from bassloop.evaluator.remote_host import encode_thunk
from bassloop.evaluator.thunk_description import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEEDS_TRIO: Final = "bassloop.bass.trio_driver"

_TYPICAL_HOOK: Final = """
(use (.github))
(defn checks [source]
  {:test (from {:repository "image" :tag "1" :platform {:os "linux"}} (cd source ($ sh test.sh)))})
(defn github-hook [event client]
  (let [*loop* client]
    (github:check-hook event (fn [url sha] (subpath ($ git clone url sha) ./)) checks)))
"""


def warm() -> None:
    """Import the language and evaluate a hook, so that all that hooks use is loaded into memory that processes share.

    Nothing can be imported once the server is confined, because it can't open files then.
    """
    for module in pkgutil.walk_packages(bass.__path__, "bassloop.bass."):
        if module.name != _NEEDS_TRIO:
            import_module(module.name)
    rehearse()
    gc.collect()
    gc.freeze()


def rehearse() -> None:
    """Evaluate a typical hook.

    A forked process shares its memory with the server until it writes to it, and evaluating writes everywhere. A
    process that has time for this makes its copies before its hook arrives.
    """
    event = {
        "event": "check_suite",
        "payload": {
            "action": "requested",
            "repository": {"clone_url": "https://example.com"},
            "check_suite": {"head_sha": "0" * 40},
        },
    }
    started: list[bytes] = []

    def start(thunk: bass.Value, name: bass.Value, sha: bass.Value) -> bass.Value:
        assert isinstance(thunk, bass.Thunk)
        started.append(encode_thunk(thunk))
        return None

    async def hook() -> None:
        session = bass.immediate_session(_Nothing())
        module = await session.load(_TYPICAL_HOOK, "project.bass", None)
        client = bass.scope({"start-check": bass.builtin("start-check", "[thunk name sha]", start)})
        github_hook = bass.binding(module, "github-hook", "project.bass")
        await session.call(github_hook, bass.from_python(event), client)

    bass.run_now(hook())
    describe(started[0])


class _Nothing(bass.Host):
    """A host that grants nothing, and discards output."""

    def log(self, message: str, fields: Mapping[str, Any]) -> None:
        """Discard it."""

    def write_error(self, text: str) -> None:
        """Discard it."""

"""`python dying.py serve`: the daemon, which kills itself (SIGKILL) at the point that DIE_AT names.

DIE_AT="before store bind_check_run 1"      before the first commit with this operation of the store
DIE_AT="after github POST:/check-runs$ 1"   after GitHub's first answer to such a call has come
"""

from __future__ import annotations

import os
import re
import signal
from typing import Any
from urllib.parse import urlsplit

from bassloop.cli import main
from bassloop.github.api import API
from bassloop.store.writer import Writer

WHEN, WHERE, WHAT, NTH = os.environ["DIE_AT"].split(" ")
seen = 0


def due(count: int) -> bool:
    """Whether the point is among the next `count` of its kind."""
    global seen
    seen += count
    return seen - count < int(NTH) <= seen


def die_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def operation(change: Any) -> str:
    """The store's operation that a change is of."""
    name = getattr(getattr(change, "func", change), "__qualname__", "")
    return "close_log" if "closed" in name else name.split(".")[1] if "." in name else name


if WHERE == "store":
    commit = Writer._commit

    def dying_commit(self: Writer, connection: Any, batch: Any) -> None:
        now = due([operation(write.change) for write in batch].count(WHAT))
        die_if(now and WHEN == "before")
        commit(self, connection, batch)
        die_if(now and WHEN == "after")

    Writer._commit = dying_commit  # type: ignore[method-assign]
else:
    answer = API._answer
    METHOD, PATH = WHAT.split(":", 1)

    async def dying_answer(self: API, method: str, url: str, *rest: Any) -> Any:
        now = due(int(method == METHOD and re.search(PATH, urlsplit(url).path) is not None))
        die_if(now and WHEN == "before")
        found = await answer(self, method, url, *rest)
        die_if(now and WHEN == "after")
        return found

    API._answer = dying_answer  # type: ignore[method-assign]

main()

"""`python crashing_daemon.py serve`: the daemon, which kills itself (SIGKILL) at the point that DIE_AT names.

DIE_AT="before store Checks.bind 1"      before the first commit with this operation of the store
DIE_AT="after github POST:/check-runs$ 1"   after GitHub's first answer to such a call has come
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bassloop.cli import main
from bassloop.github.rest_client import RestClient
from bassloop.store.writer import Writer

if TYPE_CHECKING:
    from bassloop.github.request import Request

WHEN, WHERE, WHAT, NTH = os.environ["DIE_AT"].split(" ")
seen = 0


def due(count: int) -> bool:
    """Return whether the point is among the next `count` of its kind."""
    global seen
    seen += count
    return seen - count < int(NTH) <= seen


def die_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def operation(change: Any) -> str:
    """Return the store's operation that a change is of, such as `Runs.start`."""
    name: str = getattr(change, "func", change).__qualname__
    return name.partition(".<locals>")[0]


if WHERE == "store":
    commit = Writer._commit

    def crashing_commit(self: Writer, batch: Any) -> None:
        now = due([operation(write.change) for write in batch].count(WHAT))
        die_if(now and WHEN == "before")
        commit(self, batch)
        die_if(now and WHEN == "after")

    Writer._commit = crashing_commit  # type: ignore[method-assign]
else:
    attempt = RestClient._attempt
    METHOD, PATH = WHAT.split(":", 1)

    async def crashing_attempt(self: RestClient, request: Request, url: str, *rest: Any) -> Any:
        path = urlsplit(url).path
        now = due(int(request.method == METHOD and re.search(PATH, path) is not None))
        die_if(now and WHEN == "before")
        found = await attempt(self, request, url, *rest)
        die_if(now and WHEN == "after")
        return found

    RestClient._attempt = crashing_attempt  # type: ignore[method-assign]

main()

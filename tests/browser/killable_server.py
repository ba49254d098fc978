"""A loop's pages, to be killed: `killable_server FOLDER PORT FIRST LAST` writes lines to a log and serves them.

With a port of 0 it begins the run, and chooses one; started again with that port, it writes to a second step's
log, as a loop does that was killed, and ends the run.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import hypercorn.trio
import trio
from hypercorn.config import Config

from bassloop.lifecycle import RunState
from bassloop.store import StepUpdate
from tests.web.site import open_site


async def main(folder: Path, port: int, first: int, last: int) -> None:
    """Serve until the process is killed."""
    async with open_site(folder) as site, trio.open_nursery() as nursery:
        store = site.store
        if not port:
            await site.queued("live")
            await store.runs.start("live", "t", "octocat", "linux/amd64", time.time())
        digest = "second" if port else "first"
        update = StepUpdate(digest, f"make {digest}", time.time())
        row = (await store.steps.put("live", [update]))[digest].row
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        config.accesslog = config.errorlog = None
        [address] = await nursery.start(
            partial(hypercorn.trio.serve, site.app, config, mode="asgi")
        )
        log = await store.logs.open("live", row)
        await log.append(
            b"".join(b"line %d\n" % each for each in range(first, last + 1)), None, 1, 1.0
        )
        site.live_runs.publish("live")
        print(address, flush=True)
        if port:
            await log.close()
            over = StepUpdate(digest, update.name, time.time(), time.time())
            await store.steps.put("live", [over])
            await store.runs.end("live", RunState.SUCCEEDED, None, time.time())
            site.live_runs.publish("live")
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), *map(int, sys.argv[2:]))

"""Pages of an application over a store of its own, served on loopback, with something to look at."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import trio
from hypercorn.config import Config

from bassloop.store import StepUpdate, Store
from bassloop.terminal import Terminal
from tests.web.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

BEGAN = 1_700_000_000.0
"""The time at which the runs of these pages began."""

PYTEST = """\
\x1b[1m============================= test session starts ==============================\x1b[0m
platform linux -- Python 3.13.5, pytest-8.4.2, pluggy-1.6.0
rootdir: /bass/work, configfile: pyproject.toml
plugins: trio-0.8.0, hypothesis-6.140.2, xdist-3.8.0
created: 8/8 workers
\x1b[2m8 workers [412 items]\x1b[0m
::group::what the workers are
worker gw0: Python 3.13.5 on linux
worker gw1: Python 3.13.5 on linux
worker gw2: Python 3.13.5 on linux
::endgroup::
\x1b[32m....................................................................... [ 17%]\x1b[0m
\x1b[32m....................................................................... [ 34%]\x1b[0m
\x1b[32m.............................................\x1b[31mF\x1b[32m......................... [ 51%]\x1b[0m
\x1b[32m....................................................................... [ 68%]\x1b[0m
\x1b[32m....................................................................... [ 86%]\x1b[0m
\x1b[32m.........................................................\x1b[0m               \x1b[32m[100%]\x1b[0m
\x1b[1m=================================== FAILURES ===================================\x1b[0m
\x1b[31m_______________________ test_toc_links_to_nested_sections ______________________\x1b[0m

    \x1b[35mdef\x1b[0m \x1b[36mtest_toc_links_to_nested_sections\x1b[0m():
        page = render(\x1b[33m"nested.lit"\x1b[0m)
>       \x1b[35massert\x1b[0m page.toc[\x1b[36m1\x1b[0m].href == \x1b[33m"#details-of-nesting"\x1b[0m
\x1b[31mE       AssertionError: assert '#details' == '#details-of-nesting'\x1b[0m
\x1b[31mE         - #details-of-nesting\x1b[0m
\x1b[31mE         + #details\x1b[0m

\x1b[1mtests/test_toc.py\x1b[0m:88: AssertionError
\x1b[1m=========================== short test summary info ============================\x1b[0m
\x1b[31mFAILED\x1b[0m tests/test_toc.py::\x1b[1mtest_toc_links_to_nested_sections\x1b[0m
\x1b[31m========================= 1 failed, 411 passed in 40.12s =========================\x1b[0m
"""


@dataclass
class Shown:
    """A site that a browser can look at."""

    site: Site
    url: str

    @property
    def store(self) -> Store:
        return self.site.store


@asynccontextmanager
async def serve_site(tmp_path: Path) -> AsyncGenerator[Shown]:
    """The site, served until the context ends."""
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
        config = Config()
        config.bind = ["127.0.0.1:0"]
        config.accesslog = config.errorlog = None
        config.graceful_timeout = 1.0
        over = trio.Event()
        [address] = await nursery.start(
            partial(hypercorn.trio.serve, site.app, config, shutdown_trigger=over.wait, mode="asgi")
        )
        yield Shown(site, address)
        over.set()
        nursery.cancel_scope.cancel()


async def step(
    store: Store,
    run_id: str,
    name: str,
    began: float,
    took: float | None,
    pieces: Sequence[tuple[float, bytes]] = (),
    **more: Any,
) -> int:
    """A step with its log, which came in pieces, each so many seconds after the run began."""
    ended = None if took is None else BEGAN + began + took
    update = StepUpdate(name, name, BEGAN + began, ended, **more)
    row = (await store.steps.put(run_id, [update]))[name].row
    if pieces:
        log = await store.logs.open(run_id, row)
        terminal = Terminal()
        for at, piece in pieces:
            await log.append(piece, terminal.settle(piece), 1, BEGAN + at)
        await log.append(b"", terminal.settle_rest(), 1, BEGAN + pieces[-1][0])
        await log.close()
    return row


async def add_failed_run(site: Site, run_id: str = "failed") -> int:
    """A run as people meet them: cached, parallel and failed steps. Returns the failed one's row."""
    store = site.store
    await site.queued(
        run_id,
        repository="octocat/hello-world",
        head_sha="1f3c2ab8" * 5,
        head_branch="octocat/nesting",
        pull_request=42,
        event="pull_request",
        check_name="tests",
        created_at=BEGAN - 2,
    )
    await store.runs.start(run_id, "t", "octocat", "linux/amd64", BEGAN)
    image, clone = "resolve docker.io/library/python:3.13", "git clone github.com/octocat/hello"
    install = "pip install -e '.[test]'"
    await step(store, run_id, image, 0, 0.4, cached=True)
    await step(store, run_id, clone, 0.4, 2.1, [(1, b"Cloning into 'src'...\n")])
    await step(
        store, run_id, "apk add build-base libffi-dev", 2.5, 9.2, cached=True, inputs=(image,)
    )
    await step(
        store,
        run_id,
        install,
        11.7,
        14.6,
        [(12, b"Collecting pytest\n"), (25, b"Successfully installed pytest-8.4.2\n")],
        inputs=(clone, "apk add build-base libffi-dev"),
    )
    await step(store, run_id, "upload cache", 26, 0.1, internal=True)
    await step(
        store,
        run_id,
        "ruff check src tests",
        26.3,
        1.2,
        [(27, b"All checks passed!\n")],
        inputs=(install,),
    )
    await step(
        store,
        run_id,
        "mypy --strict src",
        26.3,
        11.9,
        [(38, b"Success: no issues\n")],
        inputs=(install,),
    )
    lines = PYTEST.encode().splitlines(keepends=True)
    pieces = [(26.3 + (0.1 if n < 11 else 30 + n * 0.2), line) for n, line in enumerate(lines)]
    row = await step(
        store,
        run_id,
        "pytest -n auto tests",
        26.3,
        41.8,
        pieces,
        error="exit status 1",
        inputs=(install,),
    )
    await store.steps.put(
        run_id,
        [
            StepUpdate(
                "coverage", "coverage report --fail-under=90", inputs=("pytest -n auto tests",)
            )
        ],
    )
    await store.runs.end(run_id, "failed", "exit status 1", BEGAN + 68.1)
    return row

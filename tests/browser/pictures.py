"""The pictures of a run's page in the documentation, made anew: `python -m tests.browser.pictures`."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import trio

from bassloop.store import ThunkRecord

from . import page_scenes as scenes
from .scene_runner import run_scene
from .showcase import BEGAN, add_failed_run, serve_site

DOCS = Path(__file__).parents[2] / "docs"


async def main(folder: Path) -> None:
    """Write the pictures to a folder."""
    with tempfile.TemporaryDirectory() as made:
        async with serve_site(Path(made)) as site:
            thunk = ThunkRecord("EARLIER", "1" * 64, "{}", b"", "pytest", BEGAN)
            await site.store.thunks.put(thunk)
            await site.site.run(
                "green",
                "succeeded",
                repository="octocat/hello-world",
                head_sha="8c41d7e9" * 5,
                head_branch="octocat/nesting",
                check_name="tests",
                thunk_digest="EARLIER",
                created_at=BEGAN - 7200,
            )
            await add_failed_run(site.site)
            await run_scene(
                scenes.pictures,
                f"{site.url}/runs/failed",
                PICTURES=str(folder),
                NOW=str(BEGAN + 400),
            )


if __name__ == "__main__":
    trio.run(partial(main, DOCS))

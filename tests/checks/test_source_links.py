"""Links to the source lines that a log names."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import trio

from bassloop.checks.source_links import RETRY_SECONDS, WAIT_SECONDS, SourceLinks
from bassloop.failures import Location
from bassloop.github import GitHubError
from tests.records import make_run

LOCATIONS = [Location("/src/app/tests/test_a.py", 12), Location("/usr/lib/python3/x.py", 3)]


@dataclass
class FakeGitHub:
    """A repository's paths, an error, or neither in time."""

    paths: frozenset[str] | None = frozenset({"tests/test_a.py", "a b.c"})
    error: Exception | None = None
    seconds: float = 0.0
    asked: list[tuple[int, str, str, str]] = field(default_factory=list)

    def repository(self, installation_id: int, owner: str, name: str) -> Any:
        async def paths(ref: str) -> frozenset[str] | None:
            self.asked.append((installation_id, owner, name, ref))
            await trio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return self.paths

        return SimpleNamespace(paths=paths)


class FakeChecks:
    """Knows the check run of every run."""

    async def of_run(self, run_id: str) -> Any:
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(repository="octocat/hello", installation_id=2, head_sha="c0de")


def source_links(github: FakeGitHub) -> SourceLinks:
    store = SimpleNamespace(checks=FakeChecks())
    return SourceLinks(cast("Any", store), cast("Any", github), "https://github.test/")


RUN = make_run(repository="octocat/hello", head_sha="c0de")


async def test_only_files_of_the_repository_are_linked(autojump_clock: trio.abc.Clock) -> None:
    github = FakeGitHub()
    links = source_links(github)
    found = await links.urls(RUN, [*LOCATIONS, Location("a b.c", 1), Location("nowhere.c", 1)])
    blob = "https://github.test/octocat/hello/blob/c0de"
    assert found == {
        LOCATIONS[0]: f"{blob}/tests/test_a.py#L12",
        Location("a b.c", 1): f"{blob}/a%20b.c#L1",
    }
    assert github.asked == [(2, "octocat", "hello", "c0de")]


async def test_all_readers_share_one_request_to_github(autojump_clock: trio.abc.Clock) -> None:
    github = FakeGitHub(seconds=1.0)
    links = source_links(github)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(links.urls, RUN, LOCATIONS)
    assert await links.urls(RUN, LOCATIONS)
    assert len(github.asked) == 1


async def test_without_a_location_no_request_is_made(autojump_clock: trio.abc.Clock) -> None:
    github = FakeGitHub()
    assert await source_links(github).urls(RUN, []) == {}
    assert github.asked == []


async def test_an_error_leaves_the_page_without_links_for_a_while(
    autojump_clock: trio.abc.Clock,
) -> None:
    github = FakeGitHub(error=GitHubError("no"))
    links = source_links(github)
    assert await links.urls(RUN, LOCATIONS) == {}
    github.error = None
    assert await links.urls(RUN, LOCATIONS) == {}
    await trio.sleep(RETRY_SECONDS + 1)
    assert await links.urls(RUN, LOCATIONS)


async def test_a_page_does_not_wait_long_for_github(autojump_clock: trio.abc.Clock) -> None:
    links = source_links(FakeGitHub(seconds=3600))
    began = trio.current_time()
    assert await links.urls(RUN, LOCATIONS) == {}
    assert trio.current_time() - began == WAIT_SECONDS


async def test_a_tree_that_is_too_large_to_list_has_no_links(
    autojump_clock: trio.abc.Clock,
) -> None:
    github = FakeGitHub(paths=None)
    links = source_links(github)
    assert await links.urls(RUN, LOCATIONS) == {}
    assert await links.urls(RUN, LOCATIONS) == {}
    assert len(github.asked) == 1

"""At every address, what a visitor may not see can't be told from what doesn't exist.

Two loops are asked the same. One has a private run, the other has never heard of it. To whom GitHub
does not let read the repository, both answer with the same bytes. The addresses are the application's
own list of them, so one that is added later is asked too.
"""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.checks.output_downloads import OutputUnavailable
from bassloop.store import User
from bassloop.web import create_app
from bassloop.web.logs import live_feed
from bassloop.web.pages import runs_page

from .site import Disconnected, FakeControl, Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.store import Run

RUN = "RunThatNobodyGuesses-1"
SHA = "5ec4e7" + "0" * 34
SECRETS = (
    "swordfish", "hushed-branch", "hush-login", "hush-command", "hush-check", "hush-message", "hush-test", "hush-error",
)  # fmt: skip
"""Texts that only the private run contains, and no address."""

KNOWN = {
    "run_id": RUN,
    "owner": "acme",
    "name": "vault",
    "sha": SHA,
    "number": "7700077",
    "digest": "HUSHDIGEST",
    "row": "1",
    "guid": "11111111-2222-3333-4444-555555555555",
    "filename": "base.css",
    "path": "hush-artifact",
}
"""The private run's values for the parameters of routes. A route with another parameter needs it here."""

OF_THE_RUN = ("run_id", "sha", "digest", "number", "owner")

NEEDED = {
    "/runs/<run_id>/search": "?q=s",
    "/repositories/<owner>/<name>/search": "?q=s",
    "/repositories/<owner>/<name>/badge.svg": "?branch=hushed-branch",
    "/runs/<run_id>/output": "?path=x",
    "/repositories/<owner>/<name>/tests": "?check=hush-check&name=hush-test",
}
NARROWED = [
    "/runs?repository=acme/vault",
    "/runs?login=hush-login",
    "/runs?branch=hushed-branch",
    f"/runs?before={RUN}",
    f"/runs?sha={SHA}",
    "/runs?state=failed&pull=7700077",
    "/repositories/acme/vault?branch=hushed-branch",
]
VISITORS = ("stranger", "another", "operator")


class Outputs:
    """Says that it was asked."""

    def may_have(self, run: Run) -> bool:
        return True

    async def open(self, run: Run, path: str) -> Any:
        await trio.lowlevel.checkpoint()
        raise OutputUnavailable("swordfish")


@dataclass
class Two:
    """A loop with a private run, and one without."""

    with_it: Site
    without: Site

    async def headers(self, who: str) -> list[dict[str, str]]:
        """Return the headers that such a visitor sends, for each of the two loops."""
        people = {"another": (50, "another"), "operator": (9, "ops"), "reader": (60, "reader")}
        if who == "stranger":
            return [{}, {}]
        number, login = people[who]
        found = [await site.signed_in(number, login) for site in (self.with_it, self.without)]
        if who == "reader":
            self.with_it.permissions.levels[number, 2] = "read"
        return found


@asynccontextmanager
async def two(tmp_path: Path) -> AsyncGenerator[Two]:
    async with AsyncExitStack() as stack:
        sites = []
        for name in ("a", "b"):
            site = await stack.enter_async_context(open_site(tmp_path / name))
            context = replace(site.context, outputs=Outputs(), control=FakeControl())
            sites.append(replace(site, app=create_app(context), context=context))
        pair = Two(*sites)
        await _add_private_run(pair.with_it)
        yield pair


async def _add_private_run(site: Site) -> None:
    from bassloop.store import ReportedTest, ThunkRecord

    await site.store.users.put(User(1, "U_1", "hush-login"))
    digest, words = KNOWN["digest"], "hush-command"
    await site.store.thunks.put(ThunkRecord(digest, "1" * 64, '{"args": []}', b"", words, 1.0))
    fields = {
        "thunk_digest": digest,
        "public": False,
        "repository": "acme/vault",
        "login": "hush-login",
        "head_sha": SHA,
        "head_branch": "hushed-branch",
        "check_name": "hush-check",
        "cmdline": words,
    }
    # One of a push, for badges; the newest is of a pull request.
    await site.queued("of-a-push", **fields, pull_request=None)
    await site.queued(RUN, **fields, pull_request=7700077)
    row = await site.step(RUN, "hush-command", b"swordfish\n", error="exit status 1")
    assert str(row) == KNOWN["row"]
    await site.store.error_lines.put(RUN, ["hush-error"])
    await site.store.tests.put(RUN, [ReportedTest("hush-test", "failed")])
    for run_id in ("of-a-push", RUN):
        await site.store.runs.start(run_id, "t", "hush-login", "linux/amd64", 100.0)
        await site.store.runs.end(run_id, "failed", "hush-message", 101.0)
        run = await site.store.runs.get(run_id)
        assert run is not None
        await site.store.journals.append(run, "hush-login", "started", "hush-check")
        await site.sign(run_id)
    await site.keep(RUN, KNOWN["path"], b"swordfish")


def addresses(site: Site, method: str) -> list[str]:
    """All that there are, with what is private in them."""
    found = []
    for rule in site.app.url_map.iter_rules():
        if (method == "WEBSOCKET") != rule.websocket or method not in (rule.methods or {method}):
            continue
        unknown = rule.arguments - KNOWN.keys()
        assert not unknown, f"{rule.rule}: say in KNOWN what the private run's {unknown} is"
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: KNOWN[name[1]], rule.rule)
        found.append(path + NEEDED.get(rule.rule, ""))
    return found


async def comparable_answer(site: Site, method: str, path: str, headers: dict[str, str]) -> Any:
    """An answer, without what differs between any two sessions or moments."""
    form = None
    csrf = "none"
    if "cookie" in headers:
        token = headers["cookie"].partition("=")[2]
        visitor = await site.context.sessions.visitor(token)
        assert visitor is not None
        csrf = site.context.sessions.csrf(visitor)
        form = {"csrf": csrf}
    client = site.app.test_client(use_cookies=False)
    options = {"form": form} if method == "POST" and form else {}
    answer = await client.open(path, method=method, headers=headers, **options)
    body = (await answer.get_data()).decode(errors="replace").replace(csrf, "CSRF")
    body = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", body)
    headed = {name.lower(): value for name, value in answer.headers}
    moments = ("date", "expires", "set-cookie")
    kept = {name: value for name, value in headed.items() if name not in moments}
    return answer.status_code, kept, body


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
@pytest.mark.parametrize("who", VISITORS)
async def test_responses_are_the_same_with_and_without_a_private_repository(
    tmp_path: Path, who: str, kind: str
) -> None:
    async with two(tmp_path) as sites:
        one, other = await sites.headers(who)
        paths = [*addresses(sites.with_it, "GET"), *NARROWED]
        for path in paths:
            answers = [
                await comparable_answer(site, "GET", path, {**headers, "accept": kind})
                for site, headers in ((sites.with_it, one), (sites.without, other))
            ]
            assert answers[0] == answers[1], path
            assert not [word for word in SECRETS if word in answers[0][2] and word not in path], (
                path
            )


@pytest.mark.parametrize("who", VISITORS)
async def test_nobody_changes_what_they_may_not_see(tmp_path: Path, who: str) -> None:
    async with two(tmp_path) as sites:
        one, other = await sites.headers(who)
        for path in addresses(sites.with_it, "POST"):
            if path == "/sign-out":
                continue
            answers = [
                await comparable_answer(site, "POST", path, headers)
                for site, headers in ((sites.with_it, one), (sites.without, other))
            ]
            assert answers[0] == answers[1], path
        for site in (sites.with_it, sites.without):
            assert site.context.control.asked == []  # type: ignore[attr-defined]


async def first_message(
    site: Site, path: str, headers: dict[str, str], *, seen: bool = False
) -> Any:
    """Return a websocket's first message, or how it ends.

    Args:
        seen: whether the visitor sees something; who doesn't hears a heartbeat first, if anything.
    """
    async with site.app.test_client(use_cookies=False).websocket(path, headers=headers) as socket:
        try:
            await socket.send('{"logs": {}}')
            with trio.fail_after(120):
                while (message := json.loads(await socket.receive())).get("heartbeat") and seen:
                    pass
        except Disconnected as error:
            return error.args
    message.pop("now", None)
    return json.dumps(message)


@pytest.fixture
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages that nothing is sent to hear a heartbeat soon."""
    for module in (live_feed, runs_page):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.3)


@pytest.mark.parametrize("who", VISITORS)
async def test_no_websocket_reveals_a_private_repository(
    tmp_path: Path, heartbeats: None, who: str
) -> None:
    async with two(tmp_path) as sites:
        one, other = await sites.headers(who)
        for path in addresses(sites.with_it, "WEBSOCKET"):
            answers = [
                await first_message(sites.with_it, path, one),
                await first_message(sites.without, path, other),
            ]
            assert answers[0] == answers[1], path


async def test_readers_of_a_private_repository_see_it_at_each_of_these_addresses(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as sites:
        headers, _ = await sites.headers("reader")
        told = []
        for path in addresses(sites.with_it, "GET"):
            if KNOWN["guid"] not in path and any(
                KNOWN[name] in path for name in ("run_id", "sha", "digest", "number", "owner")
            ):
                status, kept, body = await comparable_answer(sites.with_it, "GET", path, headers)
                assert status == 200 or "swordfish" in body, path
                assert "Cookie" in kept["vary"], path
                if not path.endswith("avatar.svg"):
                    assert not kept["cache-control"].startswith(("public", "max-age")), path
                told += [word for word in SECRETS if word in body]
        assert set(told) == set(SECRETS)
        for path, word in ((f"/runs/{RUN}/live", "swordfish"), ("/runs/live", "hush-check")):
            assert word in await first_message(sites.with_it, path, headers, seen=True)
        _, _, listed = await comparable_answer(
            sites.with_it, "GET", "/runs?repository=acme/vault", headers
        )
        assert "hush-check" in listed


@pytest.mark.parametrize(
    ("origin", "seen"),
    [
        (None, True),
        ("https://loop.example.com", True),
        ("https://evil.example.com", False),
        ("https://loop.example.com.evil", False),
        ("null", False),
        ("http://[", False),
    ],
)
async def test_another_site_can_read_nothing_through_a_visitors_browser(
    tmp_path: Path, heartbeats: None, origin: str | None, seen: bool
) -> None:
    async with open_site(tmp_path) as site:
        await site.queued("r", public=False)
        headers = await site.signed_in(60, "reader", r2="read")
        if origin is not None:
            headers["origin"] = origin
        said = await first_message(site, "/runs/live", headers, seen=seen)
        assert ('"r"' in said) is seen


async def test_an_open_page_gets_no_more_updates_once_its_reader_loses_permission(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path) as site:
        await site.queued("r", public=False)
        headers = await site.signed_in(60, "reader", r2="read")
        client = site.app.test_client(use_cookies=False)
        async with client.websocket("/runs/live", headers=headers) as socket:
            assert '"r"' in await socket.receive()
            site.permissions.levels.clear()
            site.live_runs.publish("r")
            assert '"order": []' in await socket.receive()

"""Signing in with GitHub, out again, and everything that is not quite that."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bassloop.github import GitHubConfig, OAuthConfig, open_github
from bassloop.standin import Account, Fault, serve_standin
from bassloop.web.sign_in import CALLBACK_PATH, safe_next
from tests.github.world import KEY, QUICK, make_repository, standin_of

from .site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.standin import StandIn

HOME = "https://loop.example.com"
COOKIE, FLOW = "__Host-bassloop", "__Host-bassloop-sign-in"


class Browser:
    """Keeps cookies of one site, as a browser does, and goes where it is led."""

    def __init__(self, site: Site, standin: StandIn) -> None:
        self.site, self.standin = site, standin
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, **headers: str) -> Any:
        return self._kept(await self.site.get(path, **self._headers(headers)))

    async def post(self, path: str, headers: dict[str, str] | None = None, **form: str) -> Any:
        client = self.site.app.test_client(use_cookies=False)
        return self._kept(await client.post(path, headers=self._headers(headers or {}), form=form))

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**headers, **({"cookie": cookie} if cookie else {})}

    def _kept(self, answer: Any) -> Any:
        for line in answer.headers.getlist("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(line.split("; "))
                self.cookies[name] = value
        return answer

    async def lead_back(self, location: str, login: str) -> str:
        """Let somebody decide on GitHub's page; where GitHub leads back to. No login: they refuse."""
        async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
            page = await client.get(location)
            assert page.status_code == 200, page.text
            fields = dict(re.findall(r'name="(\w+)" value="([^"]*)">', page.text))
            asked = {key: value.replace("&amp;", "&") for key, value in fields.items()}
            answer = await client.post(location, data={**asked, "login": login})
        back = urlsplit(answer.headers["location"])
        assert f"{back.scheme}://{back.netloc}" == HOME
        return f"{back.path}?{back.query}"

    async def sign_in(self, login: str, where: str = "/") -> Any:
        set_out = await self.get(f"/sign-in?next={where}")
        return await self.get(await self.lead_back(set_out.headers["location"], login))


@asynccontextmanager
async def open_browser(tmp_path: Path) -> AsyncGenerator[Browser]:
    standin = standin_of(make_repository(tmp_path / "repo"), private=True)
    standin.sign_ins.callback_urls.append(HOME + CALLBACK_PATH)
    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(serve_standin, standin)
        oauth = OAuthConfig(url, url, "Iv1.0000000000000001", "client-secret")
        config = GitHubConfig(url, 1, KEY.private, oauth=oauth, retries=QUICK)
        async with open_github(config) as github, open_site(tmp_path, github.oauth) as site:
            yield Browser(site, standin)
        nursery.cancel_scope.cancel()


async def test_signing_in_leads_back_to_the_previous_page(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        answer = await browser.sign_in("octocat", "/runs?state=failed")
        assert answer.headers["location"] == "/runs?state=failed"
        assert set(browser.cookies) == {COOKIE}
        me = await (await browser.get("/me", accept="application/json")).get_json()
        assert (me["login"], me["id"], me["operator"]) == ("octocat", 101, False)
        assert "octocat" in await (await browser.get("/")).get_data(as_text=True)


async def test_githubs_token_is_used_once_and_revoked(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        await browser.sign_in("octocat")
        assert browser.standin.sign_ins.issued == 1
        assert browser.standin.sign_ins.tokens == {}
        asked = [path for _, path, _ in browser.standin.requests if path == "/user"]
        assert asked == ["/user"]


async def test_a_private_run_is_seen_once_signed_in_and_not_after_signing_out(
    tmp_path: Path,
) -> None:
    async with open_browser(tmp_path) as browser:
        await browser.site.run(public=False)
        assert (await browser.get("/runs/r")).status_code == 404
        await browser.sign_in("octocat")
        assert (await browser.get("/runs/r")).status_code == 404
        browser.site.permissions.levels[101, 2] = "read"
        page = await browser.get("/me")
        csrf = re.search(r'name="csrf" value="(\w+)"', await page.get_data(as_text=True))
        assert csrf is not None
        seen = await browser.get("/runs/r")
        assert seen.status_code == 200
        assert seen.headers["Cache-Control"] == "no-store"
        kept = dict(browser.cookies)
        assert (await browser.post("/sign-out", csrf=csrf[1])).status_code == 303
        assert browser.cookies == {}
        browser.cookies = kept
        assert (await browser.get("/runs/r")).status_code == 404


@pytest.mark.parametrize(
    "where",
    [
        "//evil.example",
        "//[",
        "http://[",
        "https://evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/\t/evil.example",
        "/sign-out",
        "/" + "x" * 1000,
        "http:evil.example",
        "",
    ],
)
def test_signing_in_leads_to_no_other_site(where: str) -> None:
    assert safe_next(where) == "/"


@given(st.text())
def test_any_return_address_is_a_path_of_this_site(where: str) -> None:
    led = urlsplit(safe_next(where))
    assert (led.scheme, led.netloc) == ("", "")
    assert led.path.startswith("/")
    assert not led.path.startswith(("//", "/\\"))


async def test_a_code_counts_only_in_the_browser_that_requested_it(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        set_out = await browser.get("/sign-in")
        back = await browser.lead_back(set_out.headers["location"], "octocat")
        victim = Browser(browser.site, browser.standin)
        assert (await victim.get(back)).status_code == 400
        await victim.get("/sign-in")
        assert (await victim.get(back)).status_code == 400
        assert COOKIE not in victim.cookies
        assert browser.standin.sign_ins.issued == 0


async def test_a_callback_is_accepted_once(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        set_out = await browser.get("/sign-in")
        kept = dict(browser.cookies)
        back = await browser.lead_back(set_out.headers["location"], "octocat")
        assert (await browser.get(back)).status_code == 303
        browser.cookies = kept
        state = parse_qs(urlsplit(back).query)["state"][0]
        code = browser.standin.sign_ins.new_code("octocat", {"redirect_uri": HOME + CALLBACK_PATH})
        assert (await browser.get(f"{CALLBACK_PATH}?state={state}&code={code}")).status_code == 400


async def test_a_refusal_on_github_signs_nobody_in(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        assert (await browser.sign_in("")).status_code == 403
        assert COOKIE not in browser.cookies


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 200, "body": b"<html>"}, {"cut": True}]
)
@pytest.mark.parametrize("where", ["/login/oauth/access_token", "/user"])
async def test_nobody_is_signed_in_while_github_does_not_answer(
    tmp_path: Path, where: str, fault: dict[str, Any]
) -> None:
    async with open_browser(tmp_path) as browser:
        options = {"status": None, **fault} if "cut" in fault else fault
        browser.standin.faults.add(Fault("*", where, **options))
        assert (await browser.sign_in("octocat")).status_code == 502
        assert COOKIE not in browser.cookies
        # A token that was given is revoked all the same.
        assert browser.standin.sign_ins.tokens == {} or where != "/user"
        assert (await browser.sign_in("octocat")).status_code == 303


async def test_a_token_that_can_not_be_revoked_does_not_prevent_signing_out(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        browser.standin.faults.add(Fault("DELETE", ".*", status=500))
        assert (await browser.sign_in("octocat")).status_code == 303


async def test_a_new_login_or_another_case_of_it_is_the_same_user(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        await browser.site.run(public=False)
        browser.site.permissions.levels[101, 2] = "read"
        await browser.sign_in("OctoCat")
        assert (await browser.get("/runs/r")).status_code == 200
        accounts = browser.standin.accounts
        accounts["octocat"], accounts["renamed"] = Account(500, "octocat"), Account(101, "renamed")
        impostor = Browser(browser.site, browser.standin)
        await impostor.sign_in("octocat")
        assert (await impostor.get("/runs/r")).status_code == 404
        again = Browser(browser.site, browser.standin)
        await again.sign_in("renamed")
        assert (await again.get("/runs/r")).status_code == 200


async def test_a_forged_cookie_is_ignored(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        await browser.sign_in("octocat")
        good = browser.cookies[COOKIE]
        secret, _, signature = good.partition(".")
        for forged in (
            secret,
            f"{secret}.{signature[::-1]}",
            f"{secret}x.{signature}",
            "x" * 500,
            ".",
        ):
            browser.cookies[COOKIE] = forged
            assert (await browser.get("/me", accept="application/json")).status_code == 401
        # Nor is a cookie's value taken from where a terminal's token is expected.
        browser.cookies.clear()
        answer = await browser.get("/me", accept="application/json", authorization=f"Bearer {good}")
        assert answer.status_code == 401


async def test_posts_of_a_session_have_to_come_from_the_loops_own_pages(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        assert (await browser.post("/sign-out")).status_code == 401
        await browser.sign_in("octocat")
        visitor = await browser.site.context.sessions.visitor(browser.cookies[COOKIE])
        assert visitor is not None
        csrf = browser.site.context.sessions.csrf(visitor)
        for wrong in ({}, {"csrf": ""}, {"csrf": "x" * 64}, {"csrf": csrf[:-1]}):
            assert (await browser.post("/sign-out", **wrong)).status_code == 403
        elsewhere = {"sec-fetch-site": "cross-site"}
        assert (await browser.post("/sign-out", elsewhere, csrf=csrf)).status_code == 403
        assert (await browser.get("/me", accept="application/json")).status_code == 200
        assert (await browser.post("/sign-out", csrf=csrf)).status_code == 303


async def test_signing_out_ends_every_session_and_forgets_permissions_on_all_nodes(
    tmp_path: Path,
) -> None:
    async with open_browser(tmp_path) as browser:
        other = Browser(browser.site, browser.standin)
        await browser.sign_in("octocat")
        await other.sign_in("octocat")
        visitor = await browser.site.context.sessions.visitor(browser.cookies[COOKIE])
        assert visitor is not None
        csrf = browser.site.context.sessions.csrf(visitor)
        await browser.post("/sign-out", csrf=csrf, everywhere="yes")
        assert (await other.get("/me", accept="application/json")).status_code == 401
        assert (101, None) in browser.site.permissions.forgotten


async def test_without_a_client_secret_there_is_no_redirect_to_github(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        assert (await site.get("/sign-in")).status_code == 404
        assert "/sign-in" not in await site.text("/")


class Terminal:
    """Signs in with a code."""

    def __init__(self, browser: Browser) -> None:
        self.client = browser.site.app.test_client(use_cookies=False)
        self.told: dict[str, Any] = {}

    async def begin(self) -> str:
        self.told = await (await self.client.post("/sign-in/device")).get_json()
        code: str = self.told["user_code"]
        return code

    async def ask(self, device: str | None = None) -> tuple[int, dict[str, Any]]:
        asked = {"device": self.told["device"] if device is None else device}
        headers = {"accept": "application/json"}
        answer = await self.client.post("/sign-in/device/token", json=asked, headers=headers)
        return answer.status_code, await answer.get_json()


async def test_a_terminal_signs_in_with_a_code_that_is_entered_on_github(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        terminal = Terminal(browser)
        code = await terminal.begin()
        assert await terminal.ask() == (202, {"pending": "authorization_pending", "interval": 5.0})
        status, told = await terminal.ask()
        assert (status, told["pending"], told["interval"]) == (202, "slow_down", 10.0)
        browser.standin.sign_ins.decide(code, "octocat")
        status, told = await terminal.ask()
        assert (status, told["login"]) == (200, "octocat")
        assert browser.standin.sign_ins.tokens == {}
        bearer = {"authorization": f"Bearer {told['token']}", "accept": "application/json"}
        assert (await (await browser.get("/me", **bearer)).get_json())["login"] == "octocat"
        # What comes in a header no other site can send: it needs no form.
        assert (await browser.post("/sign-out", bearer)).status_code == 303
        assert (await browser.get("/me", **bearer)).status_code == 401


async def test_a_terminal_is_notified_if_it_is_refused_or_too_late(tmp_path: Path) -> None:
    async with open_browser(tmp_path) as browser:
        terminal = Terminal(browser)
        browser.standin.sign_ins.decide(await terminal.begin(), "octocat", allow=False)
        status, told = await terminal.ask()
        assert (status, told["error"]) == (403, "it was refused on GitHub")
        await terminal.begin()
        for device in browser.standin.sign_ins.devices.values():
            device.expires_at = 0
        status, told = await terminal.ask()
        assert (status, told["error"]) == (403, "the code has expired: begin again")
        assert (await terminal.ask("forged"))[0] == 400
        browser.standin.device_flow = False
        assert (await terminal.client.post("/sign-in/device")).status_code == 409

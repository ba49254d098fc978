"""Making the App: from the local page to GitHub and back, once, into the settings file."""

from __future__ import annotations

import html
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import dotenv
import httpx
import trio

from bassloop.standin import Fault
from bassloop.tools.setup.create_app import CreatedApp, Creation, Plan, serve_page
from tests.github.world import KEY, World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@dataclass
class Making:
    """The page that makes an App, and a browser without a screen."""

    world: World
    creation: Creation
    address: str
    browser: httpx.AsyncClient

    async def confirmed(self) -> str:
        """Press both buttons. Returns the address that GitHub leads back to."""
        form = Form.of((await self.browser.get(self.address)).text)
        page = await self.browser.post(form.action, data=form.fields)
        assert page.status_code == 200, page.text
        form = Form.of(page.text)
        back = await self.browser.post(f"{self.world.standin.url}{form.action}", data=form.fields)
        return back.headers["location"]

    @property
    def settings(self) -> dict[str, str | None]:
        return dotenv.dotenv_values(self.creation.plan.path)


@dataclass
class Form:
    """A page's form."""

    action: str
    fields: dict[str, str]

    @classmethod
    def of(cls, page: str) -> Form:
        action = re.search(r'<form method="post" action="([^"]*)"', page)
        assert action, page
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page)
        return cls(html.unescape(action[1]), {name: html.unescape(value) for name, value in fields})


@asynccontextmanager
async def making(
    repository: Path, folder: Path, *, organization: str | None = None, **options: Any
) -> AsyncGenerator[Making]:
    options = {"app_private_key": KEY.private, **options}
    async with open_world(repository, **options) as world, trio.open_nursery() as nursery:
        url = world.standin.url
        path = folder / "settings.env"
        plan = Plan("my loop", "https://loop.test", url, url, organization, path)
        creation = Creation(plan, world.github.api)
        address = await nursery.start(serve_page, creation)
        async with httpx.AsyncClient(trust_env=False) as browser:
            yield Making(world, creation, address, browser)
        nursery.cancel_scope.cancel()


async def test_the_app_is_created_and_its_credentials_are_stored(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        back = await it.browser.get(await it.confirmed())
        assert back.status_code == 303
        done = await it.browser.get(str(back.next_request.url) if back.next_request else "")
        assert "is created" in done.text
        assert f"{it.world.standin.url}/apps/my-loop/installations/new" in done.text
        assert f"{it.world.standin.url}/settings/apps/my-loop" in done.text
        assert KEY.private.splitlines()[1] not in done.text
        assert it.settings == {
            "EXTERNAL_URL": "https://loop.test",
            "GITHUB_API_URL": it.world.standin.url,
            "GITHUB_APP_ID": "1",
            "GITHUB_APP_CLIENT_ID": "Iv1.0000000000000001",
            "GITHUB_APP_CLIENT_SECRET": "client-secret",
            "GITHUB_APP_PRIVATE_KEY": KEY.private,
            "GITHUB_APP_WEBHOOK_SECRET": "s3cret",
        }
        with trio.fail_after(120):
            await it.creation.finished.wait()


async def test_the_webhook_is_set_to_deliver_json_since_a_manifest_can_not_do_that(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        await it.browser.get(await it.confirmed())
        config = it.world.standin.hook_config
        assert config["content_type"] == "json"
        assert config["url"] == "https://loop.test/integrations/github/events"
        assert it.creation.created is not None
        assert it.creation.created.webhook_error is None


async def test_settings_that_github_refuses_are_reported_and_nothing_is_lost(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        back = await it.confirmed()
        it.world.standin.faults.add(Fault("PATCH", "/app/hook/config", status=422))
        await it.browser.get(back, follow_redirects=True)
        assert it.creation.created is not None
        assert "422" in (it.creation.created.webhook_error or "")
        assert it.settings["GITHUB_APP_ID"] == "1"


async def test_an_app_without_a_webhook_secret_gets_one(repository: Path, tmp_path: Path) -> None:
    async with making(repository, tmp_path, webhook_secret="") as it:
        await it.browser.get(await it.confirmed())
        secret = it.settings["GITHUB_APP_WEBHOOK_SECRET"]
        assert len(secret or "") == 40
        assert it.world.standin.webhook_secret == secret


async def test_an_organizations_app_is_asked_for_at_its_own_page(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path, organization="acme", owner="acme") as it:
        await it.confirmed()
        assert it.world.asked("/organizations/acme/settings/apps/new")
        assert "/organizations/acme/settings/apps/" in settings_made(it).settings_url


def settings_made(it: Making) -> CreatedApp:
    from bassloop.github.app_registration import NewApp

    app = NewApp(1, "my-loop", "https://github.test/apps/my-loop", "c", "s", "k", "w")
    return CreatedApp(app, it.creation.plan, it.creation.plan.path, None)


async def test_going_back_and_forth_in_the_browser_exchanges_the_code_once(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        back = await it.confirmed()
        answers = [await it.browser.get(back) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [303, 303, 303]
        assert len(it.world.asked("/conversions")) == 1


async def test_an_answer_that_belongs_to_another_attempt_is_refused(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        back = await it.confirmed()
        state = parse_qs(urlsplit(back).query)["state"][0]
        refused = await it.browser.get(back.replace(state, "x" * len(state)))
        assert refused.status_code == 400
        assert "another attempt" in refused.text
        assert not it.world.asked("/conversions")


async def test_an_unknown_code_is_reported_and_can_be_tried_again(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        back = await it.confirmed()
        code = parse_qs(urlsplit(back).query)["code"][0]
        refused = await it.browser.get(back.replace(code, "0" * 40))
        assert refused.status_code == 502
        assert "start again" in refused.text
        assert not it.creation.finished.is_set()
        await it.browser.get(await it.confirmed())
        assert it.settings["GITHUB_APP_ID"] == "1"


async def test_credentials_that_can_not_be_written_are_stored_elsewhere(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    async with making(repository, folder) as it:
        back = await it.confirmed()
        folder.rmdir()
        told = await it.browser.get(back)
        assert told.status_code == 502
        kept = re.search(r"credentials are in (\S+\.env)", told.text)
        assert kept
        values = dotenv.dotenv_values(kept[1])
        assert values["GITHUB_APP_PRIVATE_KEY"] == KEY.private
        from pathlib import Path as ThePath

        ThePath(kept[1]).unlink()


async def test_the_page_needs_the_secret_address_and_this_machines_name(
    repository: Path, tmp_path: Path
) -> None:
    async with making(repository, tmp_path) as it:
        parts = urlsplit(it.address)
        root = f"{parts.scheme}://{parts.netloc}"
        assert (await it.browser.get(f"{root}/")).status_code == 404
        assert it.creation.state not in (await it.browser.get(f"{root}/made")).text
        rebound = await it.browser.get(it.address, headers={"Host": "evil.test"})
        assert rebound.status_code == 403
        assert it.creation.state not in rebound.text


async def test_the_manifest_has_the_address_to_return_to(repository: Path, tmp_path: Path) -> None:
    async with making(repository, tmp_path) as it:
        form = Form.of((await it.browser.get(it.address)).text)
        assert json.loads(form.fields["manifest"])["redirect_url"] == f"{it.address}made"

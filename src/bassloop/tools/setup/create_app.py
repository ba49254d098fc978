"""Making the loop's GitHub App: a page on this machine that leads a browser to GitHub and back.

    GET  /TOKEN/       a button that posts the manifest to GitHub
    GET  /TOKEN/made   GitHub sends the browser back here, with a code that is good once
    GET  /TOKEN/done   what is left to do: install the App, tick the device flow

The page's address has a token in it that nobody else on the machine can guess: who could load the
page would learn the state that ties GitHub's answer to this manifest, and could slip in another App.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Response, abort, redirect, render_template, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from bassloop.github import GitHubError, Hook
from bassloop.github.app import App
from bassloop.github.manifest import WEBHOOK_PATH, NewApp, exchange, form_url, manifest
from bassloop.tools.setup import settings_file

if TYPE_CHECKING:
    from werkzeug import Response as AnyResponse

    from bassloop.github.api import API

MAX_NAME = 34
"""GitHub's limit on an App's name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The App that is to be made.

    Args:
        external_url: where the loop is reached, without a slash at its end.
        web_url: GitHub's web host; `api_url` its API.
        organization: whose App it is to be; None for the person's own.
        path: the settings file that its credentials go to.
    """

    name: str
    external_url: str
    web_url: str
    api_url: str
    organization: str | None
    path: Path


@dataclass(frozen=True, slots=True)
class Made:
    """An App that was made, and where its credentials are.

    Args:
        kept: the settings file as it was, if it had other credentials.
        left: why GitHub still delivers as forms, which the loop refuses; None when it doesn't.
    """

    app: NewApp
    plan: Plan
    path: Path
    kept: Path | None
    left: str | None = None

    @property
    def install_url(self) -> str:
        """Where its owner installs it on repositories."""
        return f"{self.app.html_url}/installations/new"

    @property
    def settings_url(self) -> str:
        """Where its owner ticks the device flow, which no manifest can."""
        of = self.plan.organization
        owner = f"/organizations/{of}" if of else ""
        return f"{self.plan.web_url}{owner}/settings/apps/{self.app.slug}"


@dataclass(eq=False)
class Creation:
    """The making of one App. `over` is set once the browser was shown what is left to do."""

    plan: Plan
    api: API
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    made: Made | None = None
    over: trio.Event = field(default_factory=trio.Event)
    _exchanging: trio.Lock = field(default_factory=trio.Lock)

    async def exchanged(self, code: str) -> Made:
        """Exchange GitHub's code for the credentials and keep them; once, however often it is called.

        Raises GitHubError, or SettingsFileError that says where the credentials are all the same.
        """
        async with self._exchanging:
            if self.made is not None:
                return self.made
            app = await exchange(self.api, code)
            if app.webhook_secret is None:
                app = replace(app, webhook_secret=secrets.token_hex(20))
            # What was exchanged is told only once: nothing may come between it and the disk.
            with trio.CancelScope(shield=True):
                made = self.made = await trio.to_thread.run_sync(self._keep, app)
            self.made = replace(made, left=await self._configure(app))
            return self.made

    async def _configure(self, app: NewApp) -> str | None:
        """Have GitHub deliver JSON, which no manifest can say. Returns why it won't."""
        hook = Hook(App(self.api, app.id, app.private_key))
        url = f"{self.plan.external_url}{WEBHOOK_PATH}"
        try:
            await hook.configure(url=url, secret=app.webhook_secret or "")
        except GitHubError as error:
            return str(error)
        return None

    def _keep(self, app: NewApp) -> Made:
        values = settings_of(app, self.plan)
        try:
            kept = settings_file.write(self.plan.path, values)
        except settings_file.SettingsFileError as error:
            rescued = settings_file.rescue(values)
            message = f"{error}. The App is made; its credentials are in {rescued}: keep that file"
            raise settings_file.SettingsFileError(message) from error
        return Made(app, self.plan, self.plan.path, kept)


def settings_of(app: NewApp, plan: Plan) -> dict[str, str]:
    """The settings that make a loop this App's. Pure."""
    return {
        "EXTERNAL_URL": plan.external_url,
        "GITHUB_API_URL": plan.api_url,
        "GITHUB_APP_ID": str(app.id),
        "GITHUB_APP_SLUG": app.slug,
        "GITHUB_APP_CLIENT_ID": app.client_id,
        "GITHUB_APP_CLIENT_SECRET": app.client_secret,
        "GITHUB_APP_PRIVATE_KEY": app.private_key,
        "GITHUB_APP_WEBHOOK_SECRET": app.webhook_secret or "",
    }


CREDENTIALS = (
    "GITHUB_APP_ID",
    "GITHUB_APP_PRIVATE_KEY",
    "GITHUB_APP_PRIVATE_KEY_PATH",
    "GITHUB_APP_WEBHOOK_SECRET",
)
"""Settings that say that there is an App already."""


async def serve_page(
    creation: Creation, port: int = 0, *, task_status: trio.TaskStatus[str]
) -> None:
    """Serve the pages on loopback until `creation.over` is set. Started with the first page's address."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = config.shutdown_timeout = 2.0
    config.include_server_header = False
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        serve = partial(
            hypercorn.trio.serve,
            create_web(creation),
            config,
            shutdown_trigger=creation.over.wait,
            mode="asgi",
        )
        bound: list[str] = await nursery.start(serve)
        task_status.started(f"{bound[0].rstrip('/')}/{creation.token}/")


def create_web(creation: Creation) -> QuartTrio:
    """The application."""
    here = Path(__file__).parent
    web = QuartTrio("bassloop.tools.setup", root_path=str(here), template_folder="templates")
    plan = creation.plan
    # The form's answer may lead back here, and a browser counts that as the form's own way.
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self' {plan.web_url}"
    )

    @web.before_request
    async def from_here() -> None:
        # Another name that leads to this address belongs to somebody else's page.
        if urlsplit(f"//{request.host}").hostname not in ("127.0.0.1", "localhost"):
            abort(403, "this page is for 127.0.0.1")

    @web.after_request
    async def headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    @web.errorhandler(HTTPException)
    async def failed(error: HTTPException) -> tuple[str, int]:
        page = await render_template("failed.html", text=error.description, token=creation.token)
        return page, error.code or 500

    @web.get(f"/{creation.token}/")
    async def start() -> str:
        back = f"http://{request.host}/{creation.token}/made"
        asked = manifest(plan.name, plan.external_url, back)
        return await render_template(
            "start.html",
            plan=plan,
            manifest=json.dumps(asked),
            asked=asked,
            action=form_url(plan.web_url, creation.state, plan.organization),
        )

    @web.get(f"/{creation.token}/made")
    async def made() -> AnyResponse:
        if not secrets.compare_digest(request.args.get("state", ""), creation.state):
            abort(400, "this answer belongs to another attempt; start again")
        try:
            await creation.exchanged(request.args.get("code", ""))
        except (GitHubError, settings_file.SettingsFileError) as error:
            abort(502, str(error))
        return redirect(f"/{creation.token}/done", 303)

    @web.get(f"/{creation.token}/done")
    async def done() -> str:
        if creation.made is None:
            abort(404, "no App is made yet; start again")
        page = await render_template("done.html", made=creation.made)
        creation.over.set()
        return page

    return web

"""Create the loop's GitHub App with pages on this machine that lead a browser to GitHub and back.

    GET  /TOKEN/       a button that posts the manifest to GitHub
    GET  /TOKEN/made   GitHub sends the browser back here, with a code that works once
    GET  /TOKEN/done   the remaining steps: install the App, enable the device flow

Nobody else on this machine can guess the token in the addresses. Anyone who could load the page would learn the state
that ties GitHub's answer to this manifest, and could substitute another App.

Its secrets are written to the settings file so that none is lost, exposed or partly written: the new file is created
next to the old one, readable only by its owner, checked with the daemon's parser, and then renamed over the old one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import dotenv
import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Response, abort, redirect, render_template, request
from werkzeug.exceptions import HTTPException

from bassloop.concurrency import shielded
from bassloop.github import AppWebhook, GitHubError
from bassloop.github.app_credentials import App
from bassloop.github.app_registration import WEBHOOK_PATH, NewApp, exchange, form_url, manifest
from bassloop.private_files import write_private_file
from bassloop.quart_app import QuartApp

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from werkzeug import Response as AnyResponse

    from bassloop.github.rest_client import RestClient


PRIVATE = 0o600

STORE_SECONDS = 30.0
MAX_NAME = 34
"""GitHub's limit on an App's name."""


class SettingsFileError(Exception):
    """The settings file can't be used. The message names it and the fix."""


def assigned(path: Path, names: Collection[str]) -> list[str]:
    """Return which of the settings have a value in the file; none if there is no file."""
    if not path.exists():
        return []
    try:
        values = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsFileError(f"can't read {path}: {error}") from error
    return [name for name in names if values.get(name)]


def try_to_write(path: Path) -> None:
    """Raise SettingsFileError if the file can't be written. Call this before anything depends on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        message = f"can't write {path}: {error.strerror} (BASSLOOP_SETTINGS names another file)"
        raise SettingsFileError(message) from error


def write(path: Path, values: Mapping[str, str]) -> Path | None:
    """Set these values in the file, and leave everything else in it unchanged.

    Return the path of a copy of the old file if it had a different value for one of them. If this raises
    SettingsFileError, the file is unchanged.
    """
    replaced = assigned(path, values)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".settings-") as folder:
            made = Path(folder) / path.name
            made.touch(mode=PRIVATE)
            if path.exists():
                made.write_bytes(path.read_bytes())
            for name, value in values.items():
                dotenv.set_key(made, name, value)
            read = dotenv.dotenv_values(made)
            broken = [name for name, value in values.items() if read.get(name) != value]
            if broken:
                raise SettingsFileError(f"{', '.join(broken)} can't be written to {path}")
            backup = _copy(path) if replaced else None
            write_private_file(path, made.read_bytes())
            return backup
    except OSError as error:
        raise SettingsFileError(f"can't write {path}: {error}") from error


def rescue(values: Mapping[str, str]) -> Path:
    """Write values that can't be obtained again to a new private file in the temporary directory."""
    descriptor, name = tempfile.mkstemp(prefix="bassloop-app-", suffix=".env")
    os.close(descriptor)
    for setting, value in values.items():
        dotenv.set_key(name, setting, value)
    return Path(name)


def _copy(path: Path) -> Path:
    backup = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    shutil.copyfile(path, backup)
    backup.chmod(PRIVATE)
    return backup


@dataclass(frozen=True, slots=True)
class Plan:
    """The App to create.

    Args:
        external_url: the loop's address, without a slash at the end.
        web_url: GitHub's web pages; `api_url` is its API.
        organization: the App's owner; None for the person who creates it.
        path: the settings file for the credentials.
    """

    name: str
    external_url: str
    web_url: str
    api_url: str
    organization: str | None
    path: Path


@dataclass(frozen=True, slots=True)
class CreatedApp:
    """An App that was created, and the file with its credentials.

    Args:
        backup: a copy of the settings file, if it had other credentials.
        webhook_error: why the webhook could not be configured, so that GitHub delivers forms, which the loop
            refuses; None if it could.
    """

    app: NewApp
    plan: Plan
    path: Path
    backup: Path | None
    webhook_error: str | None = None

    @property
    def install_url(self) -> str:
        """The page where its owner can install it on repositories."""
        return f"{self.app.html_url}/installations/new"

    @property
    def settings_url(self) -> str:
        """The page where its owner can enable the device flow. A manifest can't do that."""
        of = self.plan.organization
        owner = f"/organizations/{of}" if of else ""
        return f"{self.plan.web_url}{owner}/settings/apps/{self.app.slug}"


@dataclass(eq=False)
class Creation:
    """The creation of one App. `finished` is set after the browser has shown the remaining steps."""

    plan: Plan
    api: RestClient
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    created: CreatedApp | None = None
    finished: trio.Event = field(default_factory=trio.Event)
    _exchanging: trio.Lock = field(default_factory=trio.Lock)

    async def exchange(self, code: str) -> CreatedApp:
        """Exchange GitHub's code for the credentials and store them, only once even if it's called again.

        Raises GitHubError, or SettingsFileError, whose message names a file that contains the credentials anyway.
        """
        async with self._exchanging:
            if self.created is not None:
                return self.created
            app = await exchange(self.api, code)
            if app.webhook_secret is None:
                app = replace(app, webhook_secret=secrets.token_hex(20))
            # GitHub shows the credentials only once: they are stored even if the caller is cancelled.
            with shielded(STORE_SECONDS):
                self.created = await trio.to_thread.run_sync(self._store, app)
            assert self.created is not None
            self.created = replace(self.created, webhook_error=await self._configure(app))
            return self.created

    async def _configure(self, app: NewApp) -> str | None:
        """Make GitHub deliver JSON, which a manifest can't do. Return the error, if there is one."""
        hook = AppWebhook(App(self.api, app.id, app.private_key))
        url = f"{self.plan.external_url}{WEBHOOK_PATH}"
        try:
            await hook.configure(url=url, secret=app.webhook_secret or "")
        except GitHubError as error:
            return str(error)
        return None

    def _store(self, app: NewApp) -> CreatedApp:
        values = settings_of(app, self.plan)
        try:
            backup = write(self.plan.path, values)
        except SettingsFileError as error:
            rescued = rescue(values)
            message = (
                f"{error}. The App is created; its credentials are in {rescued}: keep that file"
            )
            raise SettingsFileError(message) from error
        return CreatedApp(app, self.plan, self.plan.path, backup)


def settings_of(app: NewApp, plan: Plan) -> dict[str, str]:
    """Return the settings for a loop with this App."""
    return {
        "EXTERNAL_URL": plan.external_url,
        "GITHUB_API_URL": plan.api_url,
        "GITHUB_APP_ID": str(app.id),
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
"""Settings that belong to an App."""


async def serve_page(
    creation: Creation, port: int = 0, *, task_status: trio.TaskStatus[str]
) -> None:
    """Serve the pages on loopback until `creation.finished` is set. Started with the first page's address."""
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
            shutdown_trigger=creation.finished.wait,
            mode="asgi",
        )
        bound: list[str] = await nursery.start(serve)
        task_status.started(f"{bound[0].rstrip('/')}/{creation.token}/")


def create_web(creation: Creation) -> QuartApp:
    """Return the web application."""
    here = Path(__file__).parent
    web = QuartApp("bassloop.tools.setup", root_path=str(here), template_folder="templates")
    plan = creation.plan
    # The form's answer may redirect here, and browsers apply form-action to redirects too.
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self' {plan.web_url}"
    )

    @web.before_request
    async def from_here() -> None:
        # Prevent DNS rebinding: another site's name may resolve to this address.
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
        app_manifest = manifest(plan.name, plan.external_url, back)
        return await render_template(
            "start.html",
            plan=plan,
            manifest=json.dumps(app_manifest),
            app_manifest=app_manifest,
            action=form_url(plan.web_url, creation.state, plan.organization),
        )

    @web.get(f"/{creation.token}/made")
    async def made() -> AnyResponse:
        if not secrets.compare_digest(request.args.get("state", ""), creation.state):
            abort(400, "this answer belongs to another attempt; start again")
        try:
            await creation.exchange(request.args.get("code", ""))
        except (GitHubError, SettingsFileError) as error:
            abort(502, str(error))
        return redirect(f"/{creation.token}/done", 303)

    @web.get(f"/{creation.token}/done")
    async def done() -> str:
        if creation.created is None:
            abort(404, "no App has been created yet; start again")
        page = await render_template("done.html", created=creation.created)
        creation.finished.set()
        return page

    return web

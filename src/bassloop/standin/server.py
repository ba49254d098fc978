"""The stand-in's HTTP: GitHub's REST calls that the loop makes, and Git's smart HTTP for clones."""

from __future__ import annotations

import itertools
import json
import zlib
from datetime import UTC, datetime
from functools import partial
from typing import Any

import hypercorn.trio
import jwt
import trio
from hypercorn.config import Config
from quart import Response, request
from quart_trio import QuartTrio

from bassloop.standin import check_runs, payloads
from bassloop.standin.git import GitFailed
from bassloop.standin.standin import StandIn

MAX_INLINE = 1 << 20


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def serve_standin(
    standin: StandIn, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve on loopback, on a port of the system's choice, until cancelled. Started with its URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 1.0
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        serve = partial(hypercorn.trio.serve, create_app(standin), config, mode="asgi")
        bound: list[str] = await nursery.start(serve)
        standin.url = bound[0].rstrip("/")
        task_status.started(standin.url)


def create_app(standin: StandIn) -> QuartTrio:
    """The application."""
    app = QuartTrio("bassloop.standin")
    app.config["MAX_CONTENT_LENGTH"] = 100 << 20

    @app.errorhandler(Refusal)
    async def refused(error: Refusal) -> Response:
        return _json({"message": str(error), "documentation_url": "", "status": str(error.status)}, error.status)

    @app.after_request
    async def noted(response: Response) -> Response:
        standin.requests.append((request.method, request.full_path.rstrip("?"), response.status_code))
        del standin.requests[:-10_000]
        return response

    _add_users(app, standin)
    _add_contents(app, standin)
    _add_check_runs(app, standin)
    _add_git(app, standin)
    return app


def _add_users(app: QuartTrio, standin: StandIn) -> None:
    @app.get("/users/<login>")
    async def user(login: str) -> Response:
        return _json(payloads.user(_known(standin, login)))

    @app.get("/users/<login>/keys")
    async def keys(login: str) -> Response:
        _known(standin, login)
        return _page([{"id": n, "key": key} for n, key in enumerate(standin.keys, 1)])

    @app.post("/app/installations/<int:installation>/access_tokens")
    async def access_tokens(installation: int) -> Response:
        scheme, _, statement = request.headers.get("Authorization", "").partition(" ")
        try:
            claims = jwt.decode(
                statement, standin.app_key, algorithms=["RS256"], options={"require": ["iat", "exp", "iss"]}
            )
        except jwt.PyJWTError as error:
            raise Refusal(401, f"A JSON web token could not be decoded: {error}") from error
        if scheme.lower() != "bearer" or claims["iss"] != str(standin.app_id):
            raise Refusal(401, "Integration must generate a public key")
        if claims["exp"] - claims["iat"] > 660:
            raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
        if installation != standin.installation_id:
            raise Refusal(404, "Not Found")
        token, expires = standin.new_token()
        at = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return _json({"token": token, "expires_at": at, "permissions": dict(standin.permissions)}, 201)


def _known(standin: StandIn, login: str) -> StandIn:
    if login.lower() != standin.login.lower():
        raise Refusal(404, "Not Found")
    return standin


def _add_contents(app: QuartTrio, standin: StandIn) -> None:
    @app.get("/repos/<owner>/<name>")
    async def repository(owner: str, name: str) -> Response:
        _allowed(standin, owner, name, "metadata", "read")
        return _json(payloads.repository(standin))

    @app.get("/repos/<owner>/<name>/contents/", defaults={"path": ""})
    @app.get("/repos/<owner>/<name>/contents/<path:path>")
    async def contents(owner: str, name: str, path: str) -> Response:
        _allowed(standin, owner, name, "contents", "read")
        commit = await _commit(standin, request.args.get("ref", "HEAD"))
        entry = await standin.git.entry(commit, path)
        if entry is None:
            raise Refusal(404, "Not Found")
        if entry.kind == "dir":
            entries = await standin.git.folder(commit, path)
            return _json([{"name": e.name, "type": e.kind, "size": e.size, "sha": e.sha} for e in entries[:1000]])
        content = await standin.git.read(commit, path) or b""
        if "raw" in request.headers.get("Accept", ""):
            return Response(content, content_type="application/vnd.github.raw+json; charset=utf-8")
        if len(content) > MAX_INLINE:
            raise Refusal(403, "This API returns blobs up to 1 MB in size.")
        return _json({"name": entry.name, "type": entry.kind, "size": len(content), "sha": entry.sha})

    @app.get("/repos/<owner>/<name>/pulls")
    async def pulls(owner: str, name: str) -> Response:
        _allowed(standin, owner, name, "pull_requests", "read")
        return _page(standin.pulls)


def _add_check_runs(app: QuartTrio, standin: StandIn) -> None:
    @app.post("/repos/<owner>/<name>/check-runs")
    async def create(owner: str, name: str) -> Response:
        _allowed(standin, owner, name, "checks", "write")
        data = await _data()
        why = check_runs.refusal(data, None)
        if why is None and await standin.git.commit(data["head_sha"]) != data["head_sha"]:
            why = f"No commit found for SHA: {data['head_sha']}"
        if why is not None:
            raise Refusal(422, why)
        number = next(standin.ids)
        run = {
            "id": number,
            "status": "queued",
            "conclusion": None,
            "external_id": "",
            "output": {},
            "app": {"id": standin.app_id},
            "html_url": f"{standin.url}/{standin.full_name}/runs/{number}",
        }
        check_runs.apply(run, data)
        standin.check_runs.append(run)
        return _json(run, 201)

    @app.patch("/repos/<owner>/<name>/check-runs/<int:number>")
    async def update(owner: str, name: str, number: int) -> Response:
        _allowed(standin, owner, name, "checks", "write")
        run = _run(standin, number)
        data = await _data()
        why = check_runs.refusal(data, run)
        if why is not None:
            raise Refusal(422, why)
        check_runs.apply(run, data)
        return _json(run)

    @app.get("/repos/<owner>/<name>/check-runs/<int:number>")
    async def one(owner: str, name: str, number: int) -> Response:
        _allowed(standin, owner, name, "checks", "read")
        return _json(_run(standin, number))

    @app.get("/repos/<owner>/<name>/commits/<ref>/check-runs")
    async def of_head(owner: str, name: str, ref: str) -> Response:
        _allowed(standin, owner, name, "checks", "read")
        commit = await _commit(standin, ref)
        wanted = request.args.get("check_name")
        found = [
            run
            for run in standin.check_runs
            if run["head_sha"] == commit and wanted in (None, run["name"])
        ]
        if request.args.get("filter", "latest") == "latest":
            found = list({run["name"]: run for run in found}.values())
        return _page(found, "check_runs")


def _run(standin: StandIn, number: int) -> dict[str, Any]:
    for run in standin.check_runs:
        if run["id"] == number:
            return run
    raise Refusal(404, "Not Found")


def _add_git(app: QuartTrio, standin: StandIn) -> None:
    """Git's smart HTTP, for reading (gitprotocol-http); any commit may be asked for, as GitHub allows."""
    serve = ("-c", "uploadpack.allowAnySHA1InWant=true", "upload-pack", "--stateless-rpc")

    @app.get("/<owner>/<name>.git/info/refs")
    async def refs(owner: str, name: str) -> Response:
        _mine(standin, owner, name)
        if request.args.get("service") != "git-upload-pack":
            raise Refusal(403, "only reading is served")
        advertised = await _git(standin, (*serve, "--http-backend-info-refs", "."))
        content_type = "application/x-git-upload-pack-advertisement"
        return Response(b"001e# service=git-upload-pack\n0000" + advertised, content_type=content_type)

    @app.post("/<owner>/<name>.git/git-upload-pack")
    async def upload_pack(owner: str, name: str) -> Response:
        _mine(standin, owner, name)
        body: bytes = await request.get_data(as_text=False)
        if request.headers.get("Content-Encoding") == "gzip":
            body = _gunzip(body)
        result = await _git(standin, (*serve, "."), body)
        return Response(result, content_type="application/x-git-upload-pack-result")


def _gunzip(body: bytes) -> bytes:
    return zlib.decompressobj(31).decompress(body, MAX_INLINE)


async def _git(standin: StandIn, args: tuple[str, ...], stdin: bytes = b"") -> bytes:
    try:
        return await standin.git.run(*args, stdin=stdin)
    except GitFailed as error:
        raise Refusal(500, str(error)) from error


def _mine(standin: StandIn, owner: str, name: str) -> None:
    if f"{owner}/{name}".lower() != standin.full_name.lower():
        raise Refusal(404, "Not Found")


def _allowed(standin: StandIn, owner: str, name: str, what: str, level: str) -> None:
    """Refuse what GitHub would: no or a wrong token, another repository, a permission not granted."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expires = standin.tokens.get(token)
    if scheme.lower() not in ("token", "bearer") or expires is None:
        raise Refusal(401, "Bad credentials")
    if expires < datetime.now(UTC).timestamp():
        raise Refusal(401, "Bad credentials: the token has expired")
    _mine(standin, owner, name)
    granted = standin.permissions.get(what)
    if granted is None or (level == "write" and granted != "write"):
        raise Refusal(403, "Resource not accessible by integration")


async def _commit(standin: StandIn, ref: str) -> str:
    commit = await standin.git.commit(ref)
    if commit is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    return commit


async def _data() -> dict[str, Any]:
    data = await request.get_json(force=True, silent=True)
    if not isinstance(data, dict):
        raise Refusal(400, "Problems parsing JSON")
    return data


def _page(items: list[dict[str, Any]], key: str | None = None) -> Response:
    """One page of a list, with a Link header to the next."""
    size = min(max(request.args.get("per_page", 30, int), 1), 100)
    number = max(request.args.get("page", 1, int), 1)
    start = (number - 1) * size
    page = list(itertools.islice(items, start, start + size))
    response = _json({"total_count": len(items), key: page} if key else page)
    if start + size < len(items):
        following = f"{request.base_url}?per_page={size}&page={number + 1}"
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json; charset=utf-8")

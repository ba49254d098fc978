"""`/repos` and `/users`: the repository, its files, commits, pull requests and people, and their keys; and its clones.

https://git-scm.com/docs/gitprotocol-http
"""

from __future__ import annotations

import base64
import zlib
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any

import trio
from quart import Response, request

from bassloop.concurrency import shielded
from bassloop.standin import authorization, objects
from bassloop.standin.authorization import CallRefused, json_response, page
from bassloop.standin.git import END_SECONDS, OWN_GROUP, SAFE, GitFailed, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_trio import QuartTrio

    from bassloop.standin.git import TreeEntry
    from bassloop.standin.state import Account, StandInState, Team


MAX_INLINE = 1 << 20
MAX_RAW = 100 << 20
MAX_ENTRIES = 1000
MAX_TREE = 100_000
RAW = "application/vnd.github.raw+json; charset=utf-8"
IN_TREE = {
    "file": ("100644", "blob", "blobs"),
    "symlink": ("120000", "blob", "blobs"),
    "dir": ("040000", "tree", "trees"),
    "submodule": ("160000", "commit", ""),
}
"""The mode, the type and the address of a tree's entries, by kind."""

MAX_REQUEST = 64 << 20
UPLOAD_PACK = (
    "-c",
    "uploadpack.allowAnySHA1InWant=true",
    "-c",
    "uploadpack.allowFilter=true",
    "upload-pack",
    "--stateless-rpc",
)
SERVICE = "git-upload-pack"


def add_routes(web: QuartTrio, standin: StandInState) -> None:
    """Add the routes, and those of Git's smart HTTP, so that runners can clone the repository."""
    _add_contents(web, standin)
    _add_commits(web, standin)
    _add_users(web, standin)
    _add_clones(web, standin)

    @web.get("/repos/<owner>/<name>")
    async def repository(owner: str, name: str) -> Response:
        authorization.require(standin, owner, name, "metadata")
        return json_response(objects.repository(standin))

    @web.get("/repos/<owner>/<name>/pulls")
    async def pulls(owner: str, name: str) -> Response:
        authorization.require(standin, owner, name, "pull_requests")
        state = request.args.get("state", "open")
        return page([pull for pull in standin.pulls if state in ("all", pull["state"])])

    @web.get("/repos/<owner>/<name>/collaborators/<login>/permission")
    async def permission(owner: str, name: str, login: str) -> Response:
        authorization.require(standin, owner, name, "metadata")
        account = standin.accounts.get(login.lower())
        if account is None:
            raise CallRefused(404, f"{login} is not a user")
        level = account.permission
        if level == "none" and not standin.private:
            level = "read"
        user = {**objects.user(standin, account), "role_name": level}
        return json_response({"permission": level, "role_name": level, "user": user})

    def team_of(organization: str, slug: str) -> Team:
        authorization.require(standin, standin.owner, standin.name, "members")
        team = standin.teams.get(slug.lower())
        if team is None or organization.lower() != standin.owner.lower():
            raise CallRefused(404, "Not Found")
        return team

    @web.get("/orgs/<organization>/teams/<slug>/members")
    async def members(organization: str, slug: str) -> Response:
        team = team_of(organization, slug)
        return page([objects.user(standin, standin.account(login)) for login in team.members])

    @web.get("/orgs/<organization>/teams/<slug>/repos/<owner>/<name>")
    async def repository_of_team(organization: str, slug: str, owner: str, name: str) -> Response:
        team = team_of(organization, slug)
        if team.permission == "none" or not authorization.is_ours(standin, owner, name):
            raise CallRefused(404, "Not Found")
        if "vnd.github.v3.repository+json" not in request.headers.get("Accept", ""):
            return Response(b"", 204)
        levels = ("pull", "push", "admin")
        granted = ("read", "write", "admin").index(team.permission)
        permissions = {name: level <= granted for level, name in enumerate(levels)}
        return json_response({**objects.repository(standin), "permissions": permissions})


def _add_commits(web: QuartTrio, standin: StandInState) -> None:
    @web.get("/repos/<owner>/<name>/commits/<path:ref>")
    async def commit(owner: str, name: str, ref: str) -> Response:
        authorization.require(standin, owner, name, "contents")
        sha = await find_commit(standin, ref, missing=422)
        if "sha" in request.headers.get("Accept", ""):
            return Response(sha, content_type="application/vnd.github.sha; charset=utf-8")
        return json_response(objects.commit(standin, await standin.git.show(sha)))

    @web.get("/repos/<owner>/<name>/git/trees/<ref>")
    async def tree(owner: str, name: str, ref: str) -> Response:
        authorization.require(standin, owner, name, "contents")
        commit = await find_commit(standin, ref, missing=404)
        if request.args.get("recursive"):
            files = await standin.git.files(commit)
        else:
            folder = await standin.git.entry(commit, "")
            assert folder is not None
            files = [(entry.name, entry) for entry in await standin.git.folder(folder)]
        shown = [_in_tree(standin, path, entry) for path, entry in files[:MAX_TREE]]
        url = f"{standin.api_path}/git/trees/{commit}"
        cut = len(files) > MAX_TREE
        return json_response({"sha": commit, "url": url, "tree": shown, "truncated": cut})


def _in_tree(standin: StandInState, path: str, entry: TreeEntry) -> dict[str, Any]:
    mode, kind, place = IN_TREE[entry.kind]
    shown: dict[str, Any] = {"path": path, "mode": mode, "type": kind, "sha": entry.sha}
    if kind == "blob":
        shown["size"] = entry.size
    if place:
        shown["url"] = f"{standin.api_path}/git/{place}/{entry.sha}"
    return shown


async def find_commit(standin: StandInState, ref: str, *, missing: int) -> str:
    """Return the commit that a ref refers to. Refuses an unknown one with GitHub's status."""
    for pull in standin.pulls:
        if ref == f"refs/pull/{pull['number']}/head":
            ref = pull["head"]["sha"]
    if ref in ("", "HEAD"):
        await standin.prepare()
        # If there is no branch of that name, the checked-out commit is the default branch's.
        ref = f"refs/heads/{standin.default_branch}"
        ref = ref if await standin.git.commit(ref) else "HEAD"
    commit = await standin.git.commit(ref)
    if commit is None:
        kind = "SHA" if missing == 422 else "the ref"
        raise CallRefused(missing, f"No commit found for {kind}: {ref}")
    return commit


def _add_contents(web: QuartTrio, standin: StandInState) -> None:
    @web.get("/repos/<owner>/<name>/contents", defaults={"path": ""})
    @web.get("/repos/<owner>/<name>/contents/", defaults={"path": ""})
    @web.get("/repos/<owner>/<name>/contents/<path:path>")
    async def contents(owner: str, name: str, path: str) -> Response:
        authorization.require(standin, owner, name, "contents")
        ref = request.args.get("ref", "")
        commit = await find_commit(standin, ref, missing=404)
        entry = await standin.git.entry(commit, path)
        if entry is None:
            raise CallRefused(404, "Not Found")
        location = _Location(standin, path.strip("/"), ref or standin.default_branch)
        try:
            return await _contents(standin, entry, location)
        except GitFailed as error:
            raise CallRefused(500, str(error)) from error


class _Location:
    """A path in the repository at a ref."""

    def __init__(self, standin: StandInState, path: str, ref: str) -> None:
        self.standin, self.path, self.ref = standin, path, ref

    def shown(self, entry: TreeEntry, path: str) -> dict[str, Any]:
        """Return an entry in GitHub's shape, without its content."""
        standin = self.standin
        api, html = standin.api_path, f"{standin.url}/{standin.full_name}"
        url = f"{api}/contents/{path}?ref={self.ref}"
        git = f"{api}/git/{'trees' if entry.kind == 'dir' else 'blobs'}/{entry.sha}"
        page = f"{html}/{'tree' if entry.kind == 'dir' else 'blob'}/{self.ref}/{path}"
        raw = None if entry.kind in ("dir", "submodule") else f"{html}/raw/{self.ref}/{path}"
        return {
            "type": entry.kind,
            "size": entry.size,
            "name": entry.name,
            "path": path,
            "sha": entry.sha,
            "url": url,
            "git_url": git,
            "html_url": page,
            "download_url": raw,
            "_links": {"git": git, "self": url, "html": page},
        }


async def _contents(standin: StandInState, entry: TreeEntry, location: _Location) -> Response:
    if entry.kind == "dir":
        listed = (await standin.git.folder(entry))[:MAX_ENTRIES]
        prefix = f"{location.path}/" if location.path else ""
        return json_response([location.shown(each, prefix + each.name) for each in listed])
    shown = location.shown(entry, location.path)
    if entry.kind == "submodule":
        return json_response({**shown, "submodule_git_url": None})
    if entry.size > MAX_RAW:
        raise CallRefused(403, "This API returns blobs up to 100 MB in size.")
    if "raw" in request.headers.get("Accept", ""):
        return Response(await standin.git.read(entry), content_type=RAW)
    if entry.kind == "symlink":
        return json_response({**shown, "target": (await standin.git.read(entry)).decode()})
    if entry.size > MAX_INLINE:
        return json_response({**shown, "encoding": "none", "content": ""})
    content = base64.encodebytes(await standin.git.read(entry)).decode()
    return json_response({**shown, "encoding": "base64", "content": content})


def _add_users(web: QuartTrio, standin: StandInState) -> None:
    def known(login: str) -> Account:
        found = standin.accounts.get(login.lower())
        if found is None:
            raise CallRefused(404, "Not Found")
        return found

    @web.get("/users/<login>")
    async def user(login: str) -> Response:
        return json_response(objects.public_user(standin, known(login)))

    @web.get("/user/<int:number>")
    async def by_id(number: int) -> Response:
        found = [each for each in standin.accounts.values() if each.id == number]
        if not found:
            raise CallRefused(404, "Not Found")
        return json_response(objects.public_user(standin, found[0]))

    @web.get("/users/<login>/keys")
    async def keys(login: str) -> Response:
        listed = known(login).keys
        # GitHub lists keys without their comments.
        return page(
            [
                {"id": n, "key": " ".join(key.split()[:2]), "created_at": objects.LONG_AGO}
                for n, key in enumerate(listed, 1)
            ]
        )


def _add_clones(web: QuartTrio, standin: StandInState) -> None:
    """Add Git's smart HTTP for reading, with and without `.git` at the repository's end. Any commit may be fetched."""

    @web.get("/<owner>/<name>/info/refs")
    async def refs(owner: str, name: str) -> Response:
        authorization.require_clone(standin, owner, name.removesuffix(".git"))
        if request.args.get("service") != SERVICE:
            raise CallRefused(403, "only reading is served here")
        process = await _start(standin, "--http-backend-info-refs")
        announced = b"001e# service=git-upload-pack\n0000"
        if _version() == "version=2":
            announced = b""
        return _streamed(_output(process, announced), f"application/x-{SERVICE}-advertisement")

    @web.post("/<owner>/<name>/git-upload-pack")
    async def upload_pack(owner: str, name: str) -> Response:
        authorization.require_clone(standin, owner, name.removesuffix(".git"))
        body = bytes(await request.get_data(as_text=False))  # type: ignore[arg-type]
        if request.headers.get("Content-Encoding") in ("gzip", "x-gzip"):
            body = _unzipped(body)
        process = await _start(standin)
        return _streamed(_output(process, b"", body), f"application/x-{SERVICE}-result")

    @web.post("/<owner>/<name>/git-receive-pack")
    async def receive_pack(owner: str, name: str) -> Response:
        raise CallRefused(403, "only reading is served here")


def _unzipped(body: bytes) -> bytes:
    try:
        unzip = zlib.decompressobj(31)
        whole = unzip.decompress(body, MAX_REQUEST)
    except zlib.error as error:
        raise CallRefused(400, "the request is not gzip") from error
    if unzip.unconsumed_tail:
        raise CallRefused(413, "the request is too long")
    return whole


def _version() -> str:
    """Return the protocol version that the client requests; other values are ignored."""
    requested = request.headers.get("Git-Protocol", "")
    return requested if requested in ("version=1", "version=2") else ""


async def _start(standin: StandInState, *more: str) -> trio.Process:
    command = ["git", *SAFE, *UPLOAD_PACK, *more, str(standin.repository_path)]
    env = environment(GIT_PROTOCOL=_version())
    try:
        return await trio.lowlevel.open_process(
            command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=env, process_group=OWN_GROUP
        )
    except FileNotFoundError as error:
        raise CallRefused(500, "git is not installed, or not on the PATH") from error


async def _output(process: trio.Process, first: bytes, stdin: bytes = b"") -> AsyncIterator[bytes]:
    """Yield git's output in pieces, and end git if the client disconnects."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if first:
            yield first
        # In stateless mode, git reads everything before it writes.
        await process.stdin.send_all(stdin)
        await process.stdin.aclose()
        while piece := await process.stdout.receive_some(64 << 10):
            yield bytes(piece)
    finally:
        with shielded(END_SECONDS):
            process.kill()
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()


def _streamed(pieces: AsyncIterator[bytes], content_type: str) -> Response:
    response = Response(pieces, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.timeout = None
    return response

"""`/repos`: the repository, its files, commits, pull requests and people."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from quart import Response, request

from bassloop.standin import access, objects
from bassloop.standin.answers import Refusal, answer_json, page
from bassloop.standin.git import GitFailed

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from bassloop.standin.git import TreeEntry
    from bassloop.standin.standin import StandIn

MAX_INLINE = 1 << 20
MAX_RAW = 100 << 20
MAX_ENTRIES = 1000
MAX_TREE = 100_000
RAW = "application/vnd.github.raw+json; charset=utf-8"


def add_routes(web: QuartTrio, standin: StandIn) -> None:
    """Add the routes."""
    _add_contents(web, standin)
    _add_commits(web, standin)

    @web.get("/repos/<owner>/<name>")
    async def repository(owner: str, name: str) -> Response:
        access.allowed(standin, owner, name, "metadata")
        return answer_json(objects.repository(standin))

    @web.get("/repos/<owner>/<name>/pulls")
    async def pulls(owner: str, name: str) -> Response:
        access.allowed(standin, owner, name, "pull_requests")
        state = request.args.get("state", "open")
        return page([pull for pull in standin.pulls if state in ("all", pull["state"])])

    @web.get("/repos/<owner>/<name>/collaborators/<login>/permission")
    async def permission(owner: str, name: str, login: str) -> Response:
        access.allowed(standin, owner, name, "metadata")
        account = standin.accounts.get(login.lower())
        if account is None:
            raise Refusal(404, f"{login} is not a user")
        level = account.permission
        if level == "none" and not standin.private:
            level = "read"
        user = {**objects.user(standin, account), "role_name": level}
        return answer_json({"permission": level, "role_name": level, "user": user})


def _add_commits(web: QuartTrio, standin: StandIn) -> None:
    @web.get("/repos/<owner>/<name>/commits/<path:ref>")
    async def commit(owner: str, name: str, ref: str) -> Response:
        access.allowed(standin, owner, name, "contents")
        sha = await commit_of(standin, ref, missing=422)
        if "sha" in request.headers.get("Accept", ""):
            return Response(sha, content_type="application/vnd.github.sha; charset=utf-8")
        return answer_json(objects.commit(standin, await standin.git.show(sha)))

    @web.get("/repos/<owner>/<name>/git/trees/<ref>")
    async def tree(owner: str, name: str, ref: str) -> Response:
        access.allowed(standin, owner, name, "contents")
        commit = await commit_of(standin, ref, missing=404)
        files = await standin.git.files(commit)
        shown = [
            {
                "path": path,
                "mode": "100644",
                "type": "commit" if entry.kind == "submodule" else "blob",
                "sha": entry.sha,
                "size": entry.size,
                "url": f"{standin.api_path}/git/blobs/{entry.sha}",
            }
            for path, entry in files[:MAX_TREE]
        ]
        url = f"{standin.api_path}/git/trees/{commit}"
        cut = len(files) > MAX_TREE
        return answer_json({"sha": commit, "url": url, "tree": shown, "truncated": cut})


async def commit_of(standin: StandIn, ref: str, *, missing: int) -> str:
    """The commit that a ref stands for. Refuses an unknown one with the status that GitHub has."""
    for pull in standin.pulls:
        if ref == f"refs/pull/{pull['number']}/head":
            ref = pull["head"]["sha"]
    if ref in ("", "HEAD"):
        await standin.prepare()
        # Without a branch of that name, what is checked out is the default branch.
        ref = f"refs/heads/{standin.default_branch}"
        ref = ref if await standin.git.commit(ref) else "HEAD"
    commit = await standin.git.commit(ref)
    if commit is None:
        kind = "SHA" if missing == 422 else "the ref"
        raise Refusal(missing, f"No commit found for {kind}: {ref}")
    return commit


def _add_contents(web: QuartTrio, standin: StandIn) -> None:
    @web.get("/repos/<owner>/<name>/contents", defaults={"path": ""})
    @web.get("/repos/<owner>/<name>/contents/", defaults={"path": ""})
    @web.get("/repos/<owner>/<name>/contents/<path:path>")
    async def contents(owner: str, name: str, path: str) -> Response:
        access.allowed(standin, owner, name, "contents")
        ref = request.args.get("ref", "")
        commit = await commit_of(standin, ref, missing=404)
        entry = await standin.git.entry(commit, path)
        if entry is None:
            raise Refusal(404, "Not Found")
        where = _Where(standin, path.strip("/"), ref or standin.default_branch)
        try:
            return await _contents(standin, entry, where)
        except GitFailed as error:
            raise Refusal(500, str(error)) from error


class _Where:
    """Where in the repository something is."""

    def __init__(self, standin: StandIn, path: str, ref: str) -> None:
        self.standin, self.path, self.ref = standin, path, ref

    def shown(self, entry: TreeEntry, path: str) -> dict[str, Any]:
        """What GitHub says of an entry, without its content."""
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


async def _contents(standin: StandIn, entry: TreeEntry, where: _Where) -> Response:
    if entry.kind == "dir":
        listed = (await standin.git.folder(entry))[:MAX_ENTRIES]
        prefix = f"{where.path}/" if where.path else ""
        return answer_json([where.shown(each, prefix + each.name) for each in listed])
    shown = where.shown(entry, where.path)
    if entry.kind == "submodule":
        return answer_json({**shown, "submodule_git_url": None})
    if entry.size > MAX_RAW:
        raise Refusal(403, "This API returns blobs up to 100 MB in size.")
    if "raw" in request.headers.get("Accept", ""):
        return Response(await standin.git.read(entry), content_type=RAW)
    if entry.kind == "symlink":
        return answer_json({**shown, "target": (await standin.git.read(entry)).decode()})
    if entry.size > MAX_INLINE:
        return answer_json({**shown, "encoding": "none", "content": ""})
    content = base64.encodebytes(await standin.git.read(entry)).decode()
    return answer_json({**shown, "encoding": "base64", "content": content})

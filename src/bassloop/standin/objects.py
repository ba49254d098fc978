"""GitHub's objects, in the shapes of its OpenAPI description."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bassloop.standin.git import Commit
    from bassloop.standin.state import Account, StandInState

LONG_AGO = "2020-01-01T00:00:00Z"
_USER_URLS = (
    "followers",
    "following",
    "gists",
    "starred",
    "subscriptions",
    "organizations",
    "repos",
    "events",
    "received_events",
)
_COUNTS = (
    "forks",
    "forks_count",
    "open_issues",
    "open_issues_count",
    "stargazers_count",
    "watchers",
    "watchers_count",
)
_REPOSITORY_URLS = {
    "archive": "/{archive_format}{/ref}",
    "assignees": "/assignees{/user}",
    "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}",
    "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}",
    "commits": "/commits{/sha}",
    "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}",
    "contributors": "/contributors",
    "deployments": "/deployments",
    "downloads": "/downloads",
    "events": "/events",
    "forks": "/forks",
    "git_commits": "/git/commits{/sha}",
    "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "hooks": "/hooks",
    "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}",
    "issues": "/issues{/number}",
    "keys": "/keys{/key_id}",
    "labels": "/labels{/name}",
    "languages": "/languages",
    "merges": "/merges",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "pulls": "/pulls{/number}",
    "releases": "/releases{/id}",
    "stargazers": "/stargazers",
    "statuses": "/statuses/{sha}",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "tags": "/tags",
    "teams": "/teams",
    "trees": "/git/trees{/sha}",
}


def timestamp(at: float) -> str:
    """Return a time (seconds since the epoch) in the API's format."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def user(standin: StandInState, account: Account) -> dict[str, Any]:
    """Return a user, an organization or a bot."""
    api = f"{standin.url}/users/{account.login}"
    return {
        "login": account.login,
        "id": account.id,
        "node_id": account.node_id,
        "avatar_url": f"{standin.url}/avatars/{account.id}",
        "gravatar_id": "",
        "url": api,
        "html_url": f"{standin.url}/{account.login}",
        **{f"{name}_url": f"{api}/{name}" for name in _USER_URLS},
        "type": account.type,
        "site_admin": False,
    }


def public_user(standin: StandInState, account: Account) -> dict[str, Any]:
    """Return a user's public profile."""
    empty = ("name", "company", "location", "email", "hireable", "bio", "twitter_username")
    counts = ("public_repos", "public_gists", "followers", "following")
    return {
        **user(standin, account),
        **dict.fromkeys(empty),
        "blog": "",
        **dict.fromkeys(counts, 0),
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }


def repository(standin: StandInState, owner: Account | None = None) -> dict[str, Any]:
    """Return the repository, or a fork of it."""
    holder = owner or standin.owner_account
    full_name = f"{holder.login}/{standin.name}"
    api, html = f"{standin.url}/repos/{full_name}", f"{standin.url}/{full_name}"
    fork = holder.id != standin.owner_account.id
    number = standin.repository_id + (holder.id if fork else 0)
    return {
        "id": number,
        "node_id": f"R_{number}",
        "name": standin.name,
        "full_name": full_name,
        "private": standin.private,
        "owner": user(standin, holder),
        "html_url": html,
        "description": None,
        "fork": fork,
        "url": api,
        **{f"{name}_url": api + tail for name, tail in _REPOSITORY_URLS.items()},
        "git_url": html.replace("http://", "git://") + ".git",
        "ssh_url": f"git@{standin.url.removeprefix('http://')}:{full_name}.git",
        "clone_url": f"{html}.git",
        "svn_url": html,
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
        "pushed_at": LONG_AGO,
        "has_issues": True,
        "has_projects": False,
        "has_downloads": True,
        "has_wiki": False,
        "has_pages": False,
        "has_discussions": False,
        "archived": False,
        "disabled": False,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if standin.private else "public",
        "default_branch": standin.default_branch,
        "network_count": 0,
        "subscribers_count": 0,
        "size": 1,
        **dict.fromkeys(_COUNTS, 0),
    }


def app(standin: StandInState) -> dict[str, Any]:
    """Return the App."""
    return {
        "id": standin.app_id,
        "client_id": standin.client_id,
        "slug": standin.app_slug,
        "node_id": f"A_{standin.app_id}",
        "owner": user(standin, standin.owner_account),
        "name": standin.app_slug,
        "description": "",
        "external_url": standin.url,
        "html_url": f"{standin.url}/apps/{standin.app_slug}",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
        "permissions": dict(standin.permissions),
        "events": list(standin.events),
    }


def installation(standin: StandInState) -> dict[str, Any]:
    """Return the App's installation."""
    api = f"{standin.url}/app/installations/{standin.installation_id}"
    account = user(standin, standin.owner_account)
    return {
        "id": standin.installation_id,
        "account": account,
        "repository_selection": "selected",
        "access_tokens_url": f"{api}/access_tokens",
        "repositories_url": f"{standin.url}/installation/repositories",
        "html_url": f"{standin.url}/settings/installations/{standin.installation_id}",
        "app_id": standin.app_id,
        "app_slug": standin.app_slug,
        "target_id": account["id"],
        "target_type": account["type"],
        "permissions": dict(standin.permissions),
        "events": list(standin.events),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
        "suspended_by": None,
        "suspended_at": None,
    }


def commit(standin: StandInState, found: Commit) -> dict[str, Any]:
    """Return a commit as in `GET …/commits/{ref}`."""
    api, html = standin.api_path, f"{standin.url}/{standin.full_name}/commit"
    parents = [
        {"sha": sha, "url": f"{api}/commits/{sha}", "html_url": f"{html}/{sha}"}
        for sha in found.parents
    ]
    unsigned = {"verified": False, "reason": "unsigned", "signature": None, "payload": None}
    return {
        "sha": found.sha,
        "node_id": f"C_{found.sha}",
        "commit": {
            "author": _person(found.author, "date"),
            "committer": _person(found.committer, "date"),
            "message": found.message,
            "tree": {"sha": found.tree, "url": f"{api}/git/trees/{found.tree}"},
            "url": f"{api}/git/commits/{found.sha}",
            "comment_count": 0,
            "verification": {**unsigned, "verified_at": None},
        },
        "url": f"{api}/commits/{found.sha}",
        "html_url": f"{html}/{found.sha}",
        "comments_url": f"{api}/commits/{found.sha}/comments",
        "author": None,
        "committer": None,
        "parents": parents,
    }


def pushed_commit(standin: StandInState, found: Commit) -> dict[str, Any]:
    """Return a commit as in events."""
    return {
        "id": found.sha,
        "tree_id": found.tree,
        "distinct": True,
        "message": found.message,
        "timestamp": found.committer[2],
        "url": f"{standin.url}/{standin.full_name}/commit/{found.sha}",
        "author": _person(found.author),
        "committer": _person(found.committer),
        "added": [],
        "removed": [],
        "modified": [],
    }


def _person(person: tuple[str, str, str], date: str | None = None) -> dict[str, Any]:
    named: dict[str, Any] = {"name": person[0], "email": person[1]}
    return {**named, date: person[2]} if date else named

"""The stand-in's answers and payloads, and the client's requests, have GitHub's published shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bassloop.github import Action, Annotation, CheckOutput
from bassloop.github.check_runs import (
    CheckRunChange,
    annotation_batch,
    change_request,
    creation_request,
)
from tests.github.world import World, open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.github.published.conftest import Description

pytestmark = pytest.mark.published
REPO = "/repos/{owner}/{repo}"


async def answered(world: World, path: str, *, app: bool = False) -> Any:
    """Return the stand-in's response to a path."""
    assert world.github.app is not None
    asking = (
        world.github.app.credential if app else await world.github.app.installation_credential(1)
    )
    headers = {"Authorization": f"Bearer {asking.value}"}
    async with httpx.AsyncClient(base_url=world.standin.url, trust_env=False) as client:
        answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_responses_have_the_format_of_github(
    repository: Path, description: Description
) -> None:
    async with open_world(repository) as world:
        made = await world.repo.create_check_run(world.draft())
        await world.repo.update_check_run(
            made.id,
            CheckOutput("t", "s", annotations=(Annotation("a", 1, "wrong", title="Wrong"),)),
            status="completed",
            conclusion="failure",
        )
        world.standin.add_user("stranger")
        await world.standin.payload("pull_request", fork="stranger")
        world.standin.lose("push", await world.standin.payload("push"))
        attempt = world.standin.attempts[-1].id
        mine = "/repos/octocat/hello"
        shapes = {
            "/users/{username}": "/users/octocat",
            "/users/{username}/keys": "/users/octocat/keys",
            "/user/{account_id}": "/user/101",
            REPO: mine,
            f"{REPO}/contents/{{path}}": f"{mine}/contents/a",
            f"{REPO}/git/trees/{{tree_sha}}": f"{mine}/git/trees/main",
            f"{REPO}/commits/{{ref}}": f"{mine}/commits/main",
            f"{REPO}/commits/{{ref}}/check-runs": f"{mine}/commits/main/check-runs",
            f"{REPO}/check-runs/{{check_run_id}}": f"{mine}/check-runs/{made.id}",
            f"{REPO}/check-runs/{{check_run_id}}/annotations": (
                f"{mine}/check-runs/{made.id}/annotations"
            ),
            f"{REPO}/pulls": f"{mine}/pulls",
            f"{REPO}/collaborators/{{username}}/permission": (
                f"{mine}/collaborators/octocat/permission"
            ),
        }
        for path, asked in shapes.items():
            description.answer("get", path, 200, await answered(world, asked))
        folder = f"{mine}/contents/sub"
        description.answer("get", f"{REPO}/contents/{{path}}", 200, await answered(world, folder))
        apps = {
            "/app": "/app",
            "/app/hook/config": "/app/hook/config",
            "/app/hook/deliveries": "/app/hook/deliveries",
            "/app/hook/deliveries/{delivery_id}": f"/app/hook/deliveries/{attempt}",
        }
        for path, asked in apps.items():
            description.answer("get", path, 200, await answered(world, asked, app=True))
        # The list's own description wants an account that is a user and an enterprise at once.
        [installation] = await answered(world, "/app/installations", app=True)
        description.component("installation", installation)


async def test_a_token_has_the_format_of_github(repository: Path, description: Description) -> None:
    path = "/app/installations/{installation_id}/access_tokens"
    async with open_world(repository) as world:
        assert world.github.app is not None
        for asked in ({}, {"repository_ids": [201], "permissions": {"contents": "read"}}):
            description.request("post", path, asked)
            made = await world.github.api.call(
                "POST",
                "/app/installations/1/access_tokens",
                credential=world.github.app.credential,
                data=asked,
            )
            description.answer("post", path, 201, made)


async def test_signing_in_and_revoking_the_token_have_the_format_of_github(
    repository: Path, description: Description
) -> None:
    async with open_world(repository) as world:
        token = world.standin.sign_ins.new_token("octocat")["access_token"]
        async with httpx.AsyncClient(base_url=world.standin.url, trust_env=False) as client:
            user = await client.get("/user", headers={"Authorization": f"Bearer {token}"})
            description.answer("get", "/user", 200, user.json())
            path, ended = "/applications/{client_id}/token", {"access_token": token}
            description.request("delete", path, ended)
            answer = await client.request(
                "DELETE",
                f"/applications/{world.standin.client_id}/token",
                json=ended,
                auth=(world.standin.client_id, world.standin.sign_ins.client_secret),
            )
        assert answer.status_code == 204
        assert world.standin.sign_ins.tokens == {}


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("check_suite", "requested"),
        ("check_suite", "rerequested"),
        ("check_suite", "completed"),
        ("check_run", "created"),
        ("check_run", "completed"),
        ("check_run", "rerequested"),
        ("check_run", "requested_action"),
        ("pull_request", "opened"),
        ("pull_request", "reopened"),
        ("pull_request", "synchronize"),
        ("pull_request", "closed"),
        ("merge_group", "checks_requested"),
        ("installation", "created"),
        ("push", None),
        ("ping", None),
    ],
)
async def test_a_payload_has_the_format_of_github(
    repository: Path, description: Description, event: str, action: str | None
) -> None:
    name = "-".join([event, *([action] if action else [])]).replace("_", "-")
    # The description of a suite that is asked for again knows no App with merge_group.
    async with open_world(repository, events=("pull_request", "push")) as world:
        world.standin.add_user("stranger")
        await world.repo.create_check_run(world.draft())
        for fork in (None, "stranger") if event == "pull_request" else (None,):
            payload = await world.standin.payload(event, action, fork=fork)
            description.event(name, payload)


def test_requests_have_the_format_of_github(description: Description) -> None:
    draft = World.draft(
        World(None, None, None, "a" * 40),  # type: ignore[arg-type]
        actions=(Action("Cancel", "Stop this check", "cancel"),),
        started_at=0.0,
        text="x",
    )
    description.request("post", f"{REPO}/check-runs", creation_request(draft))
    change = CheckRunChange(
        "completed", CheckOutput("t", "s"), conclusion="timed_out", completed_at=1.5
    )
    sent = change_request(change)
    notes = [Annotation("a", 1, "wrong", title="Wrong", end_line=3)]
    sent["output"]["annotations"] = annotation_batch(notes, 0)
    description.request("patch", f"{REPO}/check-runs/{{check_run_id}}", sent)


def test_requests_about_check_runs_do_not_trigger_notifications(description: Description) -> None:
    """GitHub limits such calls to 80 a minute and 500 an hour, and the loop doesn't count them."""
    marked = {
        (method, path)
        for path, calls in description.document["paths"].items()
        for method, call in calls.items()
        if call.get("x-github", {}).get("triggersNotification")
    }
    assert ("post", "/repos/{owner}/{repo}/issues") in marked
    assert not [path for _, path in marked if "check" in path]

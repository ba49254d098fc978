"""Mistakes in a repository are explained on a check run and its page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from bassloop.github import sign

from .test_whole_path import check_run, get, tried

if TYPE_CHECKING:
    from tests.repositories import MakeRepository

BROKEN_HOOKS = {
    "a script that does not parse": ("(def x (+ 1 2)", "never closed", "project.bass:1:1"),
    "an unbound symbol": (
        "(defn github-hook [event client]\n  (frobnicate 1))",
        "frobnicate",
        ":2:4",
    ),
    "a hook that is not bound": ("(def x 1)", "does not bind github-hook", ""),
    "a hook of another arity": ("(defn github-hook [event] event)", "takes 1 argument [event]", ""),
    "a script that ends with an error": ('(error "no luck" :number 13)', "no luck", ":number 13"),
    "a script without an end": ("(defn f [] (f)) (f)", "HOOK_CPU", ""),
    "a nest without a bottom": ("(defn f [n] (+ 1 (f n))) (f 1)", "too deep", ""),
    "a module that is not there": ("(use (*dir*/nowhere.bass))", "nowhere", ""),
    "a check that is no thunk": (
        '(defn github-hook [event client] (client:start-check 1 "x" "y"))',
        "thunk",
        "",
    ),
}


@pytest.mark.parametrize("what", BROKEN_HOOKS)
async def test_a_broken_hook_is_reported_on_a_check_with_its_name(
    make_repository: MakeRepository, what: str
) -> None:
    source, message, where = BROKEN_HOOKS[what]
    cpu = {"hook_cpu": 1.0 if "without an end" in what else 100.0}
    async with tried(make_repository(**{"project.bass": source}), settings=cpu) as trial:
        hook = check_run(trial, "project.bass")
        assert (hook["status"], hook["conclusion"]) == ("completed", "failure")
        assert message in hook["output"]["summary"]
        assert where in hook["output"]["summary"]
        page = await get(trial, f"/runs/{hook['external_id']}")
        assert message in page.text


async def test_a_repository_without_a_hook_shows_how_to_add_one(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(**{"README.md": "nothing"})) as trial:
        hook = check_run(trial, "project.bass")
        assert "nor project.bass, nor bass/github-hook" in hook["output"]["summary"]
        assert (hook["conclusion"], hook["output"]["title"]) == (
            "neutral",
            "No hook at this commit",
        )
        assert "nothing to do" in (await get(trial, f"/runs/{hook['external_id']}")).text


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ('($ no-such-command "x")', "there is no command no-such-command"),
        ("($ ./missing.sh)", "there is no ./missing.sh"),
        ("($ ./script.sh)", "can't be executed"),
        ('($ sh -c "kill -9 $$")', "signal 9"),
    ],
)
async def test_a_command_that_can_not_run_fails_its_check_with_an_explanation(
    make_repository: MakeRepository, command: str, message: str
) -> None:
    path = make_repository(f":it (on src {command})", **{"script.sh": "true"})
    async with tried(path) as trial:
        it = check_run(trial, "it")
        assert it["conclusion"] == "failure"
        assert message in json.dumps(it["output"])


async def test_a_delivery_with_a_wrong_signature_starts_nothing(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(':ok (on src ($ sh -c "true"))')) as trial:
        before = len(trial.standin.check_runs)
        body = json.dumps(await trial.standin.payload("check_suite")).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "check_suite",
            "X-GitHub-Delivery": "11111111-2222-3333-4444-555555555555",
        }
        address = f"{trial.daemon.local_url}/integrations/github/events"
        async with httpx.AsyncClient(timeout=120) as client:
            unsigned = await client.post(address, content=body, headers=headers)
            headers["X-Hub-Signature-256"] = sign(b"another secret", body)
            wrong = await client.post(address, content=body, headers=headers)
        assert (unsigned.status_code, wrong.status_code) == (401, 403)
        assert (
            await trial.daemon.store.deliveries.get("11111111-2222-3333-4444-555555555555") is None
        )
        assert len(trial.standin.check_runs) == before


async def test_a_repeated_delivery_is_accepted_and_does_nothing(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(':ok (on src ($ sh -c "true"))')) as trial:
        body = await trial.daemon.store.deliveries.body(trial.guid)
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "check_suite",
            "X-GitHub-Delivery": trial.guid,
            "X-Hub-Signature-256": sign(trial.standin.webhook_secret.encode(), body),
        }
        async with httpx.AsyncClient(timeout=120) as client:
            address = f"{trial.daemon.local_url}/integrations/github/events"
            again = await client.post(address, content=body, headers=headers)
        assert again.status_code == 202
        assert "known already" in again.text
        assert len(trial.standin.check_runs) == 1

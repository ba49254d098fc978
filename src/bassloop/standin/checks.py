"""`/repos/…/check-runs`: check runs are made, changed and listed."""

from __future__ import annotations

import copy
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from quart import request

from bassloop.standin import access, check_runs, objects, payloads
from bassloop.standin.answers import Refusal, answer_json, json_body, page
from bassloop.standin.repositories import commit_of
from bassloop.standin.standin import StandInError

if TYPE_CHECKING:
    import trio
    from quart import Response
    from quart_trio import QuartTrio

    from bassloop.standin.standin import StandIn


def add_routes(web: QuartTrio, standin: StandIn, nursery: trio.Nursery) -> None:
    """Add the routes. Events about check runs are sent from the nursery."""

    @web.post("/repos/<owner>/<name>/check-runs")
    async def create(owner: str, name: str) -> Response:
        access.allowed(standin, owner, name, "checks", "write")
        data = await json_body()
        why = check_runs.refusal(data, None)
        if why is None and await standin.git.commit(data["head_sha"]) != data["head_sha"]:
            why = f"No commit found for SHA: {data['head_sha']}"
        if why is not None:
            raise Refusal(422, why)
        run = _new(standin, data["head_sha"])
        check_runs.apply(run, data, objects.stamp(time.time()))
        standin.check_runs.append(run)
        _annotate(standin, run, data)
        _tell(standin, nursery, run, "created")
        return answer_json(run, 201)

    @web.patch("/repos/<owner>/<name>/check-runs/<int:number>")
    async def update(owner: str, name: str, number: int) -> Response:
        access.allowed(standin, owner, name, "checks", "write")
        run, data = _run(standin, number), await json_body()
        why = check_runs.refusal(data, run)
        if why is not None:
            raise Refusal(422, why)
        before = run["status"]
        check_runs.apply(run, data, objects.stamp(time.time()))
        _annotate(standin, run, data)
        if run["status"] == "completed" != before:
            _tell(standin, nursery, run, "completed")
        return answer_json(run)

    @web.get("/repos/<owner>/<name>/check-runs/<int:number>")
    async def one(owner: str, name: str, number: int) -> Response:
        access.allowed(standin, owner, name, "checks")
        return answer_json(_run(standin, number))

    @web.get("/repos/<owner>/<name>/check-runs/<int:number>/annotations")
    async def annotations(owner: str, name: str, number: int) -> Response:
        access.allowed(standin, owner, name, "checks")
        return page(standin.annotations.get(_run(standin, number)["id"], []))

    @web.get("/repos/<owner>/<name>/commits/<path:ref>/check-runs")
    async def of_head(owner: str, name: str, ref: str) -> Response:
        access.allowed(standin, owner, name, "checks")
        return page(await _listed(standin, ref), "check_runs")


async def _listed(standin: StandIn, ref: str) -> list[dict[str, Any]]:
    commit = await commit_of(standin, ref, missing=422)
    name, status = request.args.get("check_name"), request.args.get("status")
    app_id = request.args.get("app_id", None, int)
    found = [
        run
        for run in reversed(standin.check_runs)
        if run["head_sha"] == commit
        and name in (None, run["name"])
        and status in (None, run["status"])
        and app_id in (None, run["app"]["id"])
    ]
    if request.args.get("filter", "latest") == "latest":
        newest: dict[str, dict[str, Any]] = {}
        for run in found:
            newest.setdefault(run["name"], run)
        found = list(newest.values())
    return found


def _new(standin: StandIn, head: str) -> dict[str, Any]:
    number = next(standin.ids)
    api = f"{standin.api_path}/check-runs/{number}"
    return {
        "id": number,
        "name": "",
        "node_id": f"CR_{number}",
        "head_sha": head,
        "external_id": "",
        "url": api,
        "html_url": f"{standin.url}/{standin.full_name}/runs/{number}",
        "details_url": standin.url,
        "status": "queued",
        "conclusion": None,
        "started_at": objects.stamp(time.time()),
        "completed_at": None,
        "output": {
            "title": None,
            "summary": None,
            "text": None,
            "annotations_count": 0,
            "annotations_url": f"{api}/annotations",
        },
        "check_suite": {"id": payloads.suite_id(head)},
        "app": objects.app(standin),
        "pull_requests": [],
    }


def _annotate(standin: StandIn, run: dict[str, Any], data: dict[str, Any]) -> None:
    """Append the annotations, as GitHub does: it never compares them with those it has. The buttons
    are kept beside the check run, for GitHub does not tell them."""
    if data.get("actions") is not None:
        standin.actions[run["id"]] = data["actions"]
    added = (data.get("output") or {}).get("annotations") or []
    kept = standin.annotations.setdefault(run["id"], [])
    blob = f"{standin.url}/{standin.full_name}/blob/{run['head_sha']}"
    for note in added:
        columns = {name: note.get(name) for name in ("start_column", "end_column")}
        texts = {name: note.get(name) for name in ("title", "raw_details")}
        kept.append({**note, **columns, **texts, "blob_href": f"{blob}/{note['path']}"})
    run["output"]["annotations_count"] = len(kept)


def _run(standin: StandIn, number: int) -> dict[str, Any]:
    found = next((run for run in standin.check_runs if run["id"] == number), None)
    if found is None:
        raise Refusal(404, "Not Found")
    return found


def _tell(standin: StandIn, nursery: trio.Nursery, run: dict[str, Any], action: str) -> None:
    if standin.hook_url:
        nursery.start_soon(partial(_told, standin, copy.deepcopy(run), action))


async def _told(standin: StandIn, run: dict[str, Any], action: str) -> None:
    """Tell the loop of a check run as it was then; like GitHub's, events may overtake each other."""
    payload = await standin.payload("check_run", action, ref=run["head_sha"], check_run=run["id"])
    payload["check_run"] = {**run, "check_suite": payload["check_run"]["check_suite"]}
    try:
        await standin.deliver(standin.hook_url, "check_run", payload)
    except StandInError:
        # Nobody answered; the list of deliveries says so.
        return

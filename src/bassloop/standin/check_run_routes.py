"""`/repos/…/check-runs`: create and change check runs; what GitHub wouldn't accept is refused with 422.

Limits from GitHub's OpenAPI description of `POST` and `PATCH /repos/{owner}/{repo}/check-runs`.
"""

from __future__ import annotations

import copy
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from quart import request

from bassloop.standin import authorization, objects, payloads
from bassloop.standin.authorization import CallRefused, json_body, json_response, page
from bassloop.standin.repository_routes import find_commit
from bassloop.standin.state import StandInError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio
    from quart import Response
    from quart_trio import QuartTrio

    from bassloop.standin.standin import StandIn


STATUSES = ("queued", "in_progress", "completed")
CONCLUSIONS = (
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "timed_out",
)
LEVELS = ("notice", "warning", "failure")
MAX_TEXT = 65_535
MAX_MESSAGE = 64 << 10
MAX_TITLE = 255
MAX_ANNOTATIONS = 50
MAX_ACTIONS = 3
SETTABLE = (
    "name",
    "head_sha",
    "external_id",
    "details_url",
    "status",
    "started_at",
    "completed_at",
)


def add_routes(web: QuartTrio, standin: StandIn, nursery: trio.Nursery) -> None:
    """Add the routes. Events about check runs are sent from the nursery."""

    @web.post("/repos/<owner>/<name>/check-runs")
    async def create(owner: str, name: str) -> Response:
        authorization.require(standin, owner, name, "checks", "write")
        data = await json_body()
        why = refusal(data, None)
        if why is None and await standin.git.commit(data["head_sha"]) != data["head_sha"]:
            why = f"No commit found for SHA: {data['head_sha']}"
        if why is not None:
            raise CallRefused(422, why)
        run = payloads.new_check_run(standin, data["head_sha"])
        apply(run, data, objects.timestamp(time.time()))
        standin.check_runs.append(run)
        _annotate(standin, run, data)
        _notify(standin, nursery, run, "created")
        return json_response(run, 201)

    @web.patch("/repos/<owner>/<name>/check-runs/<int:number>")
    async def update(owner: str, name: str, number: int) -> Response:
        authorization.require(standin, owner, name, "checks", "write")
        run, data = _run(standin, number), await json_body()
        why = refusal(data, run)
        if why is not None:
            raise CallRefused(422, why)
        before = run["status"]
        apply(run, data, objects.timestamp(time.time()))
        _annotate(standin, run, data)
        if run["status"] == "completed" != before:
            _notify(standin, nursery, run, "completed")
        return json_response(run)

    @web.get("/repos/<owner>/<name>/check-runs/<int:number>")
    async def one(owner: str, name: str, number: int) -> Response:
        authorization.require(standin, owner, name, "checks")
        return json_response(_run(standin, number))

    @web.get("/repos/<owner>/<name>/check-runs/<int:number>/annotations")
    async def annotations(owner: str, name: str, number: int) -> Response:
        authorization.require(standin, owner, name, "checks")
        return page(standin.annotations.get(_run(standin, number)["id"], []))

    @web.get("/repos/<owner>/<name>/check-suites/<int:number>")
    async def suite(owner: str, name: str, number: int) -> Response:
        authorization.require(standin, owner, name, "checks")
        heads = {run["head_sha"] for run in standin.check_runs}
        head = next((head for head in heads if payloads.suite_id(head) == number), None)
        if head is None:
            raise CallRefused(404, "Not Found")
        payload = await standin.payload("check_suite", ref=head)
        return json_response(payload["check_suite"])

    @web.get("/repos/<owner>/<name>/commits/<path:ref>/check-runs")
    async def of_head(owner: str, name: str, ref: str) -> Response:
        authorization.require(standin, owner, name, "checks")
        return page(await _listed(standin, ref), "check_runs")


async def _listed(standin: StandIn, ref: str) -> list[dict[str, Any]]:
    commit = await find_commit(standin, ref, missing=422)
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


def _annotate(standin: StandIn, run: dict[str, Any], data: dict[str, Any]) -> None:
    """Append the annotations without comparing them with the existing ones, like GitHub.

    The buttons are stored beside the check run, since GitHub doesn't return them.
    """
    if data.get("actions") is not None:
        standin.actions[run["id"]] = data["actions"]
    added = (data.get("output") or {}).get("annotations") or []
    annotations = standin.annotations.setdefault(run["id"], [])
    blob = f"{standin.url}/{standin.full_name}/blob/{run['head_sha']}"
    for note in added:
        columns = {name: note.get(name) for name in ("start_column", "end_column")}
        texts = {name: note.get(name) for name in ("title", "raw_details")}
        annotations.append({**note, **columns, **texts, "blob_href": f"{blob}/{note['path']}"})
    run["output"]["annotations_count"] = len(annotations)


def _run(standin: StandIn, number: int) -> dict[str, Any]:
    found = next((run for run in standin.check_runs if run["id"] == number), None)
    if found is None:
        raise CallRefused(404, "Not Found")
    return found


def _notify(standin: StandIn, nursery: trio.Nursery, run: dict[str, Any], action: str) -> None:
    if standin.hook_url:
        nursery.start_soon(partial(_deliver, standin, copy.deepcopy(run), action))


async def _deliver(standin: StandIn, run: dict[str, Any], action: str) -> None:
    """Deliver an event with the check run's state at that time. Like GitHub's, events may overtake each other."""
    payload = await standin.payload("check_run", action, ref=run["head_sha"], check_run=run["id"])
    payload["check_run"] = {**run, "check_suite": payload["check_run"]["check_suite"]}
    try:
        await standin.deliver(standin.hook_url, "check_run", payload)
    except StandInError:
        # Nobody answered; the list of attempts records that.
        return


def refusal(data: Mapping[str, Any], before: Mapping[str, Any] | None) -> str | None:
    """Return why GitHub would refuse to create (`before` is None) or change a check run, or None."""
    if before is None:
        for needed in ("name", "head_sha"):
            if not isinstance(data.get(needed), str) or not data[needed].strip():
                return f"For 'properties/{needed}', {needed} is missing or no text."
    elif before["status"] == "completed" and data.get("status") not in (None, "completed"):
        return "a completed check run can't be reopened"
    for name in ("name", "head_sha", "external_id", "details_url", "started_at", "completed_at"):
        if not isinstance(data.get(name, ""), str):
            return f"For 'properties/{name}', {data[name]!r} is not a string."
    return (
        _state_refusal(data, before)
        or _url_refusal(data.get("details_url"))
        or _output_refusal(data.get("output"))
        or _actions_refusal(data.get("actions"))
    )


def _state_refusal(data: Mapping[str, Any], before: Mapping[str, Any] | None) -> str | None:
    status, conclusion = data.get("status"), data.get("conclusion")
    if status is not None and status not in STATUSES:
        return f"status {status} is none of {', '.join(STATUSES)}"
    if conclusion is not None and conclusion not in CONCLUSIONS:
        return f"conclusion {conclusion} is none of {', '.join(CONCLUSIONS)}"
    concluded = before is not None and before["conclusion"] is not None
    if status == "completed" and conclusion is None and not concluded:
        return "a completed check run needs a conclusion"
    if status not in (None, "completed") and conclusion is not None:
        return "a check run with a conclusion is completed"
    return None


def _url_refusal(url: Any) -> str | None:
    if url is None or url.startswith(("http://", "https://")):
        return None
    return "details_url must use the http or https scheme"


def _output_refusal(output: Any) -> str | None:
    if output is None:
        return None
    if not isinstance(output, dict):
        return "For 'properties/output', it is not an object."
    for part in ("title", "summary"):
        if not isinstance(output.get(part), str) or not output[part]:
            return f"output.{part} is missing"
    for part in ("summary", "text"):
        if len(str(output.get(part) or "").encode()) > MAX_TEXT:
            return f"output.{part} is longer than {MAX_TEXT}"
    annotations = output.get("annotations") or []
    if not isinstance(annotations, list) or len(annotations) > MAX_ANNOTATIONS:
        return f"Invalid request. No more than {MAX_ANNOTATIONS} annotations allowed."
    return next(filter(None, map(_annotation_refusal, annotations)), None)


def _annotation_refusal(annotation: Any) -> str | None:
    if not isinstance(annotation, dict):
        return "an annotation is not an object"
    if annotation.get("annotation_level") not in LEVELS:
        return f"an annotation's annotation_level is one of {', '.join(LEVELS)}"
    if not isinstance(annotation.get("path"), str) or not annotation["path"]:
        return "an annotation needs a path"
    first, last = annotation.get("start_line"), annotation.get("end_line")
    if not isinstance(first, int) or not isinstance(last, int) or not 0 < first <= last:
        return "an annotation needs a start_line and an end_line, in this order"
    columns = {"start_column", "end_column"} & annotation.keys()
    if columns and first != last:
        return "an annotation has columns only when it is about one line"
    for part, limit in (("message", MAX_MESSAGE), ("raw_details", MAX_MESSAGE)):
        if len(str(annotation.get(part) or "").encode()) > limit:
            return f"an annotation's {part} is longer than 64 KB"
    if not annotation.get("message"):
        return "an annotation needs a message"
    if len(annotation.get("title") or "") > MAX_TITLE:
        return f"an annotation's title is longer than {MAX_TITLE}"
    return None


def _actions_refusal(actions: Any) -> str | None:
    if actions is None:
        return None
    if not isinstance(actions, list) or len(actions) > MAX_ACTIONS:
        return f"Invalid request. No more than {MAX_ACTIONS} actions allowed."
    for action in actions:
        for part, limit in (("label", 20), ("identifier", 20), ("description", 40)):
            text = action.get(part) if isinstance(action, dict) else None
            if not isinstance(text, str) or not 1 <= len(text) <= limit:
                return f"an action's {part} takes 1 to {limit} characters"
    return None


def apply(run: dict[str, Any], data: Mapping[str, Any], now: str) -> None:
    """Change a check run like GitHub: fields are replaced, and a conclusion completes it.

    Args:
        now: the time of completion, if none is given.
    """
    for name in SETTABLE:
        if data.get(name) is not None:
            run[name] = data[name]
    if data.get("conclusion") is not None:
        run["conclusion"] = data["conclusion"]
        run["status"] = "completed"
    if run["status"] == "completed" and run["completed_at"] is None:
        run["completed_at"] = now
    output = data.get("output") or {}
    for name in ("title", "summary", "text"):
        if name in output:
            run["output"][name] = output[name]

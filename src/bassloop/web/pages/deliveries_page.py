"""Webhook deliveries and their outcomes, and a button to replay one. Only for operators."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, redirect, render_template, request

from bassloop.lifecycle import DeliveryState
from bassloop.terminal import plain
from bassloop.web.guard import current_visitor, may_operate, visible_runs
from bassloop.web.pages.thunk_page import MAX_JSON, json_html
from bassloop.web.presentation import PAGE_SIZE, instant, run_json, view_runs, wants_json

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.deliveries.backlog import BacklogReport
    from bassloop.store import Delivery
    from bassloop.web.web_context import WebContext

SIGNS = {
    DeliveryState.RECEIVED: ("○", "waits"),
    DeliveryState.HANDLING: ("●", "runs"),
    DeliveryState.HELD: ("!", "warn"),
    DeliveryState.DONE: ("✓", "ok"),
    DeliveryState.IGNORED: ("–", "waits"),
    DeliveryState.FAILED: ("✕", "bad"),
    DeliveryState.SET_ASIDE: ("✕", "bad"),
}

REPLAYABLE = frozenset({DeliveryState.FAILED, DeliveryState.SET_ASIDE})


def routes(context: WebContext) -> Blueprint:
    """Return the routes. They don't reveal to others which deliveries exist."""
    blueprint = Blueprint("deliveries_page", __name__)

    async def check_operator() -> None:
        if not may_operate(context, await current_visitor(context)):
            abort(403, "deliveries are for the loop's operators only (setting OPERATORS)")

    async def find(guid: str) -> Delivery:
        await check_operator()
        found = await context.store.deliveries.get(guid[:64])
        if found is None:
            abort(404, "there is no such delivery")
        return found

    @blueprint.get("/deliveries")
    async def deliveries() -> str | Response:
        """List deliveries, newest first, in one `state` or any. `before` is the `next` of the previous page."""
        await check_operator()
        state = request.args.get("state") or None
        if state is not None and state not in set(DeliveryState):
            abort(400, f"state is one of {', '.join(sorted(DeliveryState))}")
        before = request.args.get("before") or None
        states = () if state is None else (state,)
        found = await context.store.deliveries.newest(PAGE_SIZE + 1, before, states=states)
        shown = found[:PAGE_SIZE]
        next_page = shown[-1].guid if len(found) > PAGE_SIZE else None
        backlog = await context.backlog()
        if wants_json():
            listed = [_json(each) for each in shown]
            return jsonify(
                {"deliveries": listed, "next": next_page, "backlog": _backlog_json(backlog)}
            )
        query = {"state": state} if state else {}
        return await render_template(
            "deliveries.html",
            deliveries=shown,
            backlog=backlog,
            signs=SIGNS,
            state=state,
            states=sorted(DeliveryState),
            older=urlencode({**query, "before": next_page}) if next_page else None,
            plain=plain,
        )

    @blueprint.get("/deliveries/<guid>")
    async def delivery(guid: str) -> str | Response:
        """Show a delivery, its payload, and those of its runs that the visitor may see."""
        found = await find(guid)
        runs = await visible_runs(context, PAGE_SIZE, delivery=found.guid)
        if wants_json():
            return jsonify({**_json(found), "runs": [run_json(run) for run in runs.items]})
        body = await context.store.deliveries.body(found.guid)
        return await render_template(
            "delivery.html",
            delivery=found,
            signs=SIGNS,
            facts=_json(found),
            runs=view_runs(runs.items),
            payload=await _payload_html(body),
            payload_size=len(body),
            replayable=found.state in REPLAYABLE,
        )

    @blueprint.post("/deliveries/<guid>/replay")
    async def replay(guid: str) -> Response | AnyResponse:
        """Replay a delivery that failed or was set aside."""
        found = await find(guid)
        if not await context.inbox.replay(found.guid):
            abort(409, "only a delivery that failed or was set aside can be replayed")
        if wants_json():
            return jsonify({"done": True})
        return redirect(f"/deliveries/{found.guid}", 303)

    return blueprint


def _json(delivery: Delivery) -> dict[str, Any]:
    return {
        "guid": delivery.guid,
        "event": delivery.event,
        "action": delivery.action,
        "repository": delivery.repository,
        "head_sha": delivery.head_sha,
        "sender": delivery.sender,
        "received_at": instant(delivery.received_at),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "failures": delivery.failures,
        "postponed": delivery.postponed,
        "tried_again_at": instant(delivery.not_before) or None,
        "note": plain(delivery.error) if delivery.error else None,
    }


def _backlog_json(backlog: BacklogReport) -> dict[str, Any]:
    return {
        "deliveries": backlog.deliveries,
        "seconds_left": backlog.seconds_left,
        "repositories": [
            {**asdict(each), "oldest_at": instant(each.oldest_at)} for each in backlog.repositories
        ],
        "budgets": [asdict(each) for each in backlog.budgets],
    }


async def _payload_html(body: bytes) -> str | None:
    """Return a payload as highlighted JSON, or None if it is too long to show."""

    def highlighted() -> str | None:
        try:
            text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return None
        return json_html(text)

    return None if len(body) > MAX_JSON else await trio.to_thread.run_sync(highlighted)

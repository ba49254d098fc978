"""What GitHub sent, what became of it, and once more: for operators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import trio
from quart import Blueprint, Response, abort, jsonify, redirect, render_template, request

from bassloop.store import DELIVERY_STATES
from bassloop.web import presentation
from bassloop.web.guard import may_operate, visible_runs, who_asks
from bassloop.web.pages.runs_page import viewed
from bassloop.web.pages.thunk_tree import JSON_SIZE, coloured_json
from bassloop.web.responses import wants_json

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

    from bassloop.store import Delivery
    from bassloop.web.context import WebContext

PAGE_SIZE = 50
SIGNS = {
    "received": ("○", "waits"),
    "handling": ("●", "runs"),
    "held": ("!", "warn"),
    "done": ("✓", "ok"),
    "ignored": ("–", "waits"),
    "failed": ("✕", "bad"),
    "set_aside": ("✕", "bad"),
}
REPLAYED = frozenset({"failed", "set_aside"})
"""What can be handled anew."""


def routes(context: WebContext) -> Blueprint:
    """The pages' routes. Who is no operator is told the same of every delivery, known or not."""
    blueprint = Blueprint("deliveries", __name__)

    async def operator() -> None:
        if not may_operate(context, await who_asks(context)):
            abort(403, "deliveries are shown to the loop's operators only (setting OPERATORS)")

    async def known(guid: str) -> Delivery:
        await operator()
        found = await context.store.delivery(guid[:64])
        if found is None:
            abort(404, "there is no such delivery")
        return found

    @blueprint.get("/deliveries")
    async def deliveries() -> str | Response:
        """Deliveries, newest first: 50 a page, of one `state` or any; `before` is an earlier page's
        `next`."""
        await operator()
        state = request.args.get("state") or None
        if state is not None and state not in DELIVERY_STATES:
            abort(400, f"state is one of {', '.join(sorted(DELIVERY_STATES))}")
        before = request.args.get("before") or None
        states = () if state is None else (state,)
        found = await context.store.deliveries(PAGE_SIZE + 1, before, states=states)
        shown = found[:PAGE_SIZE]
        following = shown[-1].guid if len(found) > PAGE_SIZE else None
        if wants_json():
            return jsonify({"deliveries": [_json(each) for each in shown], "next": following})
        asked = {"state": state} if state else {}
        return await render_template(
            "deliveries.html",
            deliveries=shown,
            signs=SIGNS,
            state=state,
            states=sorted(DELIVERY_STATES),
            older=urlencode({**asked, "before": following}) if following else None,
        )

    @blueprint.get("/deliveries/<guid>")
    async def delivery(guid: str) -> str | Response:
        """One delivery: what became of it, its payload, and those of its runs that one may see."""
        found = await known(guid)
        runs = await visible_runs(context, PAGE_SIZE, delivery=found.guid)
        if wants_json():
            made = [presentation.run_json(run) for run in runs.items]
            return jsonify({**_json(found), "runs": made})
        return await render_template(
            "delivery.html",
            delivery=found,
            signs=SIGNS,
            facts=_json(found),
            runs=viewed(runs.items),
            payload=await _payload(found.body),
            replayed=found.state in REPLAYED,
        )

    @blueprint.post("/deliveries/<guid>/replay")
    async def replay(guid: str) -> Response | AnyResponse:
        """Handle a delivery anew that failed or was set aside."""
        found = await known(guid)
        done = await context.inbox.replay(found.guid)
        if not done:
            abort(409, "only a delivery that failed or was set aside is handled anew")
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
        "received_at": presentation.instant(delivery.received_at),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "failures": delivery.failures,
        "postponed": delivery.postponed,
        "tried_again_at": presentation.instant(delivery.not_before) or None,
        "note": presentation.plain(delivery.error) if delivery.error else None,
    }


async def _payload(body: bytes) -> str | None:
    """A payload as HTML; None when it is too long to be looked at."""
    if len(body) > JSON_SIZE:
        return None
    return await trio.to_thread.run_sync(lambda: _coloured(body))


def _coloured(body: bytes) -> str | None:
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return coloured_json(text)

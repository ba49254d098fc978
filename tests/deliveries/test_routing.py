"""The route of each event."""

from __future__ import annotations

from typing import Any

import pytest

from bassloop.deliveries.routing import Route, route_event
from tests.github.made import check_run, check_suite, event_of, payload, pull_request


@pytest.mark.parametrize(
    ("name", "body", "route", "rerun"),
    [
        ("check_suite", check_suite("requested"), Route.HOOK, False),
        ("check_suite", check_suite("rerequested"), Route.HOOK, True),
        ("check_suite", check_suite("completed"), Route.IGNORE, False),
        ("check_run", check_run("rerequested"), Route.HOOK, True),
        ("check_run", check_run("created"), Route.IGNORE, False),
        ("check_run", check_run("completed"), Route.IGNORE, False),
        ("check_run", check_run("completed", app={"id": 99}), Route.HOOK, False),
        ("pull_request", pull_request(fork=True), Route.HOOK, False),
        ("push", payload(ref="refs/heads/main", after="0" * 40), Route.IGNORE, False),
        ("issues", payload(action="opened"), Route.DEFAULT_BRANCH_HOOK, False),
        ("check_run", check_run("requested_action"), Route.BUTTON, False),
        ("check_run", check_run("requested_action", app={"id": 99}), Route.IGNORE, False),
        ("ping", {"zen": "Design for failure."}, Route.LOOP, False),
        ("installation", {"action": "created"}, Route.LOOP, False),
        ("check_suite", {**check_suite(), "installation": None}, Route.IGNORE, False),
        ("check_suite", {**check_suite(), "sender": None}, Route.IGNORE, False),
    ],
)
def test_an_event_is_routed_as_the_table_says(
    name: str, body: dict[str, Any], route: Route, rerun: bool
) -> None:
    routing = route_event(event_of(name, body), app_id=7)
    assert (routing.route, routing.rerun) == (route, rerun)
    assert routing.why


def test_the_reason_names_the_fields_that_an_event_lacks() -> None:
    event = event_of("check_suite", {**check_suite(), "sender": None, "installation": None})
    assert "sender or installation" in route_event(event, app_id=7).why

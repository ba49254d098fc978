"""The doctor's diagnoses: what is right, doubtful or wrong, and how to fix it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bassloop.github import AppInfo, DeliveryAttempt, WebhookConfig
from bassloop.github.app_registration import EVENTS, PERMISSIONS
from bassloop.tools.setup import doctor

INFO = AppInfo(1, "my-loop", "https://github.test/apps/my-loop", PERMISSIONS, EVENTS, 1)
URL = "https://loop.test/integrations/github/events"
NUMBERS = itertools.count(1)


def an_attempt(guid: str, status: int, at: float = 0.0) -> DeliveryAttempt:
    return DeliveryAttempt(next(NUMBERS), guid, "push", None, at, status, redelivery=False)


@pytest.mark.parametrize(
    ("skew", "state"),
    [(0.4, "ok"), (-19, "ok"), (25, "doubtful"), (-25, "doubtful"), (61, "wrong"), (-61, "wrong")],
)
def test_a_clock_may_be_wrong_by_some_seconds(skew: float, state: str) -> None:
    found = doctor.clock(skew)
    assert found.state == state
    if state != "ok":
        assert ("ahead of" if skew > 0 else "behind") in found.text


def test_a_permission_that_is_missing_or_too_small_is_named() -> None:
    granted = {**PERMISSIONS, "checks": "read"}
    del granted["merge_queues"]
    found = doctor.permissions(granted, "the App", "grant them")
    assert found.state == "wrong"
    assert "checks (write), merge_queues (read)" in found.text
    assert doctor.permissions({**PERMISSIONS, "contents": "admin"}, "it", "").state == "ok"


def test_events_that_the_app_is_not_subscribed_to_are_named() -> None:
    some = AppInfo(1, "my-loop", "https://github.test/apps/my-loop", PERMISSIONS, ("push",), 1)
    found = doctor.events(some)
    assert found.state == "wrong"
    assert "merge_group, pull_request" in found.text
    assert doctor.events(INFO).state == "ok"


def test_each_installation_is_checked() -> None:
    sound = {"id": 1, "account": {"login": "octocat"}, "permissions": dict(PERMISSIONS)}
    suspended = {**sound, "account": {"login": "acme"}, "suspended_at": "2026-01-01T00:00:00Z"}
    older = {**sound, "account": None, "permissions": {}, "html_url": "https://github.test/i/1"}
    found = doctor.installations([sound, suspended, older], INFO)
    assert [each.state for each in found] == ["ok", "doubtful", "wrong"]
    assert "acme is suspended" in found[1].text
    assert "https://github.test/i/1" in (found[2].fix or "")
    [nowhere] = doctor.installations([], INFO)
    assert nowhere.state == "wrong"
    assert "https://github.test/apps/my-loop/installations/new" in (nowhere.fix or "")


@pytest.mark.parametrize(
    ("config", "wanted", "signed", "wrong"),
    [
        (WebhookConfig(URL, "json", False, True), URL, True, []),
        (WebhookConfig(URL, "form", False, True), URL, True, ["come as form"]),
        (WebhookConfig("", "json", False, True), URL, True, ["no address"]),
        (WebhookConfig("https://old.test/x", "json", False, True), URL, True, ["old.test"]),
        (WebhookConfig(URL, "json", False, False), URL, True, ["GitHub has no webhook secret"]),
        (WebhookConfig(URL, "json", False, True), URL, False, ["the loop has no webhook secret"]),
    ],
)
def test_the_webhooks_settings_are_compared(
    config: WebhookConfig, wanted: str, signed: bool, wrong: list[str]
) -> None:
    found = doctor.webhook(config, wanted, signed, INFO)
    said = [each for each in found if each.state == "wrong"]
    assert len(said) == len(wrong)
    assert all(part in each.text for part, each in zip(wrong, said, strict=True))
    assert all(each.fix for each in said)


def test_a_webhook_without_tls_or_without_verification_gives_a_warning() -> None:
    plain = doctor.webhook(
        WebhookConfig("http://loop.test/x", "json", False, True), "http://loop.test/x", True, INFO
    )
    assert [each.text for each in plain if each.state == "doubtful"] == [
        "deliveries are sent without TLS"
    ]
    blind = doctor.webhook(WebhookConfig(URL, "json", True, True), URL, True, INFO)
    assert any("does not verify" in each.text for each in blind if each.state == "doubtful")


def test_delivered_events_are_counted_once_whatever_the_attempts() -> None:
    attempts = [an_attempt("a", 202), an_attempt("a", 0), an_attempt("b", 202)]
    found = doctor.deliveries(attempts, now=3600, since=0)
    assert (found.state, found.text) == ("ok", "all 2 deliveries of the last 1 hours arrived")


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (0, "reach it from the internet"),
        (403, "GITHUB_APP_WEBHOOK_SECRET"),
        (415, "application/json"),
        (404, "/integrations/github/events"),
        (413, "25 MB"),
        (502, "log"),
    ],
)
def test_a_failed_newest_delivery_is_reported_with_the_fix(status: int, fix: str) -> None:
    found = doctor.deliveries([an_attempt("a", status), an_attempt("b", 202)], 3600, 0)
    assert found.state == "wrong"
    assert fix in (found.fix or "")
    assert "1 of 2 deliveries" in found.text


def test_a_failed_older_delivery_gives_a_warning() -> None:
    found = doctor.deliveries([an_attempt("a", 202), an_attempt("b", 500)], 3600, 0)
    assert found.state == "doubtful"


def test_no_delivery_at_all_gives_a_warning() -> None:
    assert doctor.deliveries([], 3600, 0).state == "doubtful"


@pytest.mark.parametrize(("left", "state"), [(0, "wrong"), (499, "doubtful"), (500, "ok")])
def test_the_rate_limit_is_judged_by_the_requests_left(left: int, state: str) -> None:
    core: dict[str, Any] = {"limit": 5000, "remaining": left, "reset": 1800}
    assert doctor.rate_limit({"resources": {"core": core}}, 0).state == state


def test_the_fix_for_the_device_flow_names_the_owners_page() -> None:
    assert doctor.device_flow({"device_code": "x"}, INFO).state == "ok"
    off = doctor.device_flow({"error": "device_flow_disabled"}, INFO)
    assert off.state == "doubtful"
    assert "https://github.test/settings/apps/my-loop" in (off.fix or "")
    acme = AppInfo(1, "x", "https://ghe.test/github-apps/x", {}, (), 0, organization="acme")
    off = doctor.device_flow({"error": "device_flow_disabled"}, acme)
    assert "https://ghe.test/organizations/acme/settings/apps/x" in (off.fix or "")
    assert doctor.device_flow({"error": "Not Found"}, acme).state == "wrong"

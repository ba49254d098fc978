"""Metrics match what happened: in a whole loop, over HTTP, as Prometheus reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.loop.test_whole_path import tried

if TYPE_CHECKING:
    from tests.repositories import MakeRepository

DOCS = Path(__file__).parents[2] / "docs"
CHECKS = """
:good (on src ($ sh -c "echo twelve bytes"))
:bad (on src ($ sh -c "exit 3"))
"""


async def scraped(url: str, **headers: str) -> dict[tuple[str, ...], float]:
    """The samples, by name and labels' values."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(url, headers=headers)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_a_delivery_is_counted_in_the_metrics(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(CHECKS), settings={"metrics_listen": "127.0.0.1:0"}) as trial:
        assert trial.daemon.metrics_url is not None
        now = await scraped(trial.daemon.metrics_url)
    assert now["bassloop_deliveries_answered_total", "check_suite", "202"] == 1
    assert now["bassloop_deliveries_handled_total", "check_suite", "done"] == 1
    assert now["bassloop_deliveries", "received"] == 0
    assert now["bassloop_delivery_oldest_waiting_seconds",] == 0
    assert now["bassloop_hooks_ended_total", "done"] == 1
    assert now["bassloop_runs_ended_total", "succeeded"] == 1
    assert now["bassloop_runs_ended_total", "failed"] == 1
    assert now["bassloop_run_seconds_count",] == 2
    assert now["bassloop_run_seconds_bucket", "+Inf"] == 2
    assert now["bassloop_runs", "running"] == 0
    assert now["bassloop_runtimes",] == 1
    assert now["bassloop_rpcs_ended_total", "Run", "ok"] == 1
    assert now["bassloop_log_bytes_total",] >= len("twelve bytes\n")
    assert now["bassloop_store_write_seconds_count",] >= now["bassloop_store_commits_total",] > 0
    assert now["bassloop_github_answers_total", "201"] > 0
    assert now["bassloop_lag_seconds_count",] > 0
    assert now["bassloop_tasks",] > 5
    assert now["process_open_fds",] > 5
    assert sum(name == "bassloop_build_info" for name, *_ in now) == 1


async def test_refused_webhooks_are_not_counted_under_names_that_senders_chose(
    make_repository: MakeRepository,
) -> None:
    async with tried(make_repository(CHECKS), settings={"metrics_token": "s3cret"}) as trial:
        where = trial.daemon.local_url
        async with httpx.AsyncClient() as client:
            for name in ("push", "x" * 60):
                headers = {
                    "X-GitHub-Event": name,
                    "X-GitHub-Delivery": name,
                    "Content-Type": "application/json",
                }
                await client.post(f"{where}/integrations/github/events", headers=headers)
            nobody = await client.get(f"{where}/metrics")
            wrong = await client.get(f"{where}/metrics", headers={"authorization": "Bearer no"})
        assert (nobody.status_code, wrong.status_code) == (401, 401)
        now = await scraped(f"{where}/metrics", authorization="Bearer s3cret")
    assert now["bassloop_deliveries_answered_total", "", "401"] == 2
    events = {key[1] for key in now if key[0] == "bassloop_deliveries_answered_total"}
    assert events == {"", "check_suite"}


async def test_without_a_token_the_pages_show_no_metrics(make_repository: MakeRepository) -> None:
    async with tried(make_repository(CHECKS)) as trial, httpx.AsyncClient() as client:
        answer = await client.get(f"{trial.daemon.local_url}/metrics")
        ready = await client.get(f"{trial.daemon.local_url}/ready")
    assert answer.status_code == 404
    assert "METRICS_TOKEN is not set" in answer.text
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


OF_NODES = {"bassloop_nodes", "bassloop_notification_gaps_total"}
"""Metrics of a loop that has several nodes."""


async def test_the_dashboard_uses_existing_metrics(
    make_repository: MakeRepository,
) -> None:
    limits = {"x-ratelimit-remaining": "4999", "x-ratelimit-reset": "9999999999"}
    async with tried(make_repository(CHECKS), settings={"metrics_listen": "127.0.0.1:0"}) as trial:
        for pacer in trial.daemon.loop.github.api._pacers.values():
            pacer.update(limits)
        assert trial.daemon.metrics_url is not None
        there = {name for name, *_ in await scraped(trial.daemon.metrics_url)}
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    expressions = [each["expr"] for panel in dashboard["panels"] for each in panel["targets"]]
    expressions += [each["expr"] for each in dashboard["annotations"]["list"]]
    asked = set(re.findall(r"\b(?:bassloop|process)_\w+", " ".join(expressions)))
    assert asked
    assert asked - OF_NODES <= there


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_a_node_reports_the_number_of_others_and_the_readiness_of_each_part(
    make_repository: MakeRepository, location: str
) -> None:
    settings = {"metrics_listen": "127.0.0.1:0", "database_url": location}
    async with tried(make_repository(CHECKS), settings=settings) as trial:
        assert trial.daemon.metrics_url is not None
        there = await scraped(trial.daemon.metrics_url)
        assert there["bassloop_nodes", "alive"] == 1
        assert there["bassloop_nodes", "lost"] == 0
        assert {name for name, *_ in there} >= OF_NODES
        async with httpx.AsyncClient() as client:
            some = await client.get(f"{trial.daemon.local_url}/ready?only=store,inbox")
            none = await client.get(f"{trial.daemon.local_url}/ready?only=weather")
        assert (some.status_code, set(some.json()["parts"])) == (200, {"store", "inbox"})
        assert none.status_code == 400

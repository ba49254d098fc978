"""Metrics for Prometheus, made of the parts' own statistics on each scrape.

There is no global registry, and nothing is counted twice: a scrape reads the parts' statistics and a few indexes of
the database. Counters start at zero with the process.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bassloop import __version__
from bassloop.github import Purpose, purpose_name
from bassloop.store import reads_fail_fast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from bassloop.checks.loop_state import LoopState
    from bassloop.daemon.stalled_requests import SlowReaders
    from bassloop.deliveries.backlog import Backlog
    from bassloop.deliveries.inbox import Inbox
    from bassloop.store import Figures, NodeRecord
    from bassloop.telemetry.counters import Histogram, Tally
    from bassloop.telemetry.watchdog import Heart
    from bassloop.web.websocket_limits import WebsocketLimits

PREFIX = "bassloop_"

STATES = ("alive", "draining", "lost")
"""The states of nodes."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of a daemon, collected on each scrape."""

    loop: LoopState
    inbox: Inbox
    heart: Heart
    backlog: Backlog
    websockets: WebsocketLimits
    slow_readers: SlowReaders

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that `accept` prefers, and its content type. Raises StoreError."""
        with reads_fail_fast():
            figures = await self.loop.store.figures()
            nodes = Counter(_node_state(each) for each in await self.loop.store.nodes.all())
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Scrape(self, figures, nodes))
        ProcessCollector(registry=registry)
        encoder, content_type = choose_encoder(accept)
        return encoder(registry), content_type


@dataclass(frozen=True, eq=False)
class _Scrape(Collector):
    """The metrics of one scrape."""

    metrics: Metrics
    figures: Figures
    nodes: Counter[str]

    def collect(self) -> Iterator[Metric]:
        return itertools.chain(
            self._deliveries(), self._work(), self._store(), self._github(), self._daemon()
        )

    def _deliveries(self) -> Iterator[Metric]:
        inbox, figures = self.metrics.inbox, self.figures
        yield _counter(
            "deliveries_answered",
            "Deliveries by HTTP status; the event is empty unless the signature was right.",
            ("event", "status"),
            inbox.answers,
        )
        yield _counter(
            "deliveries_handled",
            "Attempts to handle a delivery, by how they ended.",
            ("event", "outcome"),
            inbox.outcomes,
        )
        yield _gauges("deliveries", "Deliveries not ended, by state.", "state", figures.deliveries)
        since = figures.oldest_waiting_at
        waited = 0.0 if since is None else max(time.time() - since, 0.0)
        yield _gauge("delivery_oldest_waiting_seconds", "Age of the oldest one waiting.", waited)
        left = inbox.pace.seconds_for(sum(figures.deliveries.values()), trio.current_time())
        if left is not None:
            about = "Time until all are through, at the pace of the last minutes."
            yield _gauge("deliveries_through_seconds", about, left)

    def _work(self) -> Iterator[Metric]:
        loop = self.metrics.loop
        yield from _tally("hook", "Hooks, with the checks they waited for", loop.hook_tally)
        yield from _tally("run", "Runs", loop.run_tally)
        yield _gauges("runs", "Runs not ended, by state.", "state", self.figures.runs)
        now = loop.pool.statistics()
        yield _gauge("runtimes", "Runtimes connected.", now["runtimes"])
        yield _gauge("runtime_users", "Users who have one connected.", now["users"])
        yield _gauge("runtime_waiting", "Checks and hooks that wait for one.", now["waiting"])
        yield _total("runtimes_registered", "Runtimes that connected.", now["registered"])
        yield _gauge("rpcs", "Calls to runners under way.", now["calls"])
        yield _counter(
            "rpcs_ended",
            "Calls to runners, by how they ended: ok, left, lost, or gRPC's status.",
            ("method", "outcome"),
            loop.pool.outcomes(),
        )

    def _store(self) -> Iterator[Metric]:
        store, figures = self.metrics.loop.store.statistics(), self.figures
        yield _total("log_bytes", "Bytes of log received.", store.log_bytes)
        yield _gauge("logs_open", "Logs being written.", store.open_logs)
        yield _gauge("log_waiting_bytes", "Bytes of log not written yet.", store.log_bytes_waiting)
        yield _histogram(
            "store_write_seconds",
            "Writes to the database, from being asked for to being committed.",
            store.writer.seconds,
        )
        yield _total("store_commits", "Commits, each of one write or more.", store.writer.batches)
        yield _gauge("store_writes_waiting", "Writes not committed yet.", store.writer.waiting)
        yield _gauge("store_database_bytes", "Size of the database.", figures.database_bytes)
        if self.nodes:
            about = "Nodes that share the database, by state."
            yield _gauges("nodes", about, "state", {state: self.nodes[state] for state in STATES})
            notifications = self.metrics.loop.store.notifications
            about = "Notifications of nodes that came."
            yield _total("notifications", about, notifications.heard)
            about = "Times that some may have been lost."
            yield _total("notification_gaps", about, notifications.gaps)
        yield _gauge("store_free_bytes", "Disk left where logs are.", figures.free_bytes)
        if (bucket := store.shipping) is not None:
            yield _gauge(
                "bucket_waiting_bytes",
                "Bytes of log that aren't in the bucket.",
                bucket.waiting_bytes,
            )
            yield _gauge("bucket_waiting_logs", "Logs not complete in the bucket.", bucket.logs)
            yield _total("bucket_objects", "Objects stored in the bucket.", bucket.objects)
            yield _total("bucket_bytes", "Bytes stored in the bucket.", bucket.bytes)
            yield _total("bucket_failures", "Requests to the bucket that failed.", bucket.failures)
            yield _gauge(
                "bucket_failing_seconds",
                "For how long nothing could be stored.",
                bucket.failing_seconds,
            )
            yield _gauge("bucket_cache_bytes", "Size of the cache.", bucket.cache_bytes)

    def _github(self) -> Iterator[Metric]:
        github = self.metrics.loop.github
        now, left = github.statistics(), github.api.rate_limit_left()
        answers = {(str(status or "none"),): many for status, many in github.api.answers.items()}
        yield _counter(
            "github_answers", "Calls by HTTP status, none without an answer.", ("status",), answers
        )
        yield _gauge("github_asking", "Calls under way.", now["asking"])
        yield _gauge("github_waiting", "Calls that wait for their turn.", now["waiting"])
        if left is not None:
            yield _gauge(
                "github_rate_limit_left", "Calls left, for the credential with the fewest.", left
            )
        budgets = self.metrics.backlog.budgets()
        spent, waiting = Counter[str](), Counter[str]()
        for budget in budgets:
            spent.update(budget.spent)
            waiting.update(budget.waiting)
        purposes = [purpose_name(purpose) for purpose in Purpose]
        for purpose in purposes:
            spent[purpose] += 0
            waiting[purpose] += 0
        about = "Points of GitHub's rate limit that were spent in the last minute, by purpose."
        yield _gauges("github_points_spent", about, "purpose", spent)
        about = "Calls that wait for points, by purpose."
        yield _gauges("github_points_waiting", about, "purpose", waiting)
        closed = max((budget.closed_seconds for budget in budgets), default=0.0)
        about = (
            "Time during which GitHub accepts no new work, for the credential that waits longest."
        )
        yield _gauge("github_closed_seconds", about, closed)

    def _daemon(self) -> Iterator[Metric]:
        tasks = trio.lowlevel.current_statistics().tasks_living
        yield _histogram(
            "lag_seconds", "How late a task is that wants to run.", self.metrics.heart.lag
        )
        watchdog = self.metrics.heart.watchdog
        yield _counter(
            "holds",
            "Steps of a task that held the loop over 100 ms, by kind: computing or waiting.",
            ("kind",),
            {(kind,): many for kind, many in watchdog.count.items()},
        )
        yield _gauges("longest_hold_seconds", "The longest of them.", "kind", watchdog.longest)
        yield _gauge("tasks", "Tasks of Trio living.", tasks)
        yield _gauge("websockets", "Pages that follow something.", self.metrics.websockets.open)
        refused = self.metrics.websockets.refused
        yield _total("websockets_refused", "Pages that were one too many.", refused)
        slow = self.metrics.slow_readers
        yield _counter(
            "slow_readers",
            "Connections and HTTP/2 streams that ended because nothing could be sent for too long.",
            ("ended",),
            {("connection",): slow.connections, ("stream",): slow.responses},
        )
        about = InfoMetricFamily(f"{PREFIX}build", "What runs.")
        about.add_metric((), {"version": __version__})
        yield about


def _node_state(node: NodeRecord) -> str:
    if not node.alive:
        return "lost"
    return "draining" if node.draining else "alive"


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, about, value)


def _total(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, about, value)


def _gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, about: str, labels: Iterable[str], values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, about, labels=list(labels))
    for key, value in values.items():
        family.add_metric([str(part) for part in key], value)
    return family


def _histogram(name: str, about: str, seconds: Histogram) -> Metric:
    bounds = [*map(str, seconds.bounds), "+Inf"]
    buckets = list(zip(bounds, itertools.accumulate(seconds.buckets), strict=True))
    return HistogramMetricFamily(PREFIX + name, about, buckets=buckets, sum_value=seconds.sum)


def _tally(name: str, about: str, tally: Tally) -> Iterator[Metric]:
    ended = {(outcome,): many for outcome, many in tally.outcomes.items()}
    yield _counter(f"{name}s_ended", f"{about}, by how they ended.", ("outcome",), ended)
    yield _histogram(f"{name}_seconds", f"{about}: how long they took.", tally.seconds)

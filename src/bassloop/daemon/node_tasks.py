"""The tasks of one of several nodes: taking over from others, and answering their requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from bassloop.checks.conclude import cancel_anywhere
from bassloop.checks.handed_over_checks import run_handed_over
from bassloop.checks.recovery import conclude_taken_over, interrupt_taken_over
from bassloop.concurrency import AutoResetEvent
from bassloop.github import User
from bassloop.github.api_budget import WINDOW_SECONDS
from bassloop.lifecycle import DELIVERY_UNFINISHED
from bassloop.store import RequestKind, Topic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from bassloop.checks.loop_state import LoopState
    from bassloop.deliveries.inbox import Inbox
    from bassloop.github.rest_client import RestClient
    from bassloop.runtimes import Pool
    from bassloop.store import NodeRequest, Store
    from bassloop.store.liveness import Cluster

log = structlog.get_logger(__name__)

_REQUIRED_FIELDS: Final[Mapping[str, AbstractSet[str]]] = {
    RequestKind.HANDLE: {"delivery"},
    RequestKind.HAND_OVER: {"run"},
    RequestKind.CANCEL: {"run", "why", "end"},
}
"""The fields that a request must have. While nodes are upgraded, requests of other versions arrive, too."""


async def keep_taking_over(loop: LoopState, inbox: Inbox) -> None:
    """Take over the work of nodes that have ended, were lost, or drain, until cancelled."""
    store = loop.store
    async with trio.open_nursery() as nursery:
        while True:
            await store.others_ended.wait()
            if not inbox.is_running:
                continue
            left = await store.nodes.take_over()
            if left.nodes or left.deliveries or left.runs:
                log.warning(
                    "taken over",
                    nodes=left.nodes,
                    deliveries=len(left.deliveries),
                    runs=len(left.runs),
                )
            if left.nodes:
                inbox.fetch_soon.set()
            inbox.queue_taken_over(left.deliveries)
            own = [run for run in left.runs if run.node == store.nodes.own_id]
            await interrupt_taken_over(loop, own)
            await store.logs.repair({run.id for run in own})
            nursery.start_soon(conclude_taken_over, loop, own)


async def keep_handling_requests(
    loop: LoopState, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Handle other nodes' requests until cancelled."""
    store, requested = loop.store, AutoResetEvent()

    def apply_notification(node: str | None) -> None:
        if node in (None, store.nodes.own_id):
            requested.set()

    store.notifications.subscribe(Topic.REQUESTS, apply_notification)
    task_status.started()
    async with trio.open_nursery() as nursery:
        while True:
            requests = await store.requests.all()
            for request in requests:
                await _handle_request(loop, inbox, request, nursery)
            if requests:
                await store.requests.remove([request.id for request in requests])
            await requested.wait()


async def _handle_request(
    loop: LoopState, inbox: Inbox, request: NodeRequest, nursery: trio.Nursery
) -> None:
    store, fields = loop.store, _REQUIRED_FIELDS.get(request.kind)
    if fields is None or not fields <= request.body.keys():
        log.warning(
            "request of another version not understood",
            kind=request.kind,
            fields=sorted(request.body),
        )
        return
    match request.kind:
        case RequestKind.HANDLE:
            delivery = await store.deliveries.get(request.body["delivery"])
            is_own = delivery is not None and delivery.node == store.nodes.own_id
            if delivery is not None and is_own and delivery.state in DELIVERY_UNFINISHED:
                inbox.queue_taken_over([delivery])
        case RequestKind.HAND_OVER:
            nursery.start_soon(run_handed_over, loop, request.body)
        case RequestKind.CANCEL:
            run, why = await store.runs.get(request.body["run"]), request.body["why"]
            if run is not None and not run.ended:
                await cancel_anywhere(loop, run, why, end=bool(request.body["end"]))


async def keep_approving(
    loop: LoopState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Let active checks of a head use the runners of somebody who has approved it on another node."""
    store, approved = loop.store, AutoResetEvent()
    store.notifications.subscribe(Topic.APPROVALS, lambda _: approved.set())
    task_status.started()
    while True:
        await approved.wait()
        for head in list(loop.active_heads):
            if head.choice.fork and head.choice.approver is None:
                approval = await store.heads.approval(head.repository_id, head.sha)
                if approval is not None:
                    by = User(approval.user_id, "", approval.login)
                    loop.approve_active(head.repository_id, head.sha, by)


async def keep_sharing_limits(cluster: Cluster, api: RestClient) -> None:
    """Divide among the nodes what they can't spend from a common budget, until cancelled.

    A node that is gone still counts for a minute, because it may have requests under way.
    """
    sharing = 1
    while True:
        while cluster.size == sharing:
            await cluster.changed()
        with trio.move_on_after(WINDOW_SECONDS):
            while cluster.size < sharing:
                await cluster.changed()
        if cluster.size != sharing:
            sharing = cluster.size
            api.share(sharing)
            log.info("GitHub's limits shared", nodes=sharing)


async def hand_over(store: Store, pool: Pool, stopping: trio.Event) -> None:
    """Once this node drains, let other nodes have its waiting deliveries and its idle runners.

    Runners stay while there is no node that they could go to.
    """
    await stopping.wait()
    await store.nodes.note_draining()
    while not store.cluster.successors:
        await store.cluster.changed()
    pool.dismiss_idle()

"""Handing a check over to another node, to which a runner that may run it is connected."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.checks.loop_state import CheckHandle, LoopState
    from bassloop.store import Run

log = structlog.get_logger(__name__)


class HandledElsewhere(Exception):
    """Another node has ended a check's run, or has taken it back."""


@dataclass(frozen=True, slots=True)
class HandoverRequest:
    """A node's request to another one to run a check of a delivery.

    Args:
        event: the event's name and action; the loop's own buttons are events, too.
        head: the event's head; the default branch's if the event has none.
        hook_sha: the commit that the hook was read from.
        limit: the check's time limit in seconds, if it's shorter than the policy's.
        trusted: whether only a trusted runner may run it.
        sources: the runs whose artifacts it uses, by the names of their checks.
        verification: the run that verifies it.
        earlier: the run that it is to confirm.
    """

    event: str
    action: str | None
    head: str
    hook_sha: str
    rerun: bool
    rerun_of: str | None
    limit: float | None
    trusted: bool
    sources: Mapping[str, str] = field(default_factory=dict)
    verification: str | None = None
    earlier: str | None = None

    def to_body(self) -> dict[str, str]:
        """Return the body of a request between nodes."""
        return {"check": json.dumps(asdict(self))}

    @classmethod
    def from_body(cls, body: Mapping[str, str]) -> HandoverRequest:
        """Parse the result of `to_body`."""
        return cls(**json.loads(body["check"]))


def handover_request(
    context: DeliveryContext,
    *,
    limit: float | None,
    trusted: bool,
    sources: Mapping[str, CheckHandle],
    verification: CheckHandle | None,
    earlier: Run | None,
) -> HandoverRequest:
    """Return the request for another node to run a check of a delivery."""
    return HandoverRequest(
        event=context.event.name,
        action=context.event.action,
        head=context.head.sha,
        hook_sha=context.hook_sha,
        rerun=context.rerun,
        rerun_of=context.rerun_of,
        limit=limit,
        trusted=trusted,
        sources={name: handle.run.id for name, handle in sources.items()},
        verification=None if verification is None else verification.run.id,
        earlier=None if earlier is None else earlier.id,
    )


async def hand_over(loop: LoopState, run_id: str, node: str, request: HandoverRequest) -> None:
    """Hand a run over to another node, and wait until it has come back. That node isn't chosen again for a while.

    Raises HandledElsewhere if the run has ended there.
    """
    if await loop.store.runs.hand_over(run_id, node, request.to_body()):
        log.info("run handed over", node=node)
        if (await loop.other_runs.wait_for(run_id)).ended:
            raise HandledElsewhere
        log.info("run came back", node=node)
    loop.other_runtimes.refuse(node)

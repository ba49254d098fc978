"""What a node has to know of a check to carry it out for another one, which handles its delivery."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.checks.context import DeliveryContext
    from bassloop.checks.loop import CheckHandle
    from bassloop.store import Run


class CarriedElsewhere(Exception):
    """Another node has ended a check's run, or has it again."""


@dataclass(frozen=True, slots=True)
class CarryRequest:
    """What a delivery has found out about one of its checks.

    Args:
        event: the event's name, and what is done: the loop's own buttons are like other events.
        head: the event's head, which is the default branch's if the event names none.
        hook_sha: the commit that the hook was read from.
        limit: seconds that the check may run, if that is less than the policy's.
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
    def from_body(cls, body: Mapping[str, str]) -> CarryRequest:
        """Return what `to_body` has made a body of."""
        return cls(**json.loads(body["check"]))


def request_to_carry(
    context: DeliveryContext,
    *,
    limit: float | None,
    trusted: bool,
    sources: Mapping[str, CheckHandle],
    verification: CheckHandle | None,
    earlier: Run | None,
) -> CarryRequest:
    """Return what another node has to know of a check of a delivery."""
    return CarryRequest(
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

"""From a delivery to the end of its checks.

    inbox ─► delivery ─► hook ─► checks ─► recorder ─► store
                                              └─────► tail

:mod:`events` says what an event leads to and :mod:`whose` on whose runtimes; both are pure, as is
:mod:`report`, which words what a check run says.
"""

from __future__ import annotations

from bassloop.dispatch.allowance import Allowance
from bassloop.dispatch.control import CantSay, Control, NotAllowed
from bassloop.dispatch.delivery import handle_delivery
from bassloop.dispatch.inbox import Answer, Inbox, Outcome, Turn
from bassloop.dispatch.loop import Limits, Loop
from bassloop.dispatch.outputs import Busy, NoOutput, Output, Outputs
from bassloop.dispatch.permissions import Permissions, at_least
from bassloop.dispatch.tail import Following, Tail

__all__ = [
    "Allowance",
    "Answer",
    "Busy",
    "CantSay",
    "Control",
    "Following",
    "Inbox",
    "Limits",
    "Loop",
    "NoOutput",
    "NotAllowed",
    "Outcome",
    "Output",
    "Outputs",
    "Permissions",
    "Tail",
    "Turn",
    "at_least",
    "handle_delivery",
]

"""The states of a delivery, a run, a check run and a step, and every transition between them.

Four things live side by side, each with a row of its own in the database:

- A **delivery** is a webhook that GitHub sent. It is stored before it is answered, and handled once,
  in the order of its head. Handling it may be given up and begun again; being *done* it never is.
- A **run** is one attempt to run a thunk for a check, on somebody's runner. Its end is final: whoever
  wants it again gets a new run.
- A **check run** is what GitHub shows for a run. It is *intended* in the database before GitHub is
  asked to create it, so that a crash leaves something to continue from, and it is *concluded* only
  when GitHub has taken the conclusion.
- A **step** is a part of a run that the runner reports, with a log of its own. The runner owns its
  times and its error; the log's state is ours.

Two rules hold for all of them:

1. A state changes by an event of the table below, or not at all. The store's writes are conditional
   on the state before, so two tasks that race make one transition and one refusal.
2. A final state is never left, with one exception that the table shows: a delivery is handled anew
   when somebody who may asks for it.

The tables are data. The store refuses what they don't allow, the pages and the command line take
their words from here, and the diagrams in the documentation are drawn from them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class DeliveryState(StrEnum):
    """The state of a delivery."""

    RECEIVED = "received"
    """Stored, answered with 202, and waiting for its slot, its time, or another attempt."""
    HANDLING = "handling"
    """Its hook is being evaluated, or its checks are running."""
    HELD = "held"
    """It waits until somebody who may write approves its head."""
    DONE = "done"
    IGNORED = "ignored"
    """There was nothing to do for it."""
    FAILED = "failed"
    """It can't be handled: its payload or its repository is at fault."""
    SET_ASIDE = "set_aside"
    """It failed too often; an operator may have it handled anew."""


class RunState(StrEnum):
    """The state of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    """The loop or the runner was lost in the middle; it is never restarted in silence."""
    ACTION_REQUIRED = "action_required"
    """Nobody's runner may run it, or none came: a person has to do something."""
    NEUTRAL = "neutral"
    """There was nothing to run, which is no failure."""


class CheckState(StrEnum):
    """The state of a check run on GitHub, as far as the loop knows."""

    INTENDED = "intended"
    OPEN = "open"
    CONCLUDED = "concluded"


class LogState(StrEnum):
    """The state of a step's log."""

    NONE = "none"
    OPEN = "open"
    CLOSED = "closed"
    CUT = "cut"
    """The loop ended while it was being written. What came later is lost, and the page says so."""


class Transition(NamedTuple):
    """A transition from one state to another.

    Args:
        before: the state before; None for the first.
        event: what happens, in words.
        by: the module that makes the transition, below `bassloop`.
    """

    before: StrEnum | None
    after: StrEnum
    event: str
    by: str


_D, _R, _C, _L = DeliveryState, RunState, CheckState, LogState

DELIVERY = (
    Transition(None, _D.RECEIVED, "GitHub delivers it", "deliveries.inbox"),
    Transition(_D.RECEIVED, _D.HANDLING, "its slot comes", "deliveries.inbox"),
    Transition(_D.HANDLING, _D.HANDLING, "the loop restarts and resumes it", "deliveries.inbox"),
    Transition(
        _D.HANDLING,
        _D.RECEIVED,
        "GitHub is out of reach, it failed, or the loop drains",
        "deliveries.inbox",
    ),
    Transition(_D.RECEIVED, _D.RECEIVED, "another attempt is put off", "deliveries.inbox"),
    Transition(_D.RECEIVED, _D.IGNORED, "an operator skips it", "cli.deliveries"),
    Transition(_D.HANDLING, _D.DONE, "its hook and all its checks are over", "deliveries.inbox"),
    Transition(_D.HANDLING, _D.HELD, "its head needs an approval", "deliveries.inbox"),
    Transition(_D.HANDLING, _D.IGNORED, "no hook runs for it", "deliveries.inbox"),
    Transition(_D.HANDLING, _D.FAILED, "it can't be read", "deliveries.inbox"),
    Transition(
        _D.HANDLING,
        _D.SET_ASIDE,
        "the loop crashed too often while handling it",
        "deliveries.inbox",
    ),
    Transition(
        _D.RECEIVED, _D.SET_ASIDE, "it failed or was postponed too often", "deliveries.inbox"
    ),
    Transition(_D.HELD, _D.RECEIVED, "its head is approved", "checks.user_actions"),
    Transition(
        _D.DONE,
        _D.RECEIVED,
        "its head is approved, and its checks had waited for that",
        "checks.user_actions",
    ),
    Transition(
        _D.FAILED, _D.RECEIVED, "GitHub or an operator delivers it again", "deliveries.inbox"
    ),
    Transition(
        _D.SET_ASIDE, _D.RECEIVED, "GitHub or an operator delivers it again", "deliveries.inbox"
    ),
)

RUN = (
    Transition(None, _R.QUEUED, "a hook starts a check", "checks.check"),
    Transition(_R.QUEUED, _R.RUNNING, "a runner takes it", "checks.check"),
    Transition(_R.RUNNING, _R.QUEUED, "its runner is lost before it was asked", "checks.check"),
    Transition(_R.RUNNING, _R.SUCCEEDED, "its command succeeds", "checks.check"),
    Transition(
        _R.QUEUED,
        _R.SUCCEEDED,
        "the loop's own check, which runs nothing, is right",
        "checks.notices",
    ),
    Transition(_R.RUNNING, _R.FAILED, "its command fails", "checks.check"),
    Transition(_R.QUEUED, _R.FAILED, "the hook fails, or the loop can't run it", "checks.notices"),
    Transition(
        _R.QUEUED, _R.CANCELLED, "somebody cancels it, or a newer head replaces it", "checks.check"
    ),
    Transition(
        _R.RUNNING, _R.CANCELLED, "somebody cancels it, or a newer head replaces it", "checks.check"
    ),
    Transition(_R.RUNNING, _R.TIMED_OUT, "it takes longer than its limit", "checks.check"),
    Transition(_R.QUEUED, _R.TIMED_OUT, "it takes longer than its limit", "checks.check"),
    Transition(_R.RUNNING, _R.INTERRUPTED, "the runner or the loop is lost", "checks.check"),
    Transition(_R.QUEUED, _R.INTERRUPTED, "its delivery is set aside", "checks.recovery"),
    Transition(
        _R.QUEUED, _R.ACTION_REQUIRED, "nobody's runner may run it, or none comes", "checks.check"
    ),
    Transition(
        _R.RUNNING, _R.ACTION_REQUIRED, "the runner that had it may not run it", "checks.check"
    ),
    Transition(_R.QUEUED, _R.NEUTRAL, "there is no hook", "checks.notices"),
)

CHECK = (
    Transition(None, _C.INTENDED, "a run is recorded for it", "checks.check"),
    Transition(_C.INTENDED, _C.OPEN, "GitHub created it", "checks.check"),
    Transition(_C.OPEN, _C.OPEN, "its id is bound again after a crash", "checks.check"),
    Transition(_C.OPEN, _C.CONCLUDED, "GitHub took its conclusion", "checks.conclude"),
    Transition(_C.INTENDED, _C.CONCLUDED, "GitHub will not have it", "checks.recovery"),
)

LOG = (
    Transition(None, _L.NONE, "the runner reports the step", "checks.recorder"),
    Transition(_L.NONE, _L.OPEN, "its first bytes come", "checks.recorder"),
    Transition(_L.OPEN, _L.CLOSED, "the step is over", "checks.recorder"),
    Transition(_L.OPEN, _L.CUT, "the loop ended while it was being written", "store.logs.logs"),
    Transition(_L.CLOSED, _L.CLOSED, "a repair rebuilds its index", "store.maintenance.integrity"),
    Transition(
        _L.CLOSED, _L.CUT, "a repair finds a part of it lost", "store.maintenance.integrity"
    ),
    Transition(_L.CUT, _L.CUT, "a repair rebuilds its index", "store.maintenance.integrity"),
)

TABLES = {"delivery": DELIVERY, "run": RUN, "check run": CHECK, "log": LOG}
"""All tables, by the thing whose states they describe."""

DELIVERY_UNFINISHED = frozenset({_D.RECEIVED, _D.HANDLING})
DELIVERY_FINAL = frozenset(DeliveryState) - DELIVERY_UNFINISHED
RUN_UNFINISHED = frozenset({_R.QUEUED, _R.RUNNING})
RUN_FINAL = frozenset(RunState) - RUN_UNFINISHED

_BEFORE: dict[type[StrEnum], dict[StrEnum, set[StrEnum | None]]] = {}
for _table in TABLES.values():
    for _before, _after, _, _ in _table:
        _BEFORE.setdefault(type(_after), {}).setdefault(_after, set()).add(_before)


def allows(before: StrEnum | None, after: StrEnum) -> bool:
    """Return whether there is a transition from a state, or from nothing (None), to another."""
    return before in _BEFORE[type(after)].get(after, ())


def states_before(after: StrEnum) -> frozenset[StrEnum]:
    """Return the states that have a transition to this state."""
    return frozenset(state for state in _BEFORE[type(after)].get(after, ()) if state is not None)


def mermaid(name: str) -> str:
    """Return a table as a Mermaid state diagram.

    Args:
        name: a key of `TABLES`.
    """
    lines = ["stateDiagram-v2"]
    for before, after, event, _ in TABLES[name]:
        lines.append(f"    {before or '[*]'} --> {after}: {event}")
    left = {before for before, after, _, _ in TABLES[name] if before != after}
    for state in dict.fromkeys(transition.after for transition in TABLES[name]):
        if state not in left:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)

"""The bad input of issue 24, one row each: refused or shown as what it is, with the reason, and never green."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.checks.test_statements import KEY, OTHER, list_keys, signing_runner
from tests.checks.test_trusted import (
    BOTH,
    TRUSTED,
    checked,
    open_loop_with_policy,
    output_text,
    trusted_runner,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository


@dataclass(frozen=True)
class Case:
    """What a runner does.

    Args:
        why: what the check says.
        sender: the contributor's runner, where it isn't as it should be; None for a plain one.
        trusted: the trusted one; None if none is connected.
        again: what is different the second time; None for once.
    """

    why: str
    policy: str = ""
    sender: dict[str, Any] | None = None
    trusted: dict[str, Any] | None = None
    again: dict[str, Any] | None = None
    listed: tuple[Any, ...] = (KEY, OTHER)
    conclusion: str = "failure"


def signs(why: str, **changes: Any) -> Case:
    return Case(why, sender={"changes": changes})


CASES = {
    "a runner that signs another's run": signs("another login", login="mallory"),
    "a runner that signs another run": signs("another run", run="another-run"),
    "a runner that signs an old commit": signs("another commit", commit="0" * 40),
    "a runner that signs for another repository": signs("another repository", repository="o/x"),
    "a runner that signs another thunk": signs("another thunk", thunk="0" * 64),
    "a runner that signs a log that differs": signs("a log that differs", log="0" * 64),
    "a runner that signs artifacts that differ": signs(
        "artifacts that differ", artifacts=(("a", "0" * 64),)
    ),
    "a runner that signs that it failed, and passes": signs("the outcome FAILED", result="FAILED"),
    "a runner that signs a time to come": signs("another time", ended_at=250_000_000_000.0),
    "a runner that signs a time before there was any": signs("another time", ended_at=-6e10),
    "a runner that signs that it began long ago": signs("another time", started_at=0.0),
    "a runner that signs that it began after its end": signs("another time", started_at=2e11),
    "a runner that signs with a key since removed": Case(
        "no longer lists the key", sender={}, listed=()
    ),
    "a runner that signs with a key of another login": Case(
        "the runner connected with another", sender={"by": OTHER}
    ),
    "a runner that signs with a key of another login, and GitHub lists only that": Case(
        "no longer lists the key", sender={}, listed=(OTHER,)
    ),
    "a runner that signs for artifacts that it was not given": signs(
        "other artifacts than it was given", given="0" * 64
    ),
    "a runner that answers with nonsense": Case(
        "isn't an SSH signature", sender={"replayed": {"bassloop-statement-bin": "e30"}}
    ),
    "a runner that answers with less": Case(
        "isn't an SSH signature", sender={"replayed": {"bassloop-statement-bin": "%"}}
    ),
    "a statement replayed for a new run": Case("another run", sender={}, again={"replays": True}),
    "a trusted runner that is offline": Case(
        "no trusted runner has verified that", BOTH, sender={}, conclusion="action_required"
    ),
    "a trusted runner that is offline, alone": Case(
        "no trusted runner has run this", TRUSTED, conclusion="action_required"
    ),
    "a trusted runner that says otherwise": Case(
        "differs: it passed on octocat", BOTH, sender={}, trusted={"failure": "exit status 1"}
    ),
    "a trusted runner that signs nothing": Case(
        "has not signed what it ran", TRUSTED, trusted={"silent": True}
    ),
    "a trusted runner that verifies and signs nothing": Case(
        "no trusted runner has verified that: alice's runner for linux/amd64 has not signed",
        BOTH,
        sender={},
        trusted={"silent": True},
        conclusion="action_required",
    ),
    "a trusted runner that fails and signs nothing": Case(
        "no trusted runner has verified that: exit status 1",
        BOTH,
        sender={},
        trusted={"silent": True, "failure": "exit status 1"},
        conclusion="action_required",
    ),
    "a trusted runner that verifies and signs for another login": Case(
        "no trusted runner has verified that: alice's runner for linux/amd64 has signed a statement that is refused",
        BOTH,
        sender={},
        trusted={"changes": {"login": "mallory"}},
        conclusion="action_required",
    ),
    "a trusted runner that answers differently twice": Case(
        "answers differently",
        TRUSTED,
        trusted={"failure": "exit status 1"},
        again={"failure": None},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_bad_input_is_refused_with_the_reason_and_never_makes_a_check_green(
    make_repository: MakeRepository, tmp_path: Path, case: Case
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, case.policy) as loop,
        AsyncExitStack() as stack,
    ):
        list_keys(loop, *case.listed)
        last: Any = None
        for make, options in ((signing_runner, case.sender), (trusted_runner, case.trusted)):
            if options is not None:
                last = await stack.enter_async_context(make(loop, **options))
        check = await checked(loop)
        if case.again is not None:
            if "replays" in case.again:
                last.replayed = dict(last.sent)
            else:
                last.failure = case.again["failure"]
            check = await checked(loop, "again", action="rerequested")
        assert check["conclusion"] == case.conclusion
        runs = (await loop.store.runs.newest()).items
        assert case.why in output_text(check) + "".join(str(run.message) for run in runs)
        if not case.policy:
            record = await loop.store.statements.get(check["external_id"])
            assert record is not None
            assert case.why in str(record.problem)
        assert not [
            run
            for run in runs
            if run.state == "succeeded" and case.again is None and run.check_name == "it"
        ]


# A journal with a row changed: tests/trust/test_journal.py. What is verified later, without the loop:
# tests/loop/test_statements.py.

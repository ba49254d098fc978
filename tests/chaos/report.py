"""The outcome of a trial, in figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """The outcome of a trial.

    Args:
        refused: pushes that no node took.
        lost: accepted deliveries that aren't done, or without a check run.
        doubled: heads with several check runs on GitHub.
        handled_twice: heads with several runs in the store.
        started_twice: commands that began more than once for a head.
        spinning: check runs that aren't concluded.
        log_bytes_lost: of lines that came to their node longer before it was lost than a log may lose.
        log_bytes_lost_at_the_end: of lines that came to their node later than that.
        log_bytes_lost_without_bucket: of lines that came while the bucket was away, to a node that was lost or stopped
            before it could store them.
        log_bytes_not_come: of lines that the runner had, and that weren't on their node's disk when it was lost.
        oldest_lost: how many seconds before the loss of its node a line came that might be lost, at most.
        cut: logs that miss lines which their node had.
        unmarked: those of them that don't say so, on their run's page and on GitHub.
        slowest: the most seconds that a line took from its command to its runner.
        slowest_answer: the most seconds that the bucket took to answer.
        latest: the most seconds that a task of the trial was late.
        crashes: how many nodes ended with a traceback.
        given_up: how many ended since they couldn't renew their lease.
        takeovers: seconds from each loss of a node until its checks were interrupted.
        faults: what went wrong, and how often.
        calls: calls to GitHub in its last hour, by credential.
        calls_refused: calls that exceeded a limit of GitHub's.
        seconds: from the last push until nothing was left to do; None if that never came.
        left: what isn't done then, and what was lost.
    """

    accepted: int = 0
    refused: int = 0
    states: Counter[str] = field(default_factory=Counter)
    conclusions: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    handled_twice: int = 0
    started_twice: int = 0
    spinning: int = 0
    log_bytes: int = 0
    log_bytes_lost: int = 0
    log_bytes_lost_at_the_end: int = 0
    log_bytes_lost_without_bucket: int = 0
    log_bytes_not_come: int = 0
    oldest_lost: float = 0.0
    cut: int = 0
    unmarked: int = 0
    takeovers: list[float] = field(default_factory=list)
    slowest: float = 0.0
    slowest_answer: float = 0.0
    latest: float = 0.0
    crashes: int = 0
    given_up: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    calls: dict[str, int] = field(default_factory=dict)
    calls_refused: int = 0
    seconds: float | None = None
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        takeovers = sorted(round(each, 1) for each in self.takeovers)
        through = "never" if self.seconds is None else f"{self.seconds:.0f} s after the last push"
        return "\n".join(
            (
                f"deliveries: {self.accepted} accepted, {self.refused} refused; {dict(self.states)}",
                f"{self.lost} lost, {self.handled_twice} handled twice visibly, "
                f"{self.started_twice} commands started twice",
                f"checks: {self.doubled} doubled, {self.spinning} spinning; {dict(self.conclusions)}",
                f"logs: {self.log_bytes} bytes; {self.log_bytes_lost} lost; {self.log_bytes_lost_at_the_end} lost of "
                f"the last seconds of a node, {self.log_bytes_lost_without_bucket} without the bucket, too; "
                f"{self.log_bytes_not_come} hadn't come to their node when it was lost; "
                f"{self.cut} logs cut, {self.unmarked} of them not marked; "
                f"the oldest line lost came {self.oldest_lost:.2f} s before its node was lost",
                f"a line took {self.slowest:.1f} s to its runner at most, an answer of the bucket "
                f"{self.slowest_answer:.1f} s; a task was {self.latest:.1f} s late",
                f"faults: {dict(self.faults)}; through {through}",
                f"nodes: {self.crashes} crashed, {self.given_up} couldn't renew their lease",
                f"calls to GitHub in its last hour: {self.calls}; {self.calls_refused} refused",
                *self.left,
                f"checks interrupted after the loss of their node, seconds: {takeovers}",
            )
        )

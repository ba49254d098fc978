"""The heart, which measures how late tasks are, and the watchdog, which notes what held them up.

Every task of the loop shares one thread, so one that computes for a second keeps all others waiting
for that second, and so the heart. Whoever watches the heart sees a loop that is stuck.

The watchdog notes each step of a task that holds the loop for long, with the stack that did it. A step lasts from
one checkpoint to the next, and nothing else runs meanwhile. An instrument notes when steps begin and end; a thread
looks at the running one and takes its stack while it is still at it.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import TokenBucket, sleepless_time
from bassloop.telemetry.tally import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


log = structlog.get_logger(__name__)

HOLD_SECONDS = 0.1
LOGGED_AT_ONCE = 10
LOGGED_PER_MINUTE = 10
STACK_LINES = 12
CLOCK_SECONDS = 0.01
"""How old a reading of the thread's processor clock may be, and so by how much too long its use of a step."""

EVERY_SECONDS = 0.25
PAUSE_SECONDS = 5.0


class Watchdog(trio.abc.Instrument):
    """Counts the steps that held the loop for more than `seconds`, and logs them at a bounded rate.

    `count` is how many there were by kind: ``computing`` used the processor for that time, ``waiting`` had to
    wait for a disk, another thread, or the processor itself on a busy machine. `longest` is the seconds of the
    longest of each kind.
    """

    def __init__(self, seconds: float = HOLD_SECONDS) -> None:
        self.seconds = seconds
        self.count = {"computing": 0, "waiting": 0}
        self.longest = {"computing": 0.0, "waiting": 0.0}
        self._began: float | None = None
        self._clock = self._read_at = 0.0
        self._seen = (0.0, "")  # when the step began that was looked at last, and its stack
        self._logged = TokenBucket(LOGGED_AT_ONCE, LOGGED_PER_MINUTE / 60, clock=time.monotonic)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Watch the loop that this is called in while the body runs."""
        stop = threading.Event()
        thread = threading.Thread(
            target=self._look, args=(stop, threading.get_ident()), name="watchdog", daemon=True
        )
        trio.lowlevel.add_instrument(self)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            trio.lowlevel.remove_instrument(self)

    # The loop does nothing but steps, so noting one has to be cheap. A step begins where the last one has ended,
    # which saves a call for each, and the processor's clock, which is eight times as slow as the other one, is read
    # a hundred times a second instead of before each step.

    def after_io_wait(self, timeout: float) -> None:
        self._began = time.monotonic()

    def before_io_wait(self, timeout: float) -> None:
        self._began = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        began, now = self._began, time.monotonic()
        if began is not None and now - began > self.seconds:
            self._note(task, began, now - began)
            self._read_at = 0.0  # what it used is not the next one's
        if now - self._read_at > CLOCK_SECONDS:
            self._clock, self._read_at = time.thread_time(), now
        self._began = now

    def _note(self, task: trio.lowlevel.Task, began: float, held: float) -> None:
        """Count a step that held the loop, and log it."""
        used = min(held, time.thread_time() - self._clock)
        kind = "computing" if used > self.seconds else "waiting"
        self.count[kind] += 1
        self.longest[kind] = max(self.longest[kind], held)
        if self._logged.take():
            seen, stack = self._seen
            stack = stack if seen == began else ""
            times = {"seconds": round(held, 3), "processor_seconds": round(used, 3)}
            log.warning("loop held", task=task.name, kind=kind, stack=stack, **times)

    def _look(self, stop: threading.Event, watched: int) -> None:
        """Take the stack of a step that lasts too long, in the watching thread."""
        while not stop.wait(self.seconds / 2):
            began = self._began
            if began in (None, self._seen[0]) or time.monotonic() - began <= self.seconds:
                continue
            frame = sys._current_frames().get(watched)
            if frame is not None and self._began == began:
                self._seen = began, "".join(traceback.format_stack(frame, STACK_LINES))


@dataclass(eq=False)
class Heart:
    """`lag` is how late each beat was; `watchdog` knows what held the loop meanwhile.

    `on_pause` is called once the loop turns again after nothing had run for seconds.
    """

    lag: Histogram = field(default_factory=Histogram)
    watchdog: Watchdog = field(default_factory=Watchdog)
    on_pause: Callable[[], object] = lambda: None

    async def beat(self, on_beat: Callable[[], None] = lambda: None) -> None:
        """Beat until cancelled; `on_beat` is called each time, and should be quick."""
        with self.watchdog.watching():
            while True:
                due, began = trio.current_time() + EVERY_SECONDS, sleepless_time()
                await trio.sleep_until(due)
                late = trio.current_time() - due
                self.lag.add(late)
                paused = max(late, sleepless_time() - began - EVERY_SECONDS)
                if paused > PAUSE_SECONDS:
                    why = "the process was stopped, or this machine slept or is overloaded"
                    log.warning("nothing ran", seconds=round(paused, 1), why=why)
                    self.on_pause()
                on_beat()

"""The heartbeat and the watchdog of the event loop, and notifications to the service manager with its watchdog.

All tasks share one thread. One that computes for a second delays all others by a second, and the heartbeat with them.
So a late heartbeat shows that the event loop is stuck. With each beat, the daemon feeds the service manager's watchdog.

The loop's own watchdog logs each task step that holds the event loop for long, with its stack. A step lasts from one
checkpoint to the next, and nothing else runs in the meantime. An instrument notes when steps begin and end; a thread
watches the current one, and samples its stack while it's still running.

The service manager's protocol is systemd's: datagrams of `NAME=value` lines.
https://www.freedesktop.org/software/systemd/man/sd_notify.html
"""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import TokenBucket, sleepless_time
from bassloop.telemetry.counters import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

log = structlog.get_logger(__name__)

HOLD_SECONDS = 0.1
LOGGED_AT_ONCE = 10
LOGGED_PER_MINUTE = 10
STACK_LINES = 12
CLOCK_SECONDS = 0.01
"""The interval between readings of the thread's CPU clock, and so the error of a step's CPU time."""

EVERY_SECONDS = 0.25
PAUSE_SECONDS = 5.0


class Watchdog(trio.abc.Instrument):
    """Counts the steps that held the event loop for more than `seconds`, and logs them at a bounded rate.

    `count` has their numbers by kind: ``computing`` used the CPU for that time, and ``waiting`` waited for a
    disk, another thread, or the CPU of a busy machine. `longest` has the seconds of the longest step of each
    kind.
    """

    def __init__(self, seconds: float = HOLD_SECONDS) -> None:
        self.seconds = seconds
        self.count = {"computing": 0, "waiting": 0}
        self.longest = {"computing": 0.0, "waiting": 0.0}
        self._began: float | None = None
        self._clock = self._read_at = 0.0
        self._seen = (0.0, "")  # when the step began that was sampled last, and its stack
        self._logged = TokenBucket(LOGGED_AT_ONCE, LOGGED_PER_MINUTE / 60, clock=time.monotonic)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Watch the current event loop while the body runs."""
        stop = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(stop, threading.get_ident()), name="watchdog", daemon=True
        )
        trio.lowlevel.add_instrument(self)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            trio.lowlevel.remove_instrument(self)

    # This runs for every step, so it has to be cheap. A step is taken to begin where the last one ended, which saves
    # a call. The CPU clock is eight times as slow to read as the other one, so it is read a hundred times a second
    # instead of before each step.

    def after_io_wait(self, timeout: float) -> None:
        self._began = time.monotonic()

    def before_io_wait(self, timeout: float) -> None:
        self._began = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        began, now = self._began, time.monotonic()
        if began is not None and now - began > self.seconds:
            self._note(task, began, now - began)
            self._read_at = 0.0  # its CPU time doesn't count for the next one
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

    def _watch(self, stop: threading.Event, watched: int) -> None:
        """Sample the stack of a step that lasts too long; runs in the watching thread."""
        while not stop.wait(self.seconds / 2):
            began = self._began
            if began in (None, self._seen[0]) or time.monotonic() - began <= self.seconds:
                continue
            frame = sys._current_frames().get(watched)
            if frame is not None and self._began == began:
                self._seen = began, "".join(traceback.format_stack(frame, STACK_LINES))


@dataclass(eq=False)
class Heart:
    """The heartbeat. `lag` has how late each beat was; `watchdog` knows what held the event loop meanwhile.

    `on_pause` is called when the event loop runs again after a pause of seconds.
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


@dataclass(eq=False)
class Notifier:
    """Notifies the service manager of the daemon's state, if there is one.

    No method blocks or raises: the daemon goes on if the manager doesn't listen.

    Args:
        address: the manager's socket, or None.
        watchdog_seconds: the manager's watchdog timeout, or None.
    """

    address: str | None = None
    watchdog_seconds: float | None = None
    _status: str = ""
    _fed_at: float = -math.inf

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> Notifier:
        """Return a notifier for the manager named by the environment."""
        address, seconds = env.get("NOTIFY_SOCKET"), env.get("WATCHDOG_USEC", "")
        mine = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = address and mine and seconds.isdigit() and int(seconds)
        return cls(address, int(seconds) / 1e6 if watched else None)

    def ready(self) -> None:
        """Say that the daemon has started, or has reloaded."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the daemon is reloading. Call `ready` when it's done."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """Say that the daemon is stopping, and how long that may take."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """Report the daemon's state as a line for people, if it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={' '.join(text.split())}")

    def feed(self) -> None:
        """Feed the watchdog, as often as it needs that."""
        now = trio.current_time()
        if self.watchdog_seconds and not 0 <= now - self._fed_at < self.watchdog_seconds / 4:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self.address is None:
            return
        where = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own,
        ):
            own.setblocking(False)
            own.sendto(text.encode(), where)

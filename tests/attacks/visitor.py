"""A visitor of a daemon, in a process of its own, so that what an attacker does here doesn't delay it.

    python visitor.py URL PID

It asks for `/up` again and again, and prints a line for each answer, in JSON: when it was asked for, the seconds until
it was there, the processor seconds that the daemon used meanwhile, and the processor seconds that a fixed piece of work
takes here. The third depends little on what else a machine does, and the fourth says how slow it is. What the daemon
uses while this process waits for a processor, and not for the daemon, doesn't count.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from pathlib import Path

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 600.0
SCHEDULED = Path("/proc/self/schedstat")
"""Of the kernel: the nanoseconds that this process ran, those that it waited for a processor, and how often it ran."""

WORK = json.dumps([{"key": number, "text": str(number)} for number in range(400)])


def work() -> float:
    """Return the processor seconds of the fixed piece of work."""
    began = time.thread_time()
    json.loads(WORK)
    return time.thread_time() - began


def queued() -> float:
    """Return the seconds that this process could have run, but had no processor; 0 where the kernel doesn't say."""
    if not SCHEDULED.exists():
        return 0.0
    return int(SCHEDULED.read_text().split()[1]) / 1e9


def is_up(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/up")
        return connection.getresponse().read() == b"up\n"
    except (http.client.HTTPException, ConnectionError):
        return False


def visit(url: str, pid: int) -> None:
    """Visit a daemon until killed."""
    host, port = url.rpartition("//")[2].rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
    # The kernel's number of the clock that counts the processor time of all threads of a process.
    clock = (~pid << 3) | 2
    while True:
        before, began, used = queued(), time.monotonic(), time.clock_gettime(clock)
        while not is_up(connection):
            connection.close()  # it was closed between two requests; the next one connects again
            time.sleep(PAUSE_SECONDS)
        used, seconds = time.clock_gettime(clock) - used, time.monotonic() - began
        used *= max(0.0, 1 - (queued() - before) / seconds)
        print(json.dumps([began, seconds, used, work()]), flush=True)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    visit(sys.argv[1], int(sys.argv[2]))

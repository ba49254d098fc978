"""A visitor of a daemon, in a process of its own, so that what an attacker does here doesn't delay it.

    python visitor.py URL PID

It asks for `/up` again and again, and prints a line for each answer, in JSON: when it was asked for, the seconds until
it was there, the processor seconds that the daemon used meanwhile, and the processor seconds that a fixed piece of work
takes here. The third depends little on what else a machine does, and the fourth says how slow it is. What the daemon's
threads use while this process, or the daemon's event loop, only waits for a processor doesn't count.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from pathlib import Path

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 600.0
WORK = json.dumps([{"key": number, "text": str(number)} for number in range(400)])


def work() -> float:
    """Return the processor seconds of the fixed piece of work."""
    began = time.thread_time()
    json.loads(WORK)
    return time.thread_time() - began


def queued(pid: int) -> float:
    """Return the seconds that this process, or another one's first thread, could have run, but had no processor.

    They are 0 where the kernel doesn't say.
    """
    files = Path("/proc/self/schedstat"), Path(f"/proc/{pid}/schedstat")
    return sum(int(each.read_text().split()[1]) for each in files if each.exists()) / 1e9


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
        before, began, used = queued(pid), time.monotonic(), time.clock_gettime(clock)
        while not is_up(connection):
            connection.close()  # it was closed between two requests; the next one connects again
            time.sleep(PAUSE_SECONDS)
        used, seconds = time.clock_gettime(clock) - used, time.monotonic() - began
        used *= max(0.0, 1 - (queued(pid) - before) / seconds)
        print(json.dumps([began, seconds, used, work()]), flush=True)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    visit(sys.argv[1], int(sys.argv[2]))

"""How quick the loop is, and how much it holds: `python -m benchmarks.loop` in a checkout.

Prints, over several trials on a warm machine: from a webhook to the check run that it leads to; from a
line that a command prints to the same line on a page (over its websocket, and with `--chromium PATH`
in a real browser); the daemon's memory while a thunk prints 200 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog
import trio
from tests.loop.world import open_world
from tests.repositories import commit, git
from trio_websocket import open_websocket_url

from bassloop.tools.trial import Trial, TrialOptions, open_trial

HOOK = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ python3 -c "CODE") {:repository "python" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""
TICKS = "import time\\nfor n in range(COUNT):\\n print('tick', n, time.time_ns(), flush=True); time.sleep(0.1)"
FLOOD = "import sys\\nfor n in range(COUNT):\\n sys.stdout.write('%099d' % n + chr(10))"


def repository(folder: Path, code: str, count: int) -> Path:
    """A repository whose one check runs a line of Python."""
    folder.mkdir()
    (folder / "project.bass").write_text(HOOK.replace("CODE", code.replace("COUNT", str(count))))
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


async def first_run(trial: Trial) -> str:
    """The id of the first run, as soon as there is one."""
    async with trial.daemon.live_runs.follow(None) as following:
        while True:
            await following.changed()
            runs = (await trial.daemon.store.runs.newest()).items
            if runs:
                return runs[0].id


async def webhook_to_check_run(path: Path, folder: Path, rounds: int) -> list[float]:
    """Milliseconds from the delivery's first byte to the check run's creation, one for each round.

    The daemon has a process of its own; the stand-in for GitHub and the runner share this one.
    """
    took = []
    async with open_world(path, folder) as world, world.daemon() as daemon, world.runner(daemon):
        runs = world.standin.check_runs
        for number in range(-1, rounds):
            commit(path)
            payload = await world.standin.payload("check_suite")
            before = len(runs)
            async with trio.open_nursery() as nursery:
                began = time.perf_counter()
                nursery.start_soon(world.standin.deliver, daemon.url, "check_suite", payload)
                while len(runs) == before:
                    await trio.sleep(0.0005)
                if number >= 0:  # the first one finds nothing in memory
                    took.append(1000 * (time.perf_counter() - began))
            await world.concluded()
            # Writes to GitHub are paced; what is asked for here is the loop's own time.
            await trio.sleep(2)
    return took


async def line_to_socket(path: Path) -> list[float]:
    """Milliseconds from a line's printing to its arrival at a page's websocket."""
    took = []
    async with open_trial(TrialOptions(path)) as trial:
        run = await first_run(trial)
        address = f"{trial.daemon.local_url.replace('http', 'ws')}/runs/{run}/live"
        seen: set[str] = set()
        async with open_websocket_url(address) as socket:
            await socket.send_message(json.dumps({"logs": {}}))
            news: dict[str, Any] = {}
            while not news.get("end"):
                news = json.loads(await socket.get_message())
                at = time.time_ns()
                for log in news.get("logs", ()):
                    for line in (*log["lines"], *log["screen"]):
                        if line.startswith("tick") and line not in seen:
                            seen.add(line)
                            took.append((at - int(line.split()[2])) / 1e6)
    return took


async def line_to_browser(path: Path, chromium: str) -> list[float]:
    """Milliseconds from a line's printing to its place in Chromium's document."""
    async with open_trial(TrialOptions(path)) as trial:
        address = f"{trial.daemon.local_url}/runs/{await first_run(trial)}"
        # A process of its own: trio-asyncio has this one's asyncio in its hands.
        command = [sys.executable, "-m", "benchmarks.browse", chromium, address]
        done = await trio.run_process(command, capture_stdout=True)
    # The first lines were there when the page was loaded.
    late = {line: at for line, at in json.loads(done.stdout).items() if int(line.split()[1]) >= 20}
    return [(at - int(line.split()[2])) / 1e6 for line, at in late.items()]


async def memory(path: Path, folder: Path) -> dict[str, float]:
    """The daemon's resident memory in MB: before, at most, after; and the flood's MB/s."""

    def resident(pid: int, field: str) -> float:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024

    async with open_world(path, folder) as trial, trial.daemon() as daemon, trial.runner(daemon):
        pid = daemon.process.pid
        before = resident(pid, "VmRSS")
        began = time.perf_counter()
        payload = await trial.standin.payload("check_suite")
        await trial.standin.deliver(daemon.url, "check_suite", payload)
        samples = []
        while not any(run["status"] == "completed" for run in trial.standin.check_runs):
            samples.append(resident(pid, "VmRSS"))
            await trio.sleep(0.25)
        took = time.perf_counter() - began
        [run] = trial.standin.check_runs
        assert run["conclusion"] == "success", run
        half = len(samples) // 2
        return {
            "before": before,
            "first half, at most": max(samples[:half] or [before]),
            "second half, at most": max(samples[half:] or [before]),
            "peak": resident(pid, "VmHWM"),
            "seconds": took,
            "MB/s": 200 / took,
        }


def show(what: str, took: list[float]) -> None:
    """A line of figures."""
    ranked = sorted(took)
    p95 = ranked[int(len(ranked) * 0.95)]
    median = statistics.median(ranked)
    print(
        f"{what}: median {median:.1f} ms, p95 {p95:.1f} ms, most {ranked[-1]:.1f} ms, n={len(ranked)}"
    )


async def main(chromium: str | None) -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quick = repository(folder / "quick", "print(1)", 0)
        show("webhook to check run", await webhook_to_check_run(quick, folder / "quick-world", 20))
        ticking = repository(folder / "ticking", TICKS, 100)
        show("line to websocket", await line_to_socket(ticking))
        if chromium:
            show("line to browser", await line_to_browser(ticking, chromium))
        flood = repository(folder / "flood", FLOOD, 2_000_000)
        for field, value in (await memory(flood, folder / "world")).items():
            print(f"memory while a thunk prints 200 MB, {field}: {value:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", metavar="PATH")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    trio.run(main, parser.parse_args().chromium)

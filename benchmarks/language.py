"""How fast the language runs, beside the reference implementation and beside plain Python.

    python -m benchmarks.language [--oracle COMMAND] [--quick]

COMMAND is built from the reference and no part of this project: it reads lines of JSON, `{"name": …, "bass": …}`,
and answers each with a line that has the milliseconds of reading and evaluating in `ms`. Both sides get the
same programs; the best of several rounds counts here, one round there. A ratio is the reference's time in ours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop import bass
from bassloop.bass.embedding import immediate_session, run_now

if TYPE_CHECKING:
    from collections.abc import Callable

LIST = (
    "(defn upto [n acc] (if (= n 0) acc (upto (- n 1) (cons n acc)))) (def numbers (upto {n} []))"
)
TURNS = "(defn turns [k] (if (= k 0) null (do {body} (turns (- k 1))))) (turns {n})"
SORT = """
(defn sorted [xs]
  (case xs
    [] []
    [p & rest] (concat (sorted (filter (fn [x] (< x p)) rest)) [p]
                       (sorted (filter (fn [x] (>= x p)) rest)))))
(defn shuffled [n x acc]
  (if (= n 0) acc
    (let [y (+ (* x 1103515245) 12345)]
      (let [z (- y (* 2147483648 (quot y 2147483648)))]
        (shuffled (- n 1) z (cons z acc))))))
(length (sorted (shuffled {n} 42 [])))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A program for us and, smaller if it must be, for the reference; times are for one of `n` unless `whole`."""

    name: str
    program: Callable[[int], str]
    ours: int
    theirs: int
    aim: int
    python: Callable[[int], object] | None = None
    whole: bool = False

    def of(self, n: int) -> int:
        """How many of what the row's name says a program of size n has."""
        return 1 if self.whole else n


def turns(body: str) -> Callable[[int], str]:
    """A program that does something n times."""
    return lambda n: TURNS.format(body=body, n=n)


def over(body: str) -> Callable[[int], str]:
    """A program that does something with a list of n numbers."""
    return lambda n: LIST.format(n=n) + body


def fib(n: int) -> int:
    """The same in Python."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def loop(n: int) -> str:
    """The same in Python, with a call a turn."""

    def turn(n: int) -> bool:
        return n == 0

    while not turn(n):
        n -= 1
    return "done"


def deep(n: int) -> int:
    """The same in Python."""
    return 0 if n == 0 else 1 + deep(n - 1)


def deeply(n: int) -> int:
    """`deep` with room for it."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(n + 1000)
    try:
        return deep(n)
    finally:
        sys.setrecursionlimit(limit)


FIB = "(defn fib [n] (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2))))) (fib {})"
LOOP = "(defn loop [n] (if (= n 0) :done (loop (- n 1)))) (loop {})"
DEEP = "(defn deep [n] (if (= n 0) 0 (+ 1 (deep (- n 1))))) (deep {})"

ROWS = (
    Row("(fib 24)", FIB.format, 24, 24, 10, fib, whole=True),
    Row("tail calls", LOOP.format, 1_000_000, 100_000, 7, loop),
    Row("nested calls", DEEP.format, 20_000, 20_000, 10, deeply),
    Row("case, third arm", turns("(case 3 1 :a 2 :b 3 :c)"), 20_000, 100, 300),
    Row("let, two names", turns("(let [a 1 b 2] (+ a b))"), 20_000, 200, 300),
    Row("->, three steps", turns("(-> 1 (+ 2) (* 3) (- 1))"), 20_000, 100, 300),
    Row("foldl, a step", over("(foldl + 0 numbers)"), 10_000, 300, 300, lambda n: sum(range(n))),
    Row(
        "map, a member",
        over("(length (map (fn [x] (* x x)) numbers))"),
        10_000,
        3_000,
        300,
        lambda n: len([x * x for x in range(n)]),
    ),
    Row("filter, a member", over("(length (filter (fn [x] (> x 5)) numbers))"), 10_000, 40, 300),
    Row("concat, a member", over("(length (concat numbers numbers))"), 10_000, 40, 300),
    Row("each, a value", over("(each (list->source numbers) (fn [x] x))"), 10_000, 50, 10),
    Row("str of three", turns('(str "a" 1 :b)'), 20_000, 2_000, 10),
    Row("a scope of three", turns("{:a 1 :b 2 :c 3}"), 20_000, 2_000, 10),
    Row("destructuring", turns("(let [{:a x :b [y z]} {:a 1 :b [2 3]}] x)"), 20_000, 100, 10),
    Row("a thunk's digest", turns("(str ($ echo hello))"), 5_000, 50, 1),
    Row("sorting 2,000", lambda n: SORT.replace("{n}", str(n)), 2_000, 8, 300, whole=True),
)
BUDGET = bass.Budget(steps=10**12)


class Nothing(bass.Host):
    """A host that can do nothing."""


def ours(program: str) -> float:
    """Seconds for reading and evaluating a program in a new session."""
    session = immediate_session(Nothing(), BUDGET)
    begun = time.perf_counter()
    run_now(session.evaluate(program, "program", bass.HostPath(".")))
    return time.perf_counter() - begun


def theirs(oracle: str, program: str) -> float:
    """Seconds that the reference says it took."""
    asked = json.dumps({"name": "", "bass": program}) + "\n"
    done = subprocess.run(
        [oracle, "eval"], input=asked, capture_output=True, text=True, timeout=900, check=True
    )
    answer = json.loads(done.stdout.splitlines()[0])
    if not answer["ok"]:
        raise SystemExit(f"the reference fails: {program}: {answer}")
    return float(answer["ms"]) / 1000


def best(rounds: int, call: Callable[[], object]) -> float:
    """The shortest time of several rounds."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def written(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def start_of_eval(rounds: int) -> float:
    """Seconds from the start of `bassloop eval` to its value."""
    command = [sys.executable, "-m", "bassloop", "eval", "-e", "(+ 1 2)"]
    return best(rounds, lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def reading(rounds: int) -> float:
    """Seconds for reading a script of 5,000 lines."""
    lines = '(defn name-{0} [x & y]\n  ; about it\n  (let [a ./path/{0}] {{:key "text {0}" :n [1 2 a]}}))\n'
    text = "".join(lines.format(number) for number in range(1667))
    return best(rounds, lambda: bass.read_source(text, "script.bass"))


def measured(row: Row, oracle: str | None, rounds: int) -> str:
    """A row of the table. The ratio is that of the same program on both sides."""
    here = min(ours(row.program(row.ours)) for _ in range(rounds)) / row.of(row.ours)
    there = ratio = python = ""
    if oracle:
        reference = theirs(oracle, row.program(row.theirs))
        beside = min(ours(row.program(row.theirs)) for _ in range(rounds))
        there = written(reference / row.of(row.theirs))
        ratio = f"{reference / beside:.0f}"
    if row.python is not None:
        call, n = row.python, row.ours
        python = f"{here / (best(rounds, lambda: call(n)) / row.of(n)):.0f}"
    return f"| {row.name} | {written(here)} | {there} | {ratio} | {row.aim} | {python} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracle", help="a command made of the reference implementation")
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("only", nargs="*", help="names of rows")
    options = parser.parse_args()
    rounds = 1 if options.quick else 3
    print("| what | here | reference | ratio | aim | × Python |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in ROWS:
        if not options.only or any(each in row.name for each in options.only):
            print(measured(row, options.oracle, rounds), flush=True)
    if not options.only:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(Path(folder))
            print(
                f"| `bassloop eval`, start to value | {written(start_of_eval(5))} | | | 0.25 s | |"
            )
        print(f"| reading 5,000 lines | {written(reading(rounds))} | | | | |")


if __name__ == "__main__":
    main()

"""Asks the reference implementation what the programs of the corpus mean, and writes its answers down.

    python -m tests.bass.conformance.ask ORACLE           writes answers.jsonl
    python -m tests.bass.conformance.ask --check ORACLE   tells which answers have changed

ORACLE is a command that reads lines of JSON, `{"name": …, "bass": …}`, and answers with lines of
`{"ok": …, "value": …, "json": …, "kind": …, "digest": …, "proto": …}`. It is made of the reference, and no part
of this project. Programs that load modules get a process each, because modules live as long as theirs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .corpus import HERE, corpus

ANSWERS = HERE / "answers.jsonl"
LENGTH_OF_SECRET = re.compile(r"(<secret: [^ <>]*) \(\d+ bytes\)>")
REASON = re.compile(r"{{thunk \(error: .*?\): ")
ALONE = re.compile(r"\((load|use|run|start|memo|succeeds\?|wait)\b")
BATCH = 40


def ask(oracle: str, programs: list[str]) -> list[dict[str, Any]]:
    """The answers to some programs, in order; a program that ends the oracle, or takes too long, has crashed."""
    answers: list[dict[str, Any]] = []
    while len(answers) < len(programs):
        waiting = programs[len(answers) :]
        text = "".join(json.dumps({"name": "", "bass": program}) + "\n" for program in waiting)
        try:
            done = subprocess.run(
                [oracle, "eval"], input=text, capture_output=True, text=True, timeout=60
            )
            lines = done.stdout.splitlines()
        except subprocess.TimeoutExpired as error:
            output = error.stdout or b""
            lines = output.decode().splitlines()
        answers += [answer(json.loads(line)) for line in lines if line.endswith("}")]
        if len(answers) < len(programs):
            answers.append({"ok": False, "crash": True})
    return answers


def answer(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an answer that are stored: no lengths of secrets, no reasons why a thunk has no digest."""
    if not raw["ok"]:
        return {"ok": False, "crash": True} if raw.get("kind") == "panic" else {"ok": False}
    value = LENGTH_OF_SECRET.sub(r"\1>", raw.get("value", ""))
    kept = {"ok": True, "value": REASON.sub("{{thunk (error): ", value)}
    kept.update((key, raw[key]) for key in ("json", "digest", "proto") if raw.get(key) is not None)
    return kept


def main() -> None:
    check = "--check" in sys.argv
    oracle = str(Path(sys.argv[-1]).resolve())
    names = corpus()
    alone = [[program] for program in names if ALONE.search(program)]
    together = [program for program in names if not ALONE.search(program)]
    batches = [together[at : at + BATCH] for at in range(0, len(together), BATCH)] + alone
    answers: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(2) as pool:
        for batch, batch_answers in zip(
            batches, pool.map(lambda each: ask(oracle, each), batches), strict=True
        ):
            answers.update(zip(batch, batch_answers, strict=True))
    records = [{"name": names[program], "program": program} | answers[program] for program in names]
    if check:
        known = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
        old = {record["program"]: record for record in known}
        for record in records:
            if old.get(record["program"]) != record:
                print("changed:", record["program"], old.get(record["program"]), record, sep="\n  ")
        return
    with ANSWERS.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
    print(f"{len(records)} answers, {sum(record['ok'] for record in records)} of them values")


if __name__ == "__main__":
    main()

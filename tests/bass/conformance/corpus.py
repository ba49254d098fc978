"""The programs of the corpus: the hand-written ones, a line each, then the generated ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LINE_BREAK = "¶"
"""Stands for a line break in a program that is written on one line."""


def written() -> Iterator[tuple[str, str]]:
    """The hand-written programs, each with its name."""
    for topic in sorted((HERE / "programs").glob("*.txt")):
        for number, line in enumerate(topic.read_text(encoding="utf-8").splitlines(), 1):
            if line:
                yield f"{topic.stem}:{number}", line.replace(LINE_BREAK, "\n")


def generated() -> Iterator[tuple[str, str]]:
    """The programs made at random."""
    from .generate import programs

    for number, program in enumerate(programs()):
        yield f"random:{number}", program


def corpus() -> dict[str, str]:
    """All programs, each once, with the name of where it stands first."""
    named: dict[str, str] = {}
    for name, program in (*written(), *generated()):
        named.setdefault(program, name)
    return named


def answers() -> list[dict[str, Any]]:
    """The stored answers of the reference: `program`, `ok`, and if so `value`, `json`, `digest`, `proto`."""
    lines = (HERE / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]

"""The documentation's pages, as something that can be carried out.

```console            `$ command` lines are run by a shell, in the page's folder, in their order; what
                      follows each is what it says. `...` stands for anything.
```sh                 commands that need a machine of their own; those of bassloop are parsed.
```ini                settings, which are loaded.
<!-- file: NAME -->   the next block is written to this file.
<!-- edit: NAME -->   the next block is a diff of this file.
<!-- with: THING -->  what has to be there for the next block.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>file|edit|with): (?P<name>.*?) -->\n)?"
    r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the mark that stands before it."""

    kind: str
    text: str
    mark: str
    name: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in their order."""
    return [
        Block(
            found["kind"], textwrap.dedent(found["text"]), found["mark"] or "", found["name"] or ""
        )
        for found in _BLOCK.finditer(page.read_text())
    ]


def commands(text: str) -> list[tuple[str, str]]:
    """A console's commands, each with what it is to say."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, said = found.pop()
            found.append((command, f"{said}{line}\n"))
    return found


def says(expected: str, output: str) -> bool:
    """Return whether the output is as expected, but for space at a line's end: `...` is anything, and as a
    line of its own any number of lines."""
    lines = (
        r"(?:[^\n]*\n)*?"
        if line.strip() == "..."
        else ".*?".join(re.escape(part) for part in line.split("..."))
        for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch("".join(lines), _tidy(output), re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


class Console:
    """A shell in a folder of its own, with a home of its own."""

    def __init__(self, folder: Path, things: Mapping[str, Callable[[Path], None]]) -> None:
        self.folder = self.top = folder / "work"
        self.folder.mkdir()
        self._things = things
        home = folder / "home"
        home.mkdir()
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        self.env = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "DATA_DIR": str(home / "data"),
            "BASSLOOP_SETTINGS": str(home / "settings.env"),
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONUTF8": "1",
            "COLUMNS": "100",
            "BASSLOOP_TRY_ENGINE": "host",
        }

    def carry_out(self, block: Block) -> None:
        """Do what a block says, and see that it is so."""
        if block.mark == "with":
            self._things[block.name](self.folder)
        if block.mark == "file":
            (self.folder / block.name).write_text(block.text)
        elif block.mark == "edit":
            self._edit(self.folder / block.name, block.text)
        elif block.kind == "console":
            for command, expected in commands(block.text):
                output = self._run(command)
                assert says(expected, output), f"$ {command}\n{output}\n--- expected\n{expected}"

    def _run(self, command: str) -> str:
        where = self.top / ".where"
        script = f"{command}\nstatus=$?\npwd > '{where}'\nexit $status"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=200,
            check=False,
        )
        self.folder = Path(where.read_text().strip())
        where.unlink()
        return done.stdout.decode()

    def _edit(self, file: Path, diff: str) -> None:
        lines = diff.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        text = file.read_text()
        assert text.count(before) == 1, (
            f"{file.name} does not have what is to be changed:\n{before}"
        )
        file.write_text(text.replace(before, after))

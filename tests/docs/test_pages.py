"""Commands in the documentation print what it shows."""

from __future__ import annotations

import re
import shlex
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click
import pytest
import trio

from bassloop.cli import cli
from bassloop.settings import Settings
from bassloop.settings_reader import load_settings
from bassloop.store import open_store

from ..store.test_retention import logged
from .pages import PAGES, ROOT, Block, Console, blocks

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400.0


def data(folder: Path) -> None:
    """A loop's data: a run that ended yesterday, and one of long ago."""

    async def make() -> None:
        where = folder.parent / "home" / "data"
        async with open_store(where / "loop.db", where / "blobs") as store:
            await logged(store, delivery="old", ended_at=time.time() - 40 * DAY)
            await logged(store, delivery="new", ended_at=time.time() - DAY)

    trio.run(make)


def original(folder: Path) -> None:
    """A database as the Go program makes it."""
    with closing(sqlite3.connect(folder / "original.db")) as connection:
        connection.execute("CREATE TABLE schema_migrations (version uint64, dirty bool)")
        connection.execute("CREATE TABLE vertexes (digest TEXT, run_id TEXT, name TEXT)")


def check_with_secret(folder: Path) -> None:
    """A project whose check prints a secret, and fails without its value."""
    (folder / ".bassloop.toml").write_text(
        "[checks.upload]\n"
        'run = """test "$PYPI_TOKEN" = pypi-example && echo "the token is $PYPI_TOKEN\\""""\n'
        'secrets = ["PYPI_TOKEN"]\n'
    )


THINGS = {
    "data": data,
    "the original's database": original,
    "a check that needs PYPI_TOKEN": check_with_secret,
}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUN = [page for page in PAGES if any(block.kind == "console" for block in blocks(page))]


@pytest.mark.parametrize("page", RUN, ids=named)
def test_the_examples_of_a_console_page_work(page: Path, tmp_path: Path) -> None:
    console = Console(tmp_path, THINGS)
    for block in blocks(page):
        console.carry_out(block)


def typed() -> list[tuple[str, str]]:
    """Commands of bassloop that stand on a line of their own and are not run here, and their pages."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^(?: {4,})?(?:sudo )?(bassloop .*)$", text, re.MULTILINE):
            found.append((named(page), line))
    return found


@pytest.mark.parametrize(("page", "line"), typed())
def test_every_other_command_in_the_documentation_exists(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(re.split(r" [<>|&]+ |  +", line)[0], comments=True)[1:]
    monkeypatch.chdir(tmp_path)
    for name in filter(re.compile(r"[\w.-]+\.\w+").fullmatch, words):
        (tmp_path / name).touch()  # it may be the name of a file that has to exist
    for number, word in enumerate(words):
        if word.startswith("~/"):  # a folder that has to exist; the shell says where
            (folder := tmp_path / word[2:]).mkdir(parents=True)
            words[number] = str(folder)
    command: click.Command = cli
    context = click.Context(cli, info_name="bassloop")
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        if found is None:
            break
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    assert command is not cli, f"{page}: there is no such command"
    command.make_context("bassloop", words)  # parsed, and not carried out


def settings() -> list[tuple[str, Block]]:
    return [(named(page), block) for page in PAGES for block in blocks(page) if block.kind == "ini"]


@pytest.mark.parametrize(("page", "block"), settings())
def test_every_setting_in_the_documentation_exists(
    page: str, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.env"
    file.write_text(block.text)
    monkeypatch.setenv("BASSLOOP_SETTINGS", str(file))
    load_settings()
    for line in block.text.splitlines():
        if line and not line.startswith(("#", "[")):
            name = line.partition("=")[0]
            assert name.lower() in Settings.model_fields, f"{page}: {name} is no setting"

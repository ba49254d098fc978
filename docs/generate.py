"""Write the parts of the documentation that are made of the code: `python docs/generate.py`.

A part is between two comments in its page, `<!-- begin NAME: … -->` and `<!-- end NAME -->`. The tests compare what is
there with what would be written.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli import cli
from bassloop.lifecycle import TABLES, mermaid
from bassloop.project.declaration import CheckDeclaration, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent
PAGES = ("architecture.md", "reference/checks.md", "reference/commands.md", "reference/http-api.md")
SCHEMA = "reference/checks.schema.json"
WIDTH = 78
"""The columns of a command's help."""

_PART = re.compile(r"(<!-- begin (\w+): .* -->\n\n).*?(\n\n<!-- end \2 -->)", re.DOTALL)


def generated() -> dict[str, str]:
    """Return all that is generated, by file: whole pages with their parts, and the schema of checks."""
    made = {name: refreshed((DOCS / name).read_text()) for name in PAGES}
    return made | {SCHEMA: json.dumps(json_schema(), indent=2) + "\n"}


def refreshed(page: str) -> str:
    """Return a page with its parts made anew."""
    make = {"commands": commands, "http": http, "lifecycle": lifecycle, "declaration": declaration}
    return _PART.sub(lambda part: part[1] + make[part[2]]() + part[3], page)


def declaration() -> str:
    """Return a table of the keys of a check in TOML."""
    rows = ["| key | what it is |", "| --- | --- |"]
    for name, field in CheckDeclaration.model_fields.items():
        rows.append(f"| `{name}` | {field.description} |")
    return "\n".join(rows)


def lifecycle() -> str:
    """Return a diagram of each table of states."""
    return "\n\n".join(f"A {name}:\n\n```mermaid\n{mermaid(name)}\n```" for name in TABLES)


def commands() -> str:
    """All commands, as their help tells them."""
    return "\n\n".join(_section(name, context) for name, context in each_command())


def each_command() -> Iterator[tuple[str, click.Context]]:
    """Each command by its full name, groups before what is in them."""

    def within(
        command: click.Command, context: click.Context
    ) -> Iterator[tuple[str, click.Context]]:
        yield context.command_path, context
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None and not inner.hidden:
                    yield from within(inner, _context(inner, name, context))

    root = click.Context(cli, info_name="bassloop")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None and not command.hidden:
            yield from within(command, _context(command, name, root))


def _context(command: click.Command, name: str, parent: click.Context) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)


def _section(name: str, context: click.Context) -> str:
    return f"## {name}\n\n```text\n{context.get_help().rstrip()}\n```"


def http() -> str:
    """The description of the HTTP API, in words."""
    described = json.loads((files("bassloop.web") / "openapi.json").read_text())
    parts = [
        described["info"]["description"],
        "The loop serves this description at `/openapi.json`.",
    ]
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict) and "summary" in operation:
                parts.append(
                    _operation(method.upper(), path, operation, item.get("parameters", []))
                )
    return "\n\n".join(parts)


def _operation(
    method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]
) -> str:
    lines = [f"## `{method} {path}`", "", f"{operation['summary']}.", ""]
    if description := operation.get("description"):
        lines += [description, ""]
    for parameter in (*shared, *operation.get("parameters", [])):
        if "name" in parameter and parameter.get("in") != "path":
            lines.append(f"- `{parameter['name']}`: {parameter.get('description', '')}")
    lines += ["", "| answer | |", "| --- | --- |"]
    for status, answer in operation.get("responses", {}).items():
        lines.append(f"| {status} | {answer.get('description', '')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for name, text in generated().items():
        (DOCS / name).write_text(text)

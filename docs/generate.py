"""What is generated when the documentation is built: a hook of MkDocs, and used by the tests.

A page says `{{ commands }}` or `{{ http }}` where the text goes.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click

from bassloop.cli import cli
from bassloop.lifecycle import TABLES, mermaid
from bassloop.project.declaration import CheckDeclaration, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the schemas that the pages link to."""
    from mkdocs.structure.files import File

    schema = json.dumps(json_schema(), indent=2) + "\n"
    files.append(File.generated(config, "reference/checks.schema.json", content=schema))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with each page."""
    for name, make in {
        "commands": commands,
        "http": http,
        "lifecycle": lifecycle,
        "declaration": declaration,
    }.items():
        if f"{{{{ {name} }}}}" in markdown:
            markdown = markdown.replace(f"{{{{ {name} }}}}", make())
    return markdown


def declaration() -> str:
    """Return a table row for each key of a check in TOML."""
    rows = []
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
                    yield from within(inner, click.Context(inner, info_name=name, parent=context))

    root = click.Context(cli, info_name="bassloop")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None and not command.hidden:
            yield from within(command, click.Context(command, info_name=name, parent=root))


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

"""A thunk's parts as a tree to look at, and its JSON in colours. Pure, and bounded: a thunk may hold
files and other thunks, as deep and as large as its author likes."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any

from bassloop.web.presentation import plain

DEPTH = 12
NODES = 2_000
TEXT = 300
_LOOKED_AT = 4 * TEXT
"""Characters of a text of which that many are shown: what a terminal would obey is not."""

JSON_SIZE = 128 * 1024
"""Characters of JSON that are shown in colours."""


@dataclass(slots=True)
class Node:
    """One part: what it is called, what it is, and what it is made of."""

    label: str
    text: str = ""
    kind: str = ""
    children: list[Node] = field(default_factory=list)


def thunk_tree(text: str) -> list[Node]:
    """The parts of a thunk from its JSON; none of what is not one. A thunk may be large, and a
    stranger's: it is for a thread."""
    try:
        thunk = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return _Tree().thunk(thunk, 0) if isinstance(thunk, dict) else []


class _Tree:
    """Makes nodes while there is room."""

    def __init__(self) -> None:
        self._left = NODES

    def thunk(self, thunk: dict[str, Any], depth: int) -> list[Node]:
        """A thunk's parts, in the order in which one thinks of them."""
        if depth > DEPTH:
            return [Node("…", "deeper than is shown here")]
        parts = []
        for name, label in (("image", "image"), ("args", "command"), ("stdin", "standard input")):
            if thunk.get(name):
                part = thunk[name]
                if name == "image":
                    parts.append(self.image(part, depth))
                else:
                    parts.append(self.listed(label, part, depth))
        for name, label in (("env", "environment"), ("labels", "labels")):
            if thunk.get(name):
                parts.append(self.bindings(label, thunk[name], depth))
        if thunk.get("dir"):
            parts.append(self.value("directory", thunk["dir"], depth))
        if thunk.get("mounts"):
            mounts = [self.mount(mount, depth + 1) for mount in thunk["mounts"] if self.room()]
            parts.append(Node("mounts", children=mounts))
        known = {"image", "args", "stdin", "env", "labels", "dir", "mounts"}
        for name, part in thunk.items():
            if name not in known and self.room():
                parts.append(self.other(name.replace("_", " "), part, depth + 1))
        return parts

    def room(self) -> bool:
        """Whether there is room for another node; it is taken."""
        self._left -= 1
        return self._left >= 0

    def image(self, image: dict[str, Any], depth: int) -> Node:
        """What it runs in: a name in a registry, another thunk, an archive or a build."""
        if "ref" in image:
            ref = image["ref"]
            source = ref.get("repository") or ""
            name = source + (f":{ref['tag']}" if ref.get("tag") else "")
            name += f"@{ref['digest']}" if ref.get("digest") else ""
            rest = [
                self.other(key, value, depth + 1)
                for key, value in ref.items()
                if key in ("platform", "file", "addr")
            ]
            return Node("image", _cut(name), "image", rest)
        if "thunk" in image:
            return self.nested("image", image["thunk"], depth)
        return self.other("image", image, depth)

    def nested(self, label: str, thunk: dict[str, Any], depth: int) -> Node:
        """A thunk that this one is made from."""
        return Node(label, _cut(command(thunk)), "thunk", self.thunk(thunk, depth + 1))

    def listed(self, label: str, values: list[Any], depth: int) -> Node:
        """Values in a row."""
        found = [self.value("", value, depth + 1) for value in values if self.room()]
        return Node(label, _cut(" ".join(word(value) for value in values[:50])), "", found)

    def bindings(self, label: str, bindings: list[dict[str, Any]], depth: int) -> Node:
        """Values by name."""
        found = [
            self.value(str(each.get("symbol", "")), each.get("value", {}), depth + 1)
            for each in bindings
            if self.room()
        ]
        return Node(label, children=found)

    def mount(self, mount: dict[str, Any], depth: int) -> Node:
        """What is put where."""
        target = path_of(mount.get("target", {}))
        node = self.value(target, mount.get("source", {}), depth)
        node.kind = node.kind or "mount"
        return node

    def value(self, label: str, value: dict[str, Any], depth: int) -> Node:
        """Any value: what it is called, of which kind it is, and what it holds."""
        if not isinstance(value, dict) or len(value) != 1 or depth > DEPTH:
            return self.other(label, value, depth)
        [(kind, inner)] = value.items()
        shown = kind.replace("_", " ")
        if kind == "thunk" and isinstance(inner, dict) and "path" in inner and "thunk" in inner:
            kind, shown = "thunk_path", "thunk path"
        if kind == "thunk":
            return self.nested(label, inner, depth)
        if kind == "thunk_path":
            thunk = inner.get("thunk", {})
            text = f"{path_of(inner.get('path', {}))} of {command(thunk)}"
            return Node(label, _cut(text), shown, self.thunk(thunk, depth + 1))
        if kind == "array":
            return self.listed(label, inner.get("values", []), depth)
        if kind == "object":
            return self.bindings(label, inner.get("bindings", []), depth)
        return Node(label, _cut(word(value)), shown)

    def other(self, label: str, part: Any, depth: int) -> Node:
        """What has no form of its own."""
        if isinstance(part, dict) and depth <= DEPTH:
            found = [self.other(key, each, depth + 1) for key, each in part.items() if self.room()]
            return Node(label, children=found)
        if isinstance(part, list) and depth <= DEPTH:
            return Node(
                label, children=[self.other("", each, depth + 1) for each in part if self.room()]
            )
        return Node(label, _cut(json.dumps(part, ensure_ascii=False)))


def command(thunk: dict[str, Any]) -> str:
    """What a thunk runs, in a few words."""
    words = [word(value) for value in thunk.get("args", [])[:20]]
    return " ".join(words) or "a thunk without a command"


def word(value: Any) -> str:
    """A value in a few characters."""
    if not isinstance(value, dict) or len(value) != 1:
        return "…"
    [(kind, inner)] = value.items()
    if not isinstance(inner, dict):
        return "…"
    if kind in ("string", "int", "bool"):
        return str(inner.get("value", {"string": "", "int": 0, "bool": False}[kind]))
    if kind in ("command_path", "secret"):
        return str(inner.get("name", ""))
    if kind in ("cache", "cache_path"):
        return f"{inner.get('id', '')}/{path_of(inner.get('path', {}))}"
    if kind == "thunk_path":
        return path_of(inner.get("path", {}))
    if kind in ("file_path", "dir_path", "host_path", "logical_path", "logical", "host", "local"):
        return path_of(value if kind in ("file_path", "dir_path") else inner)
    if kind == "thunk":
        return f"({command(inner)})"
    if kind == "thunk_addr":
        return f"port {inner.get('port', '')} of {command(inner.get('thunk', {}))}"
    return {"null": "null", "array": "[…]", "object": "{…}"}.get(kind, "…")


def path_of(path: Any) -> str:
    """Where a path leads, whatever it is a path of."""
    for _ in range(4):
        if not isinstance(path, dict):
            break
        if isinstance(path.get("path"), str):
            return str(path["path"])
        if isinstance(path.get("name"), str):
            return str(path["name"])
        inner = [
            path[key] for key in ("file", "dir", "file_path", "dir_path", "path") if key in path
        ]
        if not inner:
            break
        path = inner[0]
    return "."


def _cut(text: str) -> str:
    shown = plain(text[:_LOOKED_AT])
    return shown if len(text) <= _LOOKED_AT and len(shown) <= TEXT else f"{shown[:TEXT]}…"


_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)')


def coloured_json(text: str) -> str | None:
    """JSON as HTML, each kind of thing in a class of its own; None if it is too large for that."""
    if len(text) > JSON_SIZE:
        return None
    out = []
    at = 0
    for found in _TOKEN.finditer(text):
        out.append(html.escape(text[at : found.start()]))
        string, colon, name, number = found.groups()
        if string:
            kind = "key" if colon else "string"
            out.append(f'<span class="j-{kind}">{html.escape(string)}</span>{colon or ""}')
        else:
            out.append(f'<span class="j-{"name" if name else "number"}">{name or number}</span>')
        at = found.end()
    out.append(html.escape(text[at:]))
    return "".join(out)

"""A thunk's page: its contents, its avatar, and its runs.

The contents are shown as a tree of the thunk's parts, and as JSON with syntax highlighting. Both are bounded, since a
thunk may contain files and other thunks of any size and depth.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio
from quart import Blueprint, Response, render_template, request

from bassloop.terminal import plain
from bassloop.web.guard import visible_thunk
from bassloop.web.pages.charts import duration_chart, run_results
from bassloop.web.pages.downloads import run_with_outputs
from bassloop.web.presentation import (
    IMMUTABLE,
    PAGE_SIZE,
    abort_not_found,
    render_document,
    view_runs,
    wants_json,
)

if TYPE_CHECKING:
    from bassloop.web.web_context import WebContext


AVATAR_CELLS = 7
AVATAR_SIZE = 96
"""The side of an avatar in cells, and in pixels. The right half mirrors the left one."""

MAX_DEPTH = 12
MAX_NODES = 2_000
MAX_TEXT = 300
_MAX_RAW_TEXT = 4 * MAX_TEXT
"""How many characters of a text are processed: more than MAX_TEXT, since escape sequences are removed."""

MAX_JSON = 128 * 1024
"""The maximum length of JSON that is highlighted, in characters."""


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("thunk_page", __name__)

    @blueprint.get("/thunks/<digest>")
    async def thunk(digest: str) -> str | Response:
        """Show a thunk, or return its JSON."""
        found = await visible_thunk(context, digest, PAGE_SIZE, request.args.get("before"))
        if found is None:
            abort_not_found("thunk")
        record, page = found
        if wants_json():
            return Response(record.json, content_type="application/json")
        older = f"/thunks/{quote(digest)}?before={quote(page.next)}" if page.next else None
        return await render_template(
            "thunk.html",
            thunk=record,
            avatar=avatar_svg(record.digest),
            parts=await trio.to_thread.run_sync(thunk_tree, record.json),
            json=await trio.to_thread.run_sync(json_html, record.json),
            runs=view_runs(page.items),
            outputs=run_with_outputs(context, page.items),
            bars=duration_chart(run_results(page.items)),
            older=older,
        )

    @blueprint.get("/thunks/<digest>/proto")
    async def proto(digest: str) -> Response:
        """Return a thunk as a Protobuf message, to run it elsewhere."""
        found = await visible_thunk(context, digest, 1)
        if found is None:
            abort_not_found("thunk")
        return Response(found[0].proto, content_type="application/x-protobuf")

    @blueprint.get("/thunks/<digest>/avatar.svg")
    async def avatar(digest: str) -> Response:
        """Draw the avatar for a digest, whether or not there is such a thunk."""
        return Response(
            avatar_svg(digest[:200]),
            content_type="image/svg+xml",
            headers={"Cache-Control": IMMUTABLE},
        )

    return blueprint


def avatar_svg(digest: str) -> str:
    """Draw a thunk's avatar from its digest: a mirrored pattern in two colours."""
    bits = hashlib.sha256(digest.encode(errors="replace")).digest()
    hue = bits[0] * 360 // 256
    second_hue = (hue + 90 + bits[1] * 180 // 256) % 360
    half = AVATAR_CELLS // 2 + 1
    cells = set()
    for index in range(AVATAR_CELLS * half):
        x, y = index % half, index // half
        value = bits[2 + index // 2] >> (index % 2 * 4) & 0b1111
        if value >= 7:
            colour = f"hsl({hue} 55% 48%)" if value < 12 else f"hsl({second_hue} 60% 60%)"
            cells |= {(x, y, colour), (AVATAR_CELLS - 1 - x, y, colour)}
    return render_document(
        "avatar.svg", cells=sorted(cells), side=AVATAR_CELLS, size=AVATAR_SIZE, hue=hue
    )


@dataclass(slots=True)
class TreeNode:
    """A part of a thunk: its label, its value, the value's kind, and its own parts."""

    label: str
    text: str = ""
    kind: str = ""
    children: list[TreeNode] = field(default_factory=list)


def thunk_tree(text: str) -> list[TreeNode]:
    """Return the parts of a thunk from its JSON; none if it's invalid. Slow for large thunks: use a thread."""
    try:
        thunk = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(thunk, dict):
        return []
    named = thunk.pop("thunks", None)
    return _TreeBuilder(named if isinstance(named, dict) else {}).thunk(thunk, 0)


class _TreeBuilder:
    """Builds nodes until there are `MAX_NODES`.

    Args:
        named: thunks that the JSON refers to by name. The parts of each are shown only in its first place.
    """

    def __init__(self, named: dict[str, Any]) -> None:
        self._left = MAX_NODES
        self._named = named
        self._shown: set[str] = set()

    def has_room(self) -> bool:
        """Reserve another node, and return whether there was room for it."""
        self._left -= 1
        return self._left >= 0

    def thunk(self, thunk: dict[str, Any], depth: int) -> list[TreeNode]:
        """Return a thunk's parts: image, command, input, environment, and the rest."""
        if depth > MAX_DEPTH:
            return [TreeNode("…", "nested too deeply to be shown")]
        parts = []
        for name, label in (("image", "image"), ("args", "command"), ("stdin", "standard input")):
            if thunk.get(name):
                part = thunk[name]
                if name == "image":
                    parts.append(self.image(part, depth))
                else:
                    parts.append(self.array(label, part, depth))
        for name, label in (("env", "environment"), ("labels", "labels")):
            if thunk.get(name):
                parts.append(self.bindings(label, thunk[name], depth))
        if thunk.get("dir"):
            parts.append(self.value("directory", thunk["dir"], depth))
        if thunk.get("mounts"):
            mounts = [self.mount(each, depth + 1) for each in thunk["mounts"] if self.has_room()]
            parts.append(TreeNode("mounts", children=mounts))
        known = {"image", "args", "stdin", "env", "labels", "dir", "mounts"}
        for name, part in thunk.items():
            if name not in known and self.has_room():
                parts.append(self.other(name.replace("_", " "), part, depth + 1))
        return parts

    def image(self, image: dict[str, Any], depth: int) -> TreeNode:
        """Return an image: a reference to a registry, another thunk, an archive or a build."""
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
            return TreeNode("image", _shortened(name), "image", rest)
        if "thunk" in image:
            return self.nested_thunk("image", image["thunk"], depth)
        return self.other("image", image, depth)

    def nested_thunk(self, label: str, thunk: Any, depth: int) -> TreeNode:
        """Return the node of a thunk that this one uses."""
        text, parts = self.inner(thunk, depth)
        return TreeNode(label, _shortened(text), "thunk", parts)

    def inner(self, thunk: Any, depth: int) -> tuple[str, list[TreeNode]]:
        """Return the command of a nested thunk, and its parts unless they were shown before."""
        if not isinstance(thunk, str):
            return command(thunk), self.thunk(thunk, depth + 1)
        known = self._named.get(thunk)
        text = command(known) if isinstance(known, dict) else thunk
        if not isinstance(known, dict) or thunk in self._shown:
            return text, []
        if depth < MAX_DEPTH:
            self._shown.add(thunk)
        return text, self.thunk(known, depth + 1)

    def array(self, label: str, values: list[Any], depth: int) -> TreeNode:
        """Return an array of values."""
        children = [self.value("", value, depth + 1) for value in values if self.has_room()]
        text = " ".join(summary(value) for value in values[:50])
        return TreeNode(label, _shortened(text), "", children)

    def bindings(self, label: str, bindings: list[dict[str, Any]], depth: int) -> TreeNode:
        """Return values with names."""
        children = [
            self.value(str(each.get("symbol", "")), each.get("value", {}), depth + 1)
            for each in bindings
            if self.has_room()
        ]
        return TreeNode(label, children=children)

    def mount(self, mount: dict[str, Any], depth: int) -> TreeNode:
        """Return a mount, labelled with its target."""
        node = self.value(path_of(mount.get("target", {})), mount.get("source", {}), depth)
        node.kind = node.kind or "mount"
        return node

    def value(self, label: str, value: dict[str, Any], depth: int) -> TreeNode:
        """Return a value of any kind."""
        if not isinstance(value, dict) or len(value) != 1 or depth > MAX_DEPTH:
            return self.other(label, value, depth)
        [(kind, inner)] = value.items()
        shown_kind = kind.replace("_", " ")
        if kind == "thunk" and isinstance(inner, dict) and "path" in inner and "thunk" in inner:
            kind, shown_kind = "thunk_path", "thunk path"
        if kind == "thunk":
            return self.nested_thunk(label, inner, depth)
        if kind == "thunk_path":
            text, parts = self.inner(inner.get("thunk", {}), depth)
            text = f"{path_of(inner.get('path', {}))} of {text}"
            return TreeNode(label, _shortened(text), shown_kind, parts)
        if kind == "array":
            return self.array(label, inner.get("values", []), depth)
        if kind == "object":
            return self.bindings(label, inner.get("bindings", []), depth)
        return TreeNode(label, _shortened(summary(value)), shown_kind)

    def other(self, label: str, part: Any, depth: int) -> TreeNode:
        """Return a node for any other JSON."""
        if isinstance(part, dict) and depth <= MAX_DEPTH:
            children = [
                self.other(key, each, depth + 1) for key, each in part.items() if self.has_room()
            ]
            return TreeNode(label, children=children)
        if isinstance(part, list) and depth <= MAX_DEPTH:
            children = [self.other("", each, depth + 1) for each in part if self.has_room()]
            return TreeNode(label, children=children)
        return TreeNode(label, _shortened(json.dumps(part, ensure_ascii=False)))


def command(thunk: dict[str, Any] | str) -> str:
    """Return a thunk's command line, shortened, or the name of a thunk that is referred to by name."""
    if isinstance(thunk, str):
        return thunk
    words = [summary(value) for value in thunk.get("args", [])[:20]]
    return " ".join(words) or "a thunk without a command"


def summary(value: Any) -> str:
    """Return a short text for a value."""
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
    """Return the path in a path value of any kind."""
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


def _shortened(text: str) -> str:
    shown = plain(text[:_MAX_RAW_TEXT])
    complete = len(text) <= _MAX_RAW_TEXT and len(shown) <= MAX_TEXT
    return shown if complete else f"{shown[:MAX_TEXT]}…"


_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)')


def json_html(text: str) -> str | None:
    """Return JSON as HTML with a class for each kind of token, or None if it is too long."""
    if len(text) > MAX_JSON:
        return None
    parts = []
    end = 0
    for token in _TOKEN.finditer(text):
        parts.append(html.escape(text[end : token.start()]))
        string, colon, name, number = token.groups()
        if string:
            kind = "key" if colon else "string"
            parts.append(f'<span class="j-{kind}">{html.escape(string)}</span>{colon or ""}')
        else:
            parts.append(f'<span class="j-{"name" if name else "number"}">{name or number}</span>')
        end = token.end()
    parts.append(html.escape(text[end:]))
    return "".join(parts)

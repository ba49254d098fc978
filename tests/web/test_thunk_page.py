"""Pages of thunks and steps: their parts, as trees and text, however deep and hostile."""

from __future__ import annotations

import html
import json
import re
import threading
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from google.protobuf.json_format import MessageToJson

from bassloop.store import ThunkRecord, User
from bassloop.web.pages import thunk_page
from bassloop.web.pages.charts import CHART_HEIGHT, duration_chart, run_results
from bassloop.web.pages.thunk_page import TreeNode, avatar_svg, json_html, thunk_tree
from bassloop.web.presentation import plain
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.nesting import nested
from tests.records import make_run

from .site import HOSTILE, open_site

if TYPE_CHECKING:
    from pathlib import Path


INNER = {"image": {"ref": {"repository": "golang"}}, "args": [{"command_path": {"name": "go"}}]}
THUNK: dict[str, Any] = {
    "image": {
        "ref": {
            "platform": {"os": "linux"},
            "repository": "alpine",
            "tag": "3",
            "digest": "sha256:a",
        }
    },
    "insecure": True,
    "args": [
        {"command_path": {"name": "sh"}},
        {"string": {"value": "-c"}},
        {"int": {"value": "4"}},
    ],
    "env": [{"symbol": "TOKEN", "value": {"secret": {"name": "npm"}}}],
    "dir": {"local": {"path": "./src/"}},
    "mounts": [
        {
            "source": {"thunk": {"thunk": INNER, "path": {"dir": {"path": "./out/"}}}},
            "target": {"dir": {"path": "./bin/"}},
        },
        {
            "source": {"cache": {"id": "go", "path": {"dir": {"path": "."}}}},
            "target": {"dir": {"path": "/cache/"}},
        },
    ],
}


def test_the_parts_of_a_thunk_are_shown_as_a_tree() -> None:
    image, command, environment, directory, mounts, insecure = thunk_tree(json.dumps(THUNK))
    assert (image.label, image.text) == ("image", "alpine:3@sha256:a")
    assert (command.label, command.text) == ("command", "sh -c 4")
    assert [(part.text, part.kind) for part in command.children] == [
        ("sh", "command path"),
        ("-c", "string"),
        ("4", "int"),
    ]
    assert environment.children == [TreeNode("TOKEN", "npm", "secret")]
    assert (directory.text, directory.kind) == ("./src/", "local")
    binaries, cache = mounts.children
    assert (binaries.label, binaries.text) == ("./bin/", "./out/ of go")
    assert [part.text for part in binaries.children] == ["golang", "go"]
    assert (cache.label, cache.text, cache.kind) == ("/cache/", "go/.", "cache")
    assert (insecure.label, insecure.text) == ("insecure", "true")


def depth_of(nodes: list[TreeNode]) -> int:
    return 1 + max((depth_of(node.children) for node in nodes), default=0)


def count(nodes: list[TreeNode]) -> int:
    return sum(1 + count(node.children) for node in nodes)


def test_a_tree_is_bounded_in_depth_and_size() -> None:
    deep: dict[str, Any] = INNER
    for _ in range(200):
        deep = {"image": {"thunk": deep}}
    assert depth_of(thunk_tree(json.dumps(deep))) < 2 * thunk_page.MAX_DEPTH
    wide = {"env": [{"symbol": "A", "value": {"string": {"value": "x"}}}] * 100_000}
    assert count(thunk_tree(json.dumps(wide))) <= thunk_page.MAX_NODES + 10
    assert thunk_tree("[" * 100_000) == []


def test_only_the_shown_part_of_a_long_text_is_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def noted(text: str) -> str:
        looked.append(len(text))
        return plain(text)

    monkeypatch.setattr(thunk_page, "plain", noted)
    [part] = thunk_tree(json.dumps({"args": [{"string": {"value": "ab\x1b[31m" * 100_000}}]}))
    assert part.text.startswith("abab")
    assert part.text.endswith("b…")
    assert max(looked) <= 4 * thunk_page.MAX_TEXT


@pytest.mark.parametrize("step", ["thunk_tree", "json_html"])
async def test_a_page_renders_a_thunk_in_a_thread(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take a tenth of a second and more for a large thunk."""
    on: list[threading.Thread] = []
    render = getattr(thunk_page, step)

    def noted(text: str) -> object:
        on.append(threading.current_thread())
        return render(text)

    monkeypatch.setattr(thunk_page, step, noted)
    async with open_site(tmp_path) as site:
        await site.run()
        await site.text("/thunks/DIGEST")
    assert on
    assert threading.main_thread() not in on


PATH = pb.FilesystemPath(dir=pb.DirPath(path="./x/"))
THUNK_PATH = pb.ThunkPath(thunk=pb.Thunk().SerializeToString(), path=PATH)
VALUES = [
    pb.Value(null=pb.Null()),
    pb.Value(bool=pb.Bool(value=False)),
    pb.Value(int=pb.Int(value=0)),
    pb.Value(string=pb.String(value="")),
    pb.Value(array=pb.Array(values=[pb.Value(int=pb.Int(value=1))])),
    pb.Value(object=pb.Object(bindings=[pb.Binding(symbol="a")])),
    pb.Value(thunk=pb.Thunk().SerializeToString()),
    pb.Value(dir_path=pb.DirPath(path="./d/")),
    pb.Value(file_path=pb.FilePath(path="./f")),
    pb.Value(host_path=pb.HostPath(context="/c", path=PATH)),
    pb.Value(thunk_path=THUNK_PATH),
    pb.Value(logical_path=pb.LogicalPath(file=pb.LogicalPath.File(name="f", content=b"x"))),
    pb.Value(
        thunk_addr=pb.ThunkAddr(thunk=pb.Thunk().SerializeToString(), port="http", format="$host")
    ),
    pb.Value(cache_path=pb.CachePath(id="c", path=PATH)),
]


def test_every_kind_of_value_is_shown_as_text() -> None:
    thunk = pb.Thunk(args=VALUES, mounts=[pb.ThunkMount()], dir=pb.ThunkDir(thunk=THUNK_PATH))
    command, directory, mounts = thunk_tree(
        MessageToJson(nested(thunk), preserving_proto_field_name=True)
    )
    assert [part.text for part in command.children] == [
        *("null", "False", "0", "", "1", "", "a thunk without a command", "./d/", "./f", "./x/"),
        *("./x/ of a thunk without a command", "f"),
        *("port http of a thunk without a command", "c/./x/"),
    ]
    assert directory.text == "./x/ of a thunk without a command"
    assert len(mounts.children) == 1


def test_json_is_highlighted_without_changes() -> None:
    text = json.dumps({'a"<b>': [1.5, True, None, "x\\", {"é": "&"}]}, indent=1)
    shown = json_html(text)
    assert shown is not None
    assert '<span class="j-key">&quot;a\\&quot;&lt;b&gt;&quot;</span>:' in shown
    assert '<span class="j-number">1.5</span>' in shown
    assert '<span class="j-name">null</span>' in shown
    assert html.unescape(re.sub("<[^>]*>", "", shown)) == text
    assert json_html("1" * 200_000) is None


def test_an_avatar_depends_on_the_digest() -> None:
    faces = {avatar_svg(f"{number}") for number in range(500)}
    assert len(faces) == 500
    assert avatar_svg("a") == avatar_svg("a")
    picture = ElementTree.fromstring(avatar_svg("a"))
    cells = {(each.get("x"), each.get("y")) for each in list(picture)[1:]}
    assert cells == {(str(6 - int(x or 0)), y) for x, y in cells}


def test_durations_are_drawn_oldest_first() -> None:
    runs = [
        make_run(id="c", started_at=100.0, ended_at=110.0),
        make_run(id="b", started_at=None, ended_at=110.0, state="cancelled"),
        make_run(id="a", started_at=100.0, ended_at=105.0, state="failed"),
    ]
    bars = duration_chart(run_results(runs))
    assert [(bar.run, bar.x, bar.height, bar.colour) for bar in bars] == [
        ("a", 0, CHART_HEIGHT / 2, "bad"),
        ("c", 14, CHART_HEIGHT, "ok"),
    ]
    assert bars[0].label == "1970-01-01: failed after 5.0 s"


async def test_the_page_of_a_thunk_describes_it(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.store.users.put(User(1, "U_1", "octocat"))
        thunk = {**THUNK, "env": [{"symbol": HOSTILE, "value": {"string": {"value": HOSTILE}}}]}
        text = json.dumps(thunk, indent=2)
        await site.store.thunks.put(ThunkRecord("T", "1" * 64, text, b"", HOSTILE, 1.0))
        await site.run("a", thunk_digest="T")
        await site.run("b", "succeeded", thunk_digest="T")
        page = await site.text("/thunks/T")
        assert '<ul class="tree">' in page
        assert 'class="j-key"' in page
        assert page.count('<rect class="bar') == 2
        assert "<script>alert" not in page
        assert await site.json("/thunks/T") == thunk
        assert await site.text("/thunks/T/avatar.svg") in page


async def test_a_step_has_a_page_with_its_log_by_pages(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued()
        await site.step("r", "build", b"")
        text = b"".join(b"line %d\n" % number for number in range(2500))
        row = await site.step("r", "test", text, inputs=("build",))
        path = f"/runs/r/vertexes/{row}"
        last = await site.text(path)
        assert "line 2499" in last
        assert "line 1999" not in last
        assert 'href="?start=1000"' in last
        first = await site.text(f"{path}?start=0")
        assert "line 999<" in first
        assert "line 1000<" not in first
        assert (await site.text(f"{path}?start=999999999")).count('class="line"') == 500
        assert "Inputs" in first
        found = await site.json(path)
        assert (found["name"], found["lines"], found["inputs"]) == ("test", 2500, ["build"])
        assert (await site.get("/runs/r/vertexes/999")).status_code == 404


async def test_a_step_of_a_private_run_is_answered_like_a_missing_one(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        row = await site.run(public=False)
        assert (await site.get(f"/runs/r/vertexes/{row}")).status_code == 404

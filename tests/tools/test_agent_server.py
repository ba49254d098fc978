"""The tools of the agent server, and their answers."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from bassloop.store import ReportedTest
from bassloop.tools.loop_client import LoopClient
from tests.web.site import FakeControl, open_site

from .test_rerun import listening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from mcp import Client


@pytest.fixture(scope="module")
def mcp() -> ModuleType:
    """The protocol's library. It takes longer to import than these tests take, and each worker collects them."""
    return import_module("mcp")


@pytest.fixture
def connect(mcp: ModuleType) -> Callable[[LoopClient], Client]:
    """Make a client of a server that has the permissions of a loop's client."""
    server = import_module("bassloop.tools.agent_server")
    return lambda loop: mcp.Client(server.agent_server(loop, "1"))


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    """Return a tool's answer, or the message of its error."""
    result = await client.call_tool(tool, arguments)
    [content] = result.content
    return f"error: {content.text}" if result.is_error else json.loads(content.text)  # type: ignore[union-attr]


async def test_an_agent_finds_out_why_a_run_failed(
    tmp_path: Path, connect: Callable[[LoopClient], Client]
) -> None:
    async with open_site(tmp_path) as site, listening(site) as server:
        await site.queued()
        row = await site.step("r", "make", b"one\na.c:1:2: error: \x1b[31mno\n", error="status 2")
        await site.store.runs.start("r", "t", "octocat", "linux/amd64", 100.0)
        await site.store.runs.end("r", "failed", "status 2", 101.0)  # type: ignore[arg-type]
        await site.store.tests.put("r", [ReportedTest("adds", "failed")])
        await site.store.error_lines.put("r", ["no such type"])
        async with connect(LoopClient(server)) as client:
            assert (await called(client, "list_runs", state="failed"))["runs"][0]["id"] == "r"
            assert (await called(client, "get_run", run="r"))["vertexes"][0]["row"] == row
            failure = await called(client, "get_failure", run=f"{server}/runs/r")
            assert failure["failure"]["failures"][0]["test"] == "adds"
            log = await called(client, "read_log", run="r", step=row, start=1)
            assert log == {"start": 1, "total": 2, "lines": ["a.c:1:2: error: no"]}
            found = await called(client, "search_log", run="r", text="^one$", regex=True)
            assert [each["line"] for each in found["matches"]] == [0]
            assert await called(client, "what_changed", run="r") == {"green": None}
            logs = await called(client, "search_logs", repository="octocat/hello", text="ERROR: no")
            assert [each["run"]["id"] for each in logs["runs"]] == ["r"]
            errors = await called(client, "search_errors", repository="octocat/hello", text="such")
            assert errors["errors"][0]["runs"] == 1
            history = await called(
                client, "test_history", repository="octocat/hello", check="test", test="adds"
            )
            assert history["results"][0]["run"]["id"] == "r"


async def test_an_agent_has_the_permissions_of_its_user(
    tmp_path: Path, connect: Callable[[LoopClient], Client]
) -> None:
    async with open_site(tmp_path) as site, listening(site) as server:
        await site.run("r", public=False)
        await site.signed_in(7, "hubot", r2="write")
        token, _ = await site.context.sessions.begin(7, bearer=True)
        async with connect(LoopClient(server)) as stranger:
            assert "404" in await called(stranger, "get_run", run="r")
            assert "sign in first (401)" in await called(stranger, "run_again", run="r")
        headers = [("Authorization", f"Bearer {token}")]
        async with connect(LoopClient(server, headers)) as user:
            assert (await called(user, "get_run", run="r"))["id"] == "r"
            assert await called(user, "run_again", run="r") == {"done": True}
        assert isinstance(site.context.control, FakeControl)
        assert site.context.control.asked == [("rerun", "r", "hubot")]


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("get_run", {"run": "../x"}, "isn't the address of a run"),
        ("get_run", {"run": "http://elsewhere.test/runs/r"}, "is a run of another loop"),
        ("search_errors", {"repository": "../.."}, "isn't a repository"),
        ("list_runs", {"state": "odd"}, "state is one of"),
    ],
)
async def test_unanswered_questions_are_reported(
    tmp_path: Path,
    connect: Callable[[LoopClient], Client],
    tool: str,
    arguments: dict[str, str],
    why: str,
) -> None:
    async with (
        open_site(tmp_path) as site,
        listening(site) as server,
        connect(LoopClient(server)) as client,
    ):
        assert why in await called(client, tool, **arguments)


async def test_the_command_speaks_the_protocol(tmp_path: Path, mcp: ModuleType) -> None:
    async with open_site(tmp_path) as site, listening(site) as server:
        await site.run("r")
        command = mcp.StdioServerParameters(
            command=sys.executable,
            args=["-m", "bassloop", "mcp", "--url", server],
            env={"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        )
        async with mcp.Client(command) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert {"list_runs", "get_failure", "read_log", "run_again"} <= tools
            assert (await called(client, "get_run", run="r"))["state"] == "failed"

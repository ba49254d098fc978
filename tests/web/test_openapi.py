"""The OpenAPI description matches the server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from bassloop.store import ReportedTest
from bassloop.web.app import HERE
from bassloop.web.service_endpoints import WEBHOOKS

from .site import Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT: dict[str, Any] = json.loads((HERE / "openapi.json").read_text())
GETS = {
    path: operations["get"] for path, operations in DOCUMENT["paths"].items() if "get" in operations
}
ASKED = {path: get for path, get in GETS.items() if "content" in get["responses"].get("200", {})}
KNOWN = {
    "run_id": "r",
    "owner": "octocat",
    "name": "hello",
    "sha": "0" * 40,
    "number": "7",
    "digest": "DIGEST",
    "guid": "a-guid",
    "path": "dist/a.whl",
}
NEEDED = {
    "/runs/{run_id}/search": "?q=one",
    "/repositories/{owner}/{name}/search": "?q=one",
    "/repositories/{owner}/{name}/badge.svg": "?check=test",
    "/repositories/{owner}/{name}/tests": "?check=test&name=adds",
}


def schema(found: dict[str, Any]) -> Draft202012Validator:
    """The schema, with what it refers to."""
    return Draft202012Validator({**found, "components": DOCUMENT["components"]})


def address(path: str, known: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: known[name[1]], path) + NEEDED.get(path, "")


async def filled(site: Site, *, public: bool = True) -> dict[str, str]:
    """Something to be found at every address."""
    await site.run("push", check_name="test", public=public)
    row = await site.run("r", check_name="test", pull_request=7, public=public)
    await site.store.tests.put("r", [ReportedTest("adds", "failed", 1.0, "no", "a.py", 3)])
    await site.store.deliveries.record("a-guid", "push", None, b"{}")
    await site.sign("r")
    await site.keep("r", "dist/a.whl", b"a wheel")
    return {**KNOWN, "row": str(row)}


async def test_every_address_is_documented(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        served = {
            re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for rule in site.app.url_map.iter_rules()
            if rule.endpoint != "static"
        }
    assert {*served, WEBHOOKS} == set(DOCUMENT["paths"])


def test_every_schema_is_valid() -> None:
    for found in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(found)


@pytest.mark.parametrize("path", ASKED)
async def test_responses_match_the_openapi_document(tmp_path: Path, path: str) -> None:
    async with open_site(tmp_path) as site:
        known = await filled(site)
        asking = await site.signed_in(7, "hubot")
        if path == "/runners" or path.startswith("/deliveries"):
            asking = await site.signed_in(9, "operator")
        if path == "/metrics":
            asking = {"authorization": "Bearer s3cret"}
        answer = await site.get(address(path, known), accept="application/json", **asking)
        assert answer.status_code == 200
        [(kind, told)] = ASKED[path]["responses"]["200"]["content"].items()
        assert answer.headers["Content-Type"].split(";")[0] == kind
        if kind == "application/json":
            schema(told["schema"]).validate(await answer.get_json())


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in ASKED
        if "404" in ASKED[path]["responses"] and "{guid}" not in path and path != "/open"
    ],
)
async def test_private_runs_are_answered_like_missing_ones(tmp_path: Path, path: str) -> None:
    async with open_site(tmp_path) as site:
        known = await filled(site, public=False)
        told = ASKED[path]["responses"]["404"]["content"]["application/json"]
        answers = []
        for where in (known, {**known, "run_id": "no", "owner": "no", "digest": "no"}):
            answer = await site.get(address(path, where), accept="application/json")
            assert answer.status_code == 404
            answers.append(await answer.get_json())
        schema(told["schema"]).validate(answers[0])
        assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "path", [path for path in ASKED if "{" in path and not path.endswith("avatar.svg")]
)
def test_private_addresses_are_documented_as_hidden(path: str) -> None:
    assert "404" in ASKED[path]["responses"]


async def test_an_invalid_request_is_answered_as_documented(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await filled(site)
        for path in ("/runs?state=x", "/runs/r/search"):
            answer = await site.get(path, accept="application/json")
            assert answer.status_code == 400
            schema({"$ref": "#/components/schemas/Error"}).validate(await answer.get_json())


async def test_a_private_run_has_no_websocket(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.run(public=False)
        async with site.app.test_client().websocket("/runs/r/live") as socket:
            with pytest.raises(Exception, match="4404"):
                await socket.receive()

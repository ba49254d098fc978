"""The web application class: routes that compile the functions that build their URLs when they're first called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.routing import Rule

from bassloop.quart_app import QuartApp

if TYPE_CHECKING:
    import pytest


async def _page(**_values: str) -> str:
    return ""


async def test_urls_of_lazy_routes_are_built() -> None:
    app = QuartApp("test")
    app.add_url_rule("/runs/<rule>/<path:values>", "run", _page)
    app.add_url_rule("/tests", "tests", _page, defaults={"page": "1"})
    async with app.test_request_context("/"):
        assert app.url_for("run", rule="a b", values="c/d") == "/runs/a%20b/c/d"
        assert app.url_for("run", rule="a", values="b", q="c&d") == "/runs/a/b?q=c%26d"
        assert app.url_for("tests", page="1") == "/tests"
        assert app.url_for("static", filename="a.css") == "/static/a.css"


async def test_only_a_url_that_is_built_compiles_its_function_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_builder, compiled = Rule._compile_builder, []

    def noting(self: Rule, append_unknown: bool = True) -> object:
        compiled.append(self.endpoint)
        return compile_builder(self, append_unknown)

    monkeypatch.setattr(Rule, "_compile_builder", noting)
    app = QuartApp("test")
    for name in ("one", "two"):
        app.add_url_rule(f"/{name}/<it>", name, _page)
    assert (await app.test_client().get("/one/1")).status_code == 200
    assert compiled == []
    async with app.test_request_context("/"):
        assert [app.url_for("two", it=it) for it in "ab"] == ["/two/a", "/two/b"]
    assert compiled == ["two"]

"""The web application class of all servers here: Quart on Trio, which starts faster."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from quart.routing import QuartRule
from quart_trio import QuartTrio

if TYPE_CHECKING:
    from collections.abc import Callable

    Builder = Callable[..., tuple[str, str]]


class LazyRule(QuartRule):
    """A route that compiles the functions that build its URLs when they're first called.

    Werkzeug compiles two for each route that is added, which takes most of the time to make an application. Here, only
    the URLs of static files are ever built.

    `_compile_builder` is a private name of Werkzeug. If a release has no such method, routes work, but are slow to add.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Builder:
        @cache
        def compiled() -> Builder:
            return super(LazyRule, self)._compile_builder(append_unknown)

        def build(rule: LazyRule, /, **values: Any) -> tuple[str, str]:
            return compiled()(rule, **values)

        return build


class QuartApp(QuartTrio):
    """An application of Quart on Trio, with lazy routes."""

    url_rule_class = LazyRule  # type: ignore[assignment]  # as in Quart itself

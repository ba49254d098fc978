"""The rules for all tools. If two match equally well, the first one applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.failures.rules import (
    dotnet_swift_elixir,
    go_rust_c,
    javascript,
    jvm_ruby_php,
    python,
    shell_and_services,
)

if TYPE_CHECKING:
    from bassloop.failures.failure import Rule

RULES: tuple[Rule, ...] = (
    *python.RULES,
    *javascript.RULES,
    *dotnet_swift_elixir.RULES,
    *go_rust_c.RULES,
    *jvm_ruby_php.RULES,
    *shell_and_services.RULES,
)

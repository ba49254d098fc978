"""The rules for all tools. If two match equally well, the first one applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.failures.rules import (
    go_rust_c_swift,
    javascript,
    jvm_dotnet_elixir,
    python_ruby_php,
    shell_and_services,
)

if TYPE_CHECKING:
    from bassloop.failures.failure import Rule

RULES: tuple[Rule, ...] = (
    *python_ruby_php.RULES,
    *javascript.RULES,
    *jvm_dotnet_elixir.RULES,
    *go_rust_c_swift.RULES,
    *shell_and_services.RULES,
)

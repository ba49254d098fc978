"""The rules for all tools. Where two fit equally well, the earlier one is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.failures.rules import compiled, javascript, jvm_ruby_php, python, systems

if TYPE_CHECKING:
    from bassloop.failures.rule import Rule

RULES: tuple[Rule, ...] = (
    *python.RULES,
    *javascript.RULES,
    *compiled.RULES,
    *jvm_ruby_php.RULES,
    *systems.RULES,
)

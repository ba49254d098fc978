"""The options of `bassloop runner` are those that a runner has."""

from __future__ import annotations

from dataclasses import fields

from bassloop.cli.runner import dial
from bassloop.runner import RunnerOptions

OF_THE_COMMAND = {"loop", "unsandboxed", "check", "as_json", "verbose"}


def test_every_option_of_the_command_is_one_of_the_runner() -> None:
    names = {parameter.name for parameter in dial.params}
    assert names - OF_THE_COMMAND <= {field.name for field in fields(RunnerOptions)}

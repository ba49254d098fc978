"""The command that a runner may send to the gateway: `forward`, and nothing else."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import NoReturn

from bassloop.runtimes import Platform

COMMANDS = ("forward",)
USAGE = "usage: forward [--os OS] [--arch ARCH] [--priority N]"
WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
MOST = 1_000_000
LONGEST = 4_096


class CommandError(Exception):
    """A command that can't be run; the message is shown to the runner, the exit status is 2."""


@dataclass(frozen=True, slots=True)
class ForwardCommand:
    """`forward`: offer the runtime behind the forwarded socket."""

    platform: Platform
    priority: int


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}\n{USAGE}")


def _word(value: str) -> str:
    if not WORD.fullmatch(value):
        raise argparse.ArgumentTypeError(f"{value[:40]!r} is no platform's name")
    return value


def _priority(value: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,7}", value) or abs(int(value)) > MOST:
        raise argparse.ArgumentTypeError(f"{value[:40]!r} is no number from -{MOST} to {MOST}")
    return int(value)


def parse(command: str) -> ForwardCommand:
    """Parse a session's command line. Raises CommandError."""
    if len(command) > LONGEST:
        raise CommandError(f"a command has {LONGEST} characters at most")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"the command's quotes don't match: {error}") from error
    if not words or words[0] not in COMMANDS:
        asked = f"unknown command: {words[0][:40]!r}" if words else "a command is needed"
        raise CommandError(f"{asked}\nknown commands: {', '.join(COMMANDS)}\n{USAGE}")
    parser = _Parser(prog=words[0], add_help=False, allow_abbrev=False)
    parser.add_argument("--os", type=_word, default="linux")
    parser.add_argument("--arch", type=_word, default="amd64")
    parser.add_argument("--priority", "-p", type=_priority, default=0)
    given = parser.parse_args(words[1:])
    return ForwardCommand(Platform(given.os, given.arch), given.priority)

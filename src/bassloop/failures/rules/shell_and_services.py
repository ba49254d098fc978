"""Shells, operations and services; and what any program may say, at the end."""

from __future__ import annotations

from bassloop.failures.failure import AT, PATH, Rank, Rule

RULES: tuple[Rule, ...] = (
    Rule("shell", Rank.MESSAGE, r"^(?:ba|da|z|k)?sh: (?:line )?\d{1,7}: (?P<message>\S.*)$"),
    Rule(
        "shell",
        Rank.ERROR,
        rf"^{PATH}: (?:line )?(?P<line>\d{{1,7}}): (?P<message>\S.*)$",
        generic=True,
    ),
    Rule(
        "shellcheck",
        Rank.ERROR,
        rf"^In {PATH} line (?P<line>\d{{1,7}}):$",
        within=(r"^\s*\^-+\^? (?P<message>SC\d+.*)$",),
        until=r"^\s*$",
        lines=8,
        needs="message",
    ),
    Rule(
        "ansible",
        Rank.ERROR,
        r"^\[ERROR\]: (?P<message>Task failed: .*)$",
        within=(rf"^Origin: {AT}$",),
        until=r"^(?:fatal: .*|PLAY RECAP.*)$",
        lines=60,
    ),
    Rule(
        "ansible",
        Rank.MESSAGE,
        r"^fatal: \[[^\]]{1,100}\]: (?:FAILED|UNREACHABLE)! => "
        r'.*?"msg": "(?P<message>(?:[^"\\]|\\[^n]){1,300})',
    ),
    Rule(
        "terraform",
        Rank.ERROR,
        r"^[│|] Error: (?P<message>\S.*)$",
        within=(r"^[│|] +on (?P<path>\S+) line (?P<line>\d{1,7})", r"^[│|] (?P<detail>[A-Z].*)$"),
        until=r"^[╵']",
        lines=30,
    ),
    Rule(
        "git",
        Rank.MESSAGE,
        r"^(?P<message>(?:CONFLICT \(|fatal: |error: pathspec|error: failed to push|error: Your local changes).*)$",
    ),
    Rule(
        "docker",
        Rank.MESSAGE,
        r"^ERROR: failed to (?:solve|build).*?: (?P<message>.*)$",
    ),
    Rule("docker", Rank.MESSAGE, r"^Error: (?:error )?(?P<message>building at STEP .*)$"),
    Rule(
        "docker",
        Rank.CONSEQUENCE,
        r"^(?P<message>(?:The command '.*' returned a non-zero code|Error response from daemon).*)$",
    ),
    Rule(
        "kernel",
        Rank.MESSAGE,
        r"^(?:.*: (?:line \d+: )?)?(?: *\d+ )?(?P<message>(?:Killed|Segmentation fault|Bus error|Aborted|"
        r"Illegal instruction|Out of memory|Terminated)(?: \(core dumped\))?(?: {2,}\S.*)?)$",
    ),
    Rule(
        "command",
        Rank.MESSAGE,
        r"^(?P<message>[\w./+-]{1,60}: .*(?:No such file or directory|Permission denied|not found|"
        r"cannot (?:stat|open|access|create|remove|execute)|Connection refused|Could not resolve host|"
        r"No space left on device).*)$",
        generic=True,
    ),
    Rule(
        "github",
        Rank.ERROR,
        r"^::error (?:file=(?P<path>[^,:]+))?(?:,?line=(?P<line>\d{1,7}))?[^:]*::(?P<message>.*)$",
    ),
    Rule("any", Rank.MESSAGE, r"^(?i:error|fatal)(?: error)?[:!] (?P<message>\S.*)$", generic=True),
    Rule("any", Rank.MESSAGE, r"^\[(?i:error|fatal)\] (?P<message>\S.*)$", generic=True),
)

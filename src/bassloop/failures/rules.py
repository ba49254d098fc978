"""The messages of tools that fail: one table, to which a tool is added by a row.

A rule's `start` opens a failure at the line that it matches. The lines after it belong to the
failure until `until` matches, or `lines` of them have passed; on each of them the first of `within`
that matches adds what it names. Named groups say what is found:

    test                the test's name
    message             a line of the message; each match adds one
    path, line, column  a location
    detail              a line of the message, kept only where there is no other

Patterns are RE2's, matched against lines without colours, cut to `MAX_LINE` characters. Each rule is
held to real output in ``tests/failures/corpus``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bassloop.failures.model import Rank

PATH = r"(?P<path>(?:file://)?[\pL\pN_.@~+/\\$-][^\s:\"'()<>|,;\[\]]{0,299})"
AT = rf"{PATH}:(?P<line>\d{{1,7}})(?::(?P<column>\d{{1,5}}))?"

JAVA_LIBRARY = r"^\s+at (?:java|javax|jdk|sun|kotlin|scala|org\.(?:junit|opentest4j|hamcrest|assertj|testng))[./]"
"""A frame that tells nothing. A pattern without groups passes over the lines that it matches."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The pattern of one kind of failure of a tool.

    Args:
        start: the pattern of the line that opens it.
        within: patterns tried on each line that follows.
        until: the pattern of the first line that doesn't belong to it any more.
        lines: how many lines may follow at most.
        innermost_last: whether the last location is the most telling, as in a Python traceback.
        needs: the group without which it doesn't count, ``message`` or ``line``.
        context: a pattern that an earlier line must have matched, where `start` alone is not telling.
        each: whether each match of `within` is a failure of its own, as in a list below a file's name.
        ends: the group that ends it once it is found.
        generic: whether it gives way to any other rule that knows the same line.
        supplement: whether it only adds to a failure of the same test that is found elsewhere.
    """

    tool: str
    rank: Rank
    start: str
    within: tuple[str, ...] = ()
    until: str | None = None
    lines: int = 0
    innermost_last: bool = False
    needs: str | None = None
    context: str | None = None
    each: bool = False
    ends: str | None = None
    generic: bool = False
    supplement: bool = False


RULES: tuple[Rule, ...] = (
    # -- Python ------------------------------------------------------------------------------
    Rule(
        "pytest",
        Rank.TEST,
        r"^_{3,} (?:ERROR at (?:setup|teardown) of |ERROR collecting )?(?P<test>\S.{0,200}?) _{3,}$",
        within=(r"^E {1,9}(?P<message>\S.*)$", rf"^{AT}: ?(?:in \S+|[\w.]+)?$"),
        until=r"^(?:_{3,} \S.* _{3,}|={3,} \S.* ={3,}|={20,})$",
        lines=400,
        innermost_last=True,
    ),
    Rule(
        "pytest",
        Rank.TEST,
        r"^(?:FAILED|ERROR) (?:\S{1,300}?)::(?P<test>.{1,200}?)(?: - (?P<message>\S.*))?$",
    ),
    Rule("pytest", Rank.TEST, r"^ERROR (?P<test>\S{1,300}\.py)(?: - (?P<message>\S.*))?$"),
    Rule(
        "unittest",
        Rank.TEST,
        r"^(?:ERROR|FAIL): (?P<test>\S+ \(\S+\).*)$",
        within=(
            r'^ {2,8}File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,7})',
            r"^(?P<message>[\pL_][\pL\pN_.]*(?:Error|Exception|Failure|Warning|Exit|Interrupt)\b.*)$",
        ),
        until=r"^(?:={20,}|Ran \d+ tests? in .*)$",
        lines=200,
        innermost_last=True,
    ),
    Rule(
        "python",
        Rank.ERROR,
        r"^(?:\s*\|\s)?\s{0,4}Traceback \(most recent call last\):$",
        within=(
            r'^(?:\s*\|\s)?\s{2,12}File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,7})',
            r"^(?:\s*\|\s)?(?P<message>[\pL_][\pL\pN_.]*(?:: .*)?)$",
        ),
        until=r"^\s*$",
        lines=120,
        innermost_last=True,
        needs="message",
        ends="message",
    ),
    Rule(
        "python",
        Rank.ERROR,
        r"^(?:\s*\|)?\s{0,4}\+ Exception Group Traceback \(most recent call last\):$",
        within=(
            r'^\s*\|\s+File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,7})',
            r"^\s*\| (?P<message>[\pL_][\pL\pN_.]*(?:: .*)?)$",
        ),
        until=r"^(?:\s*|\S.*)$",
        lines=300,
        innermost_last=True,
        needs="message",
    ),
    Rule("python", Rank.MESSAGE, r"^\S*python[\d.]*: (?P<message>No module named .*)$"),
    Rule(
        "python",
        Rank.ERROR,
        r'^ {2}File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,7})$',
        within=(r"^(?P<message>(?:Syntax|Indentation|Tab)Error: .*)$",),
        lines=6,
        needs="message",
        ends="message",
    ),
    Rule(
        "ruff",
        Rank.ERROR,
        r"^(?P<message>(?:[A-Z]{1,6}\d{1,4}|unformatted|invalid-syntax)(?: \[\*\])?:? \S.*)$",
        within=(rf"^ {{1,8}}--> {AT}$",),
        until=r"^\s*$",
        lines=2,
        needs="line",
    ),
    Rule("ruff", Rank.ERROR, rf"^(?P<message>Would reformat): {PATH}$"),
    Rule("black", Rank.ERROR, rf"^(?P<message>would reformat|error: cannot format) {PATH}"),
    Rule("flake8", Rank.ERROR, rf"^{AT}: (?P<message>[A-Z]{{1,4}}\d{{3,4}} \S.*)$"),
    Rule("pylint", Rank.ERROR, rf"^{AT}: (?P<message>[EF]\d{{4}}: .*)$"),
    Rule(
        "pyright",
        Rank.ERROR,
        rf"^\s{{2,4}}{AT} - error: (?P<message>.*)$",
        within=(r"^\s{4,8}(?P<message>\S.*)$",),
        until=r"^\s{0,3}\S",
        lines=5,
    ),
    Rule("mypy", Rank.ERROR, rf"^{AT}: error: (?P<message>.*  \[[a-z-]+\])$"),
    Rule(
        "pip",
        Rank.MESSAGE,
        r"^(?P<message>ERROR: (?:Could not|No matching|Cannot|ResolutionImp|Failed|Invalid).*)$",
    ),
    Rule(
        "robot",
        Rank.TEST,
        r"^(?P<test>\S.{0,70}?)\s*\| FAIL \|$",
        within=(r"^\d+ tests?, \d+ passed", r"^(?P<message>\S.*)$"),
        until=r"^[-=]{20,}$",
        lines=10,
        needs="message",
    ),
    # -- JavaScript and TypeScript -------------------------------------------------------------
    Rule(
        "jest",
        Rank.TEST,
        r"^ {2}● (?P<test>\S.*)$",
        within=(
            r"^ {4}(?P<message>(?:expect\(|Expected|Received|\S*Error\b|thrown:|Cannot |Invalid |Your test suite).*)$",
            rf"^ {{6,8}}at .*?\(?{AT}\)?$",
            r"^ {4}(?P<detail>\S.*)$",
        ),
        until=r"^(?: {2}● .*|Test Suites?:.*|(?:PASS|FAIL) .*)$",
        lines=200,
    ),
    Rule(
        "vitest",
        Rank.TEST,
        r"^ FAIL {2}(?P<test>\S.*)$",
        within=(
            r"^(?P<message>[\pL_][\pL\pN_.]*Error\b.*)$",
            rf"^ ❯ (?:\S+ )?{AT}$",
        ),
        until=r"^⎯{10,}",
        lines=100,
    ),
    Rule(
        "mocha",
        Rank.TEST,
        r"^ {2}\d+\) (?P<test>\S.*)$",
        within=(
            r"^ {7,}(?P<test>\S.*):$",
            r"^ {4,8}(?P<message>[\pL_][\pL\pN_.]*(?:Error|Exception)\b.*)$",
            rf"^ {{4,10}}at .*?\(?{AT}\)?$",
            r"^(?P<message>\S.* !== .*)$",
        ),
        until=r"^ {2}\d+\) ",
        lines=60,
        needs="message",
        context=r"^ {2}\d+ failing",
    ),
    Rule(
        "node",
        Rank.TEST,
        r"^\s{0,8}✖ (?P<test>[^✖].*?) \([\d.]+ms\)$",
        within=(
            r"^\s{2,10}(?P<message>[\pL_][\pL\pN_.]*Error\b.*)$",
            r"^\s{2,10}(?P<message>\S.* !== .*)$",
            rf"^\s{{4,12}}at .*?\(?{AT}\)?$",
        ),
        until=r"^\s{0,8}[✖✔ℹ] ",
        lines=60,
        needs="message",
    ),
    Rule(
        "tap",
        Rank.TEST,
        r"^\s{0,8}not ok \d+(?: -)? (?P<test>\S.*)$",
        within=(
            r"^\s+(?P<message>(?:error|message|operator|expected|actual): +[^|>].*)$",
            r"^# +\(in test file (?P<path>[^,]{1,300}), line (?P<line>\d{1,7})\)$",
            r"^# +(?P<message>\S.*)$",
            rf"^\s+(?:at|location|file): ?['\"]?.*?\(?{AT}\)?['\"]?$",
        ),
        until=r"^\s*(?:\.\.\.|(?:not )?ok \d+.*)$",
        lines=60,
    ),
    Rule(
        "bats",
        Rank.TEST,
        r"^ ✗ (?P<test>\S.*?)(?: \[\d+\])?$",
        within=(
            r"^ {3,8}\(in test file (?P<path>[^,]{1,300}), line (?P<line>\d{1,7})\)$",
            r"^ {3,8}(?P<message>\S.*)$",
        ),
        until=r"^ [✓✗-] ",
        lines=40,
        needs="line",
    ),
    Rule(
        "ava",
        Rank.TEST,
        r"^ {2}✘ \[fail\]: (?P<test>\S.*)$",
        within=(
            rf"^ {{2}}{AT}$",
            r"^ {2}(?P<message>(?:Difference|Error|Value|Returned promise|Promise|\w*Error\b).*)$",
            r"^ {2}(?P<message>[-+] .*)$",
        ),
        until=r"^ {2}\d+ tests? failed",
        lines=60,
    ),
    Rule("tsc", Rank.ERROR, rf"^{AT} - error (?P<message>TS\d+: .*)$"),
    Rule(
        "tsc",
        Rank.ERROR,
        rf"^{PATH}\((?P<line>\d{{1,7}}),(?P<column>\d{{1,5}})\): error (?P<message>TS\d+: .*)$",
    ),
    Rule(
        "yamllint",
        Rank.ERROR,
        r"^(?P<path>[^\s:\"'()<>|*]{1,300}\.ya?ml)$",
        within=(
            r"^\s{1,8}(?P<line>\d{1,7}):(?P<column>\d{1,5})\s{1,8}error\s{1,8}(?P<message>\S.*?)$",
        ),
        until=r"^\s*$",
        lines=200,
        each=True,
    ),
    Rule(
        "eslint",
        Rank.ERROR,
        r"^(?P<path>[^\s:\"'()<>|*]{1,300}\.[A-Za-z][A-Za-z0-9]{0,9})$",
        within=(
            r"^\s{1,8}(?P<line>\d{1,7}):(?P<column>\d{1,5})\s{1,8}error\s{1,8}(?P<message>\S.*?)$",
        ),
        until=r"^\s*$",
        lines=500,
        each=True,
    ),
    Rule(
        "prettier",
        Rank.ERROR,
        r"^\[(?:warn|error)\] (?P<path>[^\s:]+\.[a-z0-9]{1,9})(?:: (?P<message>.*))?$",
    ),
    Rule(
        "node",
        Rank.ERROR,
        rf"^(?:node:)?{PATH}:(?P<line>\d{{1,7}})$",
        within=(
            r"^(?P<message>[\pL_][\pL\pN_.]*(?:Error|Exception)\b.*)$",
            rf"^ {{4}}at .*?\(?{AT}\)?$",
        ),
        until=r"^Node\.js v\d",
        lines=60,
        needs="message",
    ),
    Rule(
        "npm",
        Rank.CONSEQUENCE,
        r"^npm (?:ERR!|error) (?P<message>(?:code|Lifecycle script|Missing script|Test failed|errno).*)$",
    ),
    Rule(
        "npm",
        Rank.MESSAGE,
        r"^npm (?:ERR!|error) (?P<message>(?:request to|Missing script|notarget|404|network|peer|Could not|Cannot|"
        r"Invalid|Conflicting|ERESOLVE|EACCES|enoent|`npm ci`).*)$",
    ),
    # -- Go ------------------------------------------------------------------------------------
    Rule(
        "go",
        Rank.TEST,
        r"^\s{0,12}--- FAIL: (?P<test>\S+)",
        within=(
            r"^(?P<message>panic: .*?)(?: \[recovered.*)?$",
            r"^\t(?P<path>\S+\.go):(?P<line>\d{1,7})(?: \+0x[0-9a-f]+)?$",
            r"^\s{4,16}(?P<path>\S+\.go):(?P<line>\d{1,7}): (?P<message>.*)$",
        ),
        until=r"^(?:\s*--- (?:FAIL|PASS|SKIP): .*|=== .*|FAIL(?:\s.*)?|ok\s.*|PASS)$",
        lines=200,
    ),
    Rule(
        "go",
        Rank.TEST,
        r"^=== (?:RUN|NAME|CONT) +(?P<test>\S+)$",
        within=(r"^\s{4,16}(?P<path>\S+\.go):(?P<line>\d{1,7}): (?P<message>.*)$",),
        until=r"^(?:\s*--- .*|=== .*)$",
        lines=200,
        needs="message",
        supplement=True,
    ),
    Rule(
        "go",
        Rank.ERROR,
        r"^(?P<message>(?:panic|fatal error): .*)$",
        within=(r"^\t(?P<path>\S+\.go):(?P<line>\d{1,7})(?: \+0x[0-9a-f]+)?$",),
        until=r"^(?:exit status \d+|FAIL\s.*)$",
        lines=100,
    ),
    Rule(
        "go",
        Rank.ERROR,
        r"^(?:vet: )?(?P<path>\S{1,299}\.go):(?P<line>\d{1,7}):(?P<column>\d{1,5}): (?P<message>.*)$",
    ),
    Rule("go", Rank.CONSEQUENCE, r"^(?P<message>FAIL\t\S+.*)$"),
    # -- Rust ----------------------------------------------------------------------------------
    Rule(
        "rust",
        Rank.ERROR,
        rf"^thread 'main' (?:\(\d+\) )?panicked at {AT}:$",
        within=(r"^(?P<message>\S.*)$",),
        until=r"^(?:stack backtrace:|note: .*|\s*)$",
        lines=12,
    ),
    Rule(
        "rust",
        Rank.TEST,
        rf"^thread '(?P<test>[^']{{1,200}})' (?:\(\d+\) )?panicked at {AT}:$",
        within=(
            r"^(?P<message>[^\s].*)$",
            r"^\s{1,3}(?P<message>(?:left|right): .*)$",
        ),
        until=r"^(?:stack backtrace:|note: .*|\s*)$",
        lines=12,
    ),
    Rule(
        "rust",
        Rank.ERROR,
        r"^error(?:\[[A-Z]\d+\])?: (?P<message>\S.*)$",
        within=(rf"^\s*--> {AT}$",),
        until=r"^\s*$",
        lines=4,
        needs="line",
    ),
    Rule(
        "rust",
        Rank.CONSEQUENCE,
        r"^error: (?P<message>(?:could not compile|test failed|process didn't).*)$",
    ),
    # -- C, C++, and their builds --------------------------------------------------------------
    Rule("compiler", Rank.ERROR, rf"^{AT}: (?:fatal )?error: (?P<message>.*)$"),
    Rule(
        "compiler",
        Rank.ERROR,
        rf"^{PATH}\((?P<line>\d{{1,7}})(?:,(?P<column>\d{{1,5}}))?\)\s*: (?:fatal )?error (?P<message>.*)$",
    ),
    Rule(
        "linker",
        Rank.ERROR,
        r"^(?:\S*ld: )?(?:\S+: )?(?P<message>undefined (?:reference to|symbol:?) .*)$",
    ),
    Rule(
        "linker",
        Rank.ERROR,
        r"^(?P<path>[^\s:]+\.[a-zA-Z]+):\(\.text.*\): (?P<message>undefined reference to .*)$",
    ),
    Rule("assert", Rank.ERROR, rf"^\S+: {AT}: .*(?P<message>Assertion .* failed\.)$"),
    Rule(
        "cmake",
        Rank.ERROR,
        rf"^CMake Error at {PATH}:(?P<line>\d{{1,7}})(?: \(\S+\))?:$",
        within=(r"^ {2}(?P<message>\S.*)$",),
        until=r"^\S",
        lines=20,
    ),
    Rule(
        "ctest",
        Rank.TEST,
        r"^\s*\d+/\d+ Test\s+#\d+: (?P<test>\S+) \.*\s*(?P<detail>\*\*\*\S.*?|\S[^.]*\*\*\*\S+?):?\s+[\d.]+ sec$",
        within=(rf"^\S+: {AT}: .*(?P<message>Assertion .* failed\.)$", r"^(?P<detail>\S.*)$"),
        until=r"^(?:\s*Start\s+\d+: .*|\d+% tests passed.*|\s*\d+/\d+ Test .*)$",
        lines=200,
    ),
    Rule(
        "googletest",
        Rank.TEST,
        rf"^{PATH}:(?P<line>\d{{1,7}}): Failure$",
        within=(
            r"^\[  FAILED  \] (?P<test>[\w./]+)",
            r"^(?P<message>\S.*)$",
            r"^\s{2,8}(?P<message>\S.*)$",
        ),
        until=r"^\[ +(?:OK|RUN|-+) +\]",
        lines=30,
    ),
    Rule(
        "make",
        Rank.MESSAGE,
        r"^make(?:\[\d+\])?: (?:\*\*\* )?(?P<message>(?:No rule|No targets|\S+: (?:No such file|Permission denied)|"
        r".*missing separator).*)$",
    ),
    Rule("make", Rank.CONSEQUENCE, r"^make(?:\[\d+\])?: \*\*\* (?P<message>\[.*\] .*)$"),
    Rule("ninja", Rank.CONSEQUENCE, r"^(?P<message>ninja: (?:build stopped|error): .*)$"),
    # -- Java, Ruby, PHP -----------------------------------------------------------------------
    Rule(
        "maven",
        Rank.TEST,
        r"^\[ERROR\] (?P<test>[\w.$]+(?:\.\w+|\(\S+\)).*?) (?:--|-) Time elapsed: .* <<< (?:FAILURE|ERROR)!.*$",
        within=(
            r"^(?P<message>[\w.$]+(?:Error|Exception|Failure)\w*(?:: .*)?)$",
            JAVA_LIBRARY,
            r"^\tat \S+\((?P<path>\w+\.(?:java|kt|scala|groovy)):(?P<line>\d{1,7})\)$",
        ),
        until=r"^(?:\s*|\[\w+\].*)$",
        lines=80,
        innermost_last=False,
    ),
    Rule(
        "maven",
        Rank.ERROR,
        r"^\[ERROR\] (?P<path>/?\S+\.(?:java|kt|scala)):\[(?P<line>\d{1,7}),(?P<column>\d{1,5})\] (?P<message>.*)$",
    ),
    Rule("maven", Rank.CONSEQUENCE, r"^\[ERROR\] (?P<message>Failed to execute goal .*)$"),
    Rule(
        "gradle",
        Rank.TEST,
        r"^(?P<test>\S.* > \S.*) FAILED$",
        within=(
            r"^ {4}(?P<message>\S.*(?:Error|Exception).*?)(?: at (?P<path>\S+):(?P<line>\d{1,7}))?$",
            r"^ {8,}(?:Caused by: .* )?at (?P<path>\S+):(?P<line>\d{1,7})$",
        ),
        until=r"^\s*$",
        lines=20,
    ),
    Rule(
        "gradle",
        Rank.MESSAGE,
        r"^\* What went wrong:$",
        within=(r"^(?:> )?(?P<message>\S.*)$",),
        until=r"^\s*$",
        lines=6,
    ),
    Rule(
        "javac",
        Rank.ERROR,
        r"^(?P<path>\S+\.(?:java|kt|scala)):(?P<line>\d{1,7}): error: (?P<message>.*)$",
    ),
    Rule(
        "java",
        Rank.ERROR,
        r'^Exception in thread "[^"]{1,100}" (?P<message>\S.*)$',
        within=(
            JAVA_LIBRARY,
            r"^\tat \S+\((?P<path>\w+\.(?:java|kt|scala)):(?P<line>\d{1,7})\)$",
        ),
        until=r"^\S",
        lines=40,
    ),
    Rule(
        "rspec",
        Rank.TEST,
        r"^ {2}\d+\) (?P<test>\S.*)$",
        within=(
            r"^ {5}Failure/Error: (?P<detail>.*)$",
            rf"^ {{5}}# {AT}:in ",
            r"^ {5,}(?P<message>\S.*)$",
        ),
        until=r"^(?: {2}\d+\) .*|Finished in .*)$",
        lines=60,
        needs="message",
        context=r"^Failures:$",
    ),
    Rule(
        "minitest",
        Rank.TEST,
        r"^ {2}\d+\) (?:Failure|Error):$",
        within=(
            rf"^(?P<test>[\w:]+#\w+)(?: \[{AT}\])?:$",
            rf"^ {{4}}{AT}:in ",
            r"^\s{0,2}(?P<message>\S.*)$",
        ),
        until=r"^(?: {2}\d+\) .*|\d+ runs, .*)$",
        lines=60,
    ),
    Rule(
        "ruby",
        Rank.ERROR,
        rf"^{PATH}:(?P<line>\d{{1,7}}):in .*?: (?P<message>.* \([\w:]+(?:Error|Exception|Interrupt)?\))$",
    ),
    Rule(
        "php",
        Rank.ERROR,
        r"^(?:PHP )?(?:Fatal|Parse) error: +(?P<message>.*?)"
        r"(?: in (?P<path>/?[^\s:]+\.php)(?:(?: on line |:)(?P<line>\d+)))?$",
        within=(r"^ {2}thrown in (?P<path>\S+) on line (?P<line>\d+)$",),
        until=r"^\s*$",
        lines=20,
    ),
    Rule(
        "phpunit",
        Rank.TEST,
        r"^\d+\) (?P<test>\S+::\S+.*)$",
        within=(r"^(?P<path>/?\S+\.php):(?P<line>\d{1,7})$", r"^(?P<message>\S.*)$"),
        until=r"^(?:\d+\) .*|FAILURES!|ERRORS!)$",
        lines=40,
    ),
    # -- Shells, systems, services -------------------------------------------------------------
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
        r"^(?:ERROR: failed to (?:solve|build).*?: |Error: (?:error )?building at STEP )(?P<message>.*)$",
    ),
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

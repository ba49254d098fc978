"""JavaScript and TypeScript: test runners, linters and npm."""

from __future__ import annotations

from bassloop.failures.failure import AT, PATH, Rank, Rule

RULES: tuple[Rule, ...] = (
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
            r"^ {4,8}(?P<message>(?:[\pL_][\pL\pN_.]*)?(?:Error|Exception)\b.*)$",
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
        r"^\s{0,8}not ok \d+(?: -)? (?P<test>\S(?:.*?[^{\s])?)(?: # time=\S+)?$",
        within=(
            r"^\s+(?P<message>(?:error|message|operator|expected|actual): +[^|>].*)$",
            r"^#? {2,}(?P<message>(?:(?:[\pL_][\pL\pN_.]*)?(?:Error|Exception)\b.*|got: +.*|expected: +.*))$",
            rf"^ {{4,8}}at \S.* \({AT}\)$",
            r"^# +at (?P<path>\S+) line (?P<line>\d{1,7})\.$",
            r"^# +\(in test file (?P<path>[^,]+), line (?P<line>\d{1,7})\)$",
            r"^# +(?P<message>\S.*)$",
            rf"^\s+(?:at|location|file): ?['\"]?.*?\(?{AT}\)?['\"]?$",
        ),
        until=r"^(?:\s*(?:\.\.\.|(?:not )?ok \d+.*)|# (?:tests|pass|fail|skip) +\d+|\d+\.\.\d+)$",
        lines=60,
    ),
    Rule(
        "tap",
        Rank.TEST,
        r"^# +Failed test '(?P<test>.*)'$",
        within=(
            r"^# +at (?P<path>\S+) line (?P<line>\d{1,7})\.$",
            r"^# +(?P<message>(?:got|expected): .*)$",
        ),
        until=r"^(?:[^#].*|# \S.*|# +Failed test .*|)$",
        lines=20,
    ),
    Rule(
        "bats",
        Rank.TEST,
        r"^ ✗ (?P<test>\S.*?)(?: \[\d+\])?$",
        within=(
            r"^ {3,8}\(in test file (?P<path>[^,]+), line (?P<line>\d{1,7})\)$",
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
    Rule(
        "playwright",
        Rank.TEST,
        r"^ {2}\d+\) (?:\[[^\]]+\] › )?(?P<test>\S+:\d+:\d+ › .*?)(?: ─+)?$",
        within=(
            r"^ {4}(?P<message>(?:[\pL_][\pL\pN_.]*(?:Error|Exception)\b|Error:|Test timeout|Expected|Received).*)$",
            rf"^ {{4,8}}at (?:.*\()?{AT}\)?$",
        ),
        until=r"^ {2}(?:\d+\) .*|\d+ (?:failed|passed|flaky|skipped).*)$",
        lines=80,
    ),
    Rule(
        "eslint",
        Rank.ERROR,
        rf"^{PATH}: line (?P<line>\d{{1,7}}), col (?P<column>\d{{1,5}}), Error - (?P<message>.*)$",
    ),
    Rule("eslint", Rank.ERROR, rf"^{AT}: (?P<message>.*) \[Error(?:/\S+)?\]$"),
    Rule("tsc", Rank.ERROR, rf"^{AT} - error (?P<message>TS\d+: .*)$"),
    Rule(
        "tsc",
        Rank.ERROR,
        rf"^{PATH}\((?P<line>\d{{1,7}}),(?P<column>\d{{1,5}})\): error (?P<message>TS\d+: .*)$",
    ),
    Rule(
        "yamllint",
        Rank.ERROR,
        r"^(?P<path>[^\s:\"'()<>|*]+\.ya?ml)$",
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
        r"^(?P<path>[^\s:\"'()<>|*]+\.[A-Za-z][A-Za-z0-9]{0,9})$",
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
            r"^(?P<message>(?:[\pL_][\pL\pN_.]*(?:Error|Exception)\b|Error \[\w+\]).*)$",
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
)

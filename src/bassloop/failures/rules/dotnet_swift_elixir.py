""".NET, Swift and Elixir: builds and tests."""

from __future__ import annotations

from bassloop.failures.failure import AT, Rank, Rule

RULES: tuple[Rule, ...] = (
    # C's rule "compiler" also matches the errors of the compiler and MSBuild.
    Rule(
        "dotnet",
        Rank.TEST,
        r"^\s{0,4}Failed {1,3}(?P<test>[\pL_]\S*\.[^\[]*?)(?: \[.*\])?$",
        within=(
            r"^\s*at .* in (?P<path>\S.*\.(?:cs|fs|vb)):line (?P<line>\d{1,7})$",
            r"^\s*at ",
            r"^\s*(?:Error Message|Stack Trace):$",
            r"^\s{0,6}(?P<message>\S.*)$",
        ),
        until=r"^(?:\s*|\s{0,4}(?:Failed|Passed|Skipped) .*|(?:Failed|Passed)! .*)$",
        lines=40,
    ),
    Rule(
        "dotnet",
        Rank.TEST,
        r"^\s{2,8}(?P<test>\S.*) \[FAIL\]$",
        within=(
            r"^\s*(?P<path>\S+\.(?:cs|fs|vb))\((?P<line>\d{1,7}),\d+\)",
            r"^\s{4,10}(?P<message>\S.*)$",
        ),
        until=r"^(?:\s*Stack Trace:|\s{2,8}\S.* \[(?:FAIL|PASS|SKIP)\]|\S.*)$",
        lines=20,
        needs="message",
    ),
    Rule(
        "xctest",
        Rank.TEST,
        rf"^{AT}: error: (?:-\[)?(?P<test>[\w.]+[. ]\w+)\]? : (?P<message>.*?)(?: -)?$",
    ),
    Rule(
        "swift-testing",
        Rank.TEST,
        r"^✘ Test (?P<test>.+?) recorded an issue at (?P<path>[^\s:]+):(?P<line>\d{1,7}):(?P<column>\d{1,5}): "
        r"(?P<message>.*)$",
    ),
    Rule(
        "exunit",
        Rank.TEST,
        r"^ {2}\d+\) (?P<test>(?:test|doctest|property) .* \(\S+\))$",
        within=(
            r"^ {5}(?P<path>\S+\.exs?):(?P<line>\d{1,7})$",
            r"^ {5}(?P<message>(?:Assertion|\*\* \(|Expected|match|left:|right:|\(ExUnit).*)$",
            r"^ {7}(?P<path>\S+\.exs?):(?P<line>\d{1,7}): \(test\)$",
        ),
        until=r"^(?: {2}\d+\) .*|Finished in .*)$",
        lines=60,
        innermost_last=True,
    ),
    Rule(
        "elixir",
        Rank.ERROR,
        rf"^\*\* \((?:Compile|Syntax|TokenMissing|MismatchedDelimiter|Argument|UndefinedFunction)Error\) {AT}: "
        r"(?P<message>.*)$",
    ),
    Rule(
        "elixir",
        Rank.ERROR,
        r"^ {4}error: (?P<message>.*)$",
        within=(rf"^ {{4}}└─ {AT}",),
        until=r"^\S",
        lines=12,
        needs="line",
    ),
    Rule("elixir", Rank.MESSAGE, r"^(?P<message>\*\* \([A-Z]\w*(?:Error)?\) .*)$", generic=True),
)

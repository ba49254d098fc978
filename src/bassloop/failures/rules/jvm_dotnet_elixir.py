"""Java and its relatives, .NET and Elixir: builds and tests."""

from __future__ import annotations

from bassloop.failures.failure import AT, PATH, Rank, Rule

JAVA_LIBRARY = r"^\s+at (?:java|javax|jdk|sun|kotlin|scala|org\.(?:junit|opentest4j|hamcrest|assertj|testng))[./]"
"""A frame that isn't informative. A pattern without groups skips the lines that it matches."""

RULES: tuple[Rule, ...] = (
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
    Rule(
        "maven",
        Rank.CONSEQUENCE,
        r"^\[ERROR\] *(?P<message>Failed to execute goal .*|COMPILATION ERROR :|Tests run: .*|(?:Failures|Errors):"
        r"|[\w.$]+:\d+ .*|To see the full stack trace .*|Re-run Maven .*|For more information about the errors.*"
        r"|After correcting the problems.*|Please refer to .*|(?:-> )?\[Help \d+\].*)$",
    ),
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
        r'^Exception in thread "[^"]+" (?P<message>\S.*)$',
        within=(
            JAVA_LIBRARY,
            r"^\tat \S+\((?P<path>\w+\.(?:java|kt|scala)):(?P<line>\d{1,7})\)$",
            r"^(?P<message>Caused by: .*)$",
        ),
        until=r"^(?:[^\sC]|C[^a]|Ca[^u])",
        lines=40,
    ),
    Rule(
        "teamcity",
        Rank.TEST,
        r"^##teamcity\[testFailed name='(?P<test>(?:[^'|]|\|.)*)' message='(?P<message>(?:[^'|]|\|.)*)'"
        r"(?: details='\s*(?P<path>/[^:|']+):(?P<line>\d+))?",
    ),
    # Kotlin and Scala
    Rule(
        "kotlin",
        Rank.ERROR,
        rf"^e: {PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}}):? (?P<message>.*)$",
    ),
    Rule(
        "kotlin",
        Rank.ERROR,
        rf"^e: {PATH}: \((?P<line>\d{{1,7}}), (?P<column>\d{{1,5}})\): (?P<message>.*)$",
    ),
    Rule(
        "sbt",
        Rank.ERROR,
        r"^\[error\] (?:-- .*: )?(?P<path>\S+\.(?:scala|sbt|java|sc)):(?P<line>\d{1,7})(?::(?P<column>\d{1,5}))?"
        r"(?:: (?P<message>\S.*?)| -*)$",
        within=(r"^\[error\] +\|(?P<message>\s*[^\s^|-].*)$",),
        until=r"^(?:[^\[].*|\[info\].*|\[error\] -- .*|\[error\] \S+\.scala:.*)?$",
        lines=8,
        needs="message",
    ),
    Rule(
        "sbt",
        Rank.CONSEQUENCE,
        r"^\[error\] (?P<message>(?:one|\d+) errors? found|Failed tests:|Total time: .*|\(.* / .*\) .*)$",
    ),
    Rule(
        "scalatest",
        Rank.TEST,
        r"^(?:\[info\] )?\s*- (?P<test>\S.*) \*\*\* FAILED \*\*\*(?: \(.*\))?$",
        within=(
            r"^(?:\[info\] )?\s{2,8}(?P<message>\S.*?) \((?P<path>\w+\.scala):(?P<line>\d{1,7})\)$",
            r"^(?:\[info\] )?\s{2,8}(?P<message>\S.*)$",
        ),
        until=r"^(?:(?:\[info\] )?\s*- .*|(?:\[info\] )?(?:Run completed|[A-Z]\w*:).*)$",
        lines=12,
        ends="path",
    ),
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

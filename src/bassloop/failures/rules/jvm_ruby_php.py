"""Java, Ruby and PHP: builds and tests."""

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
        until=r"^(?:\d+\) .*|--|FAILURES!|ERRORS!)$",
        lines=40,
    ),
    Rule(
        "phpunit",
        Rank.TEST,
        r"^ ✘ (?P<test>\S.*)$",
        within=(
            r"^ {3}│ (?P<path>/\S+\.php):(?P<line>\d{1,7})$",
            r"^ {3}│ (?P<message>\S.*)$",
        ),
        until=r"^ {0,1}\S",
        lines=40,
        needs="message",
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
)

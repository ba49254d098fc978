"""Python: its test runners, linters and installer."""

from __future__ import annotations

from bassloop.failures.failure import AT, PATH, Rank, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "pytest",
        Rank.TEST,
        r"^_{3,} (?:ERROR at (?:setup|teardown) of |ERROR collecting )?(?P<test>\S.{0,200}?) _{3,}$",
        within=(
            r"^E {1,9}(?P<message>\S.*)$",
            rf"^{AT}: ?(?:in \S+|[\w.]+)?$",
            r'^  File "(?P<path>[^"]+)", line (?P<line>\d{1,7}), in ',
        ),
        until=r"^(?:_{3,} \S.* _{3,}|={3,} \S.* ={3,}|={20,})$",
        lines=400,
        innermost_last=True,
    ),
    Rule(
        "pytest",
        Rank.TEST,
        r"^(?:FAILED|ERROR) (?:\S+?)::(?P<test>.{1,200}?)(?: - (?P<message>\S.*))?$",
    ),
    # -v: while the tests run
    Rule("pytest", Rank.TEST, r"^[^\s:]+::(?P<test>\S.{0,200}?) (?:FAILED|ERROR) +\[ *\d+%\]$"),
    Rule(
        "pytest",
        Rank.TEST,
        r"^\[gw\d+\] \[ *\d+%\] (?:FAILED|ERROR) [^\s:]+::(?P<test>\S.{0,200}?) *$",
    ),
    # --tb=line
    Rule(
        "pytest",
        Rank.ERROR,
        r"^(?P<path>/[^\s:]+\.py):(?P<line>\d{1,7}): "
        r"(?P<message>(?:[\w.]*(?:Error|Exception|Failed|Exit)\b|assert ).*)$",
    ),
    Rule("pytest", Rank.TEST, r"^ERROR (?P<test>\S+\.py)(?: - (?P<message>\S.*))?$"),
    Rule(
        "unittest",
        Rank.TEST,
        r"^(?:ERROR|FAIL): (?P<test>\S+ \(\S+\).*)$",
        within=(
            r'^ {2,8}File "(?P<path>[^"]+)", line (?P<line>\d{1,7})',
            r"^(?P<message>(?:[\pL_][\pL\pN_.]*)?(?:Error|Exception|Failure|Warning|Exit|Interrupt)\b.*)$",
        ),
        until=r"^(?:={20,}|Ran \d+ tests? in .*)$",
        lines=200,
        innermost_last=True,
    ),
    Rule(
        "doctest",
        Rank.TEST,
        r'^File "(?P<path>[^"]+)", line (?P<line>\d{1,7}), in (?P<test>\S+)$',
        within=(
            r"^ {4}(?P<message>[\pL_][\pL\pN_.]*(?:Error|Exception)\b.*)$",
            r"^ {4}(?P<detail>\S.*)$",
        ),
        until=r"^\*{20,}$",
        lines=80,
    ),
    Rule(
        "python",
        Rank.ERROR,
        r"^(?:\s*\|\s)?\s{0,4}Traceback \(most recent call last\):$",
        within=(
            r'^(?:\s*\|\s)?\s{2,12}File "(?P<path>[^"]+)", line (?P<line>\d{1,7})',
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
            r'^\s*\|\s+File "(?P<path>[^"]+)", line (?P<line>\d{1,7})',
            r"^\s*\| (?P<message>[\pL_][\pL\pN_.]*(?:: .*)?)$",
        ),
        until=r"^(?:\s*|\S.*)$",
        lines=300,
        innermost_last=True,
        needs="message",
    ),
    # rich draws a box around a traceback.
    Rule(
        "python",
        Rank.ERROR,
        r"^╭─+ Traceback \(most recent call last\) ─+╮$",
        within=(
            r"^│ (?P<path>/\S+\.pyi?):(?P<line>\d{1,7}) in ",
            r"^(?P<message>(?:[\pL_][\pL\pN_.]*)?(?:Error|Exception|Failure|Warning|Exit|Interrupt)\b.*)$",
            r"^(?P<message>[\pL_][\pL\pN_.]*: \S.*)$",
        ),
        lines=2000,
        innermost_last=True,
        needs="message",
        ends="message",
    ),
    Rule("python", Rank.MESSAGE, r"^\S*python[\d.]*: (?P<message>No module named .*)$"),
    Rule(
        "python",
        Rank.ERROR,
        r'^ {2}File "(?P<path>[^"]+)", line (?P<line>\d{1,7})$',
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
    Rule(
        "ruff",
        Rank.ERROR,
        r"^(?P<path>[^\s:\"'()<>|*]+\.pyi?):$",
        within=(
            r"^ {2}(?P<line>\d{1,7}):(?P<column>\d{1,5}) +(?P<message>[A-Z]{1,6}\d{1,4} \S.*)$",
        ),
        until=r"^\s*$",
        lines=500,
        each=True,
    ),
    Rule("ruff", Rank.ERROR, rf"^(?P<message>Would reformat): {PATH}$"),
    Rule("black", Rank.ERROR, rf"^(?P<message>would reformat|error: cannot format) {PATH}"),
    Rule("flake8", Rank.ERROR, rf"^{AT}: (?P<message>[A-Z]{{1,4}}\d{{3,4}} \S.*)$"),
    Rule(
        "pylint",
        Rank.MESSAGE,
        rf"^{PATH}:(?P<line>\d{{1,7}}): \[[CRWI]\d{{4}}\([a-z-]+\).*?\] (?P<message>.*)$",
    ),
    Rule(
        "pylint",
        Rank.ERROR,
        rf"^{PATH}:(?P<line>\d{{1,7}}): \[(?:[EF]\d{{4}}\([a-z-]+\).*?|[A-Z]{{1,6}}\d{{1,4}})\] (?P<message>.*)$",
    ),
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
        "coverage",
        Rank.MESSAGE,
        r"^(?P<message>Coverage failure: .*|(?:FAIL|ERROR|FAILURE)?:? ?Required test coverage of .* not reached.*)$",
    ),
    Rule(
        "import-linter",
        Rank.MESSAGE,
        r"^(?P<message>\S+ is not allowed to import \S+):$",
        within=(r"^(?P<message>-? +\S+ -> \S+ \(l\.\d+\))$",),
        until=r"^(?:[^-\s].*|-{3,}.*)$",
        lines=20,
    ),
    Rule(
        "bandit",
        Rank.ERROR,
        r"^>> Issue: (?P<message>\[B\d+:.*)$",
        within=(rf"^ +Location: {AT}$",),
        lines=6,
        needs="line",
        ends="line",
    ),
    Rule("codespell", Rank.ERROR, rf"^{PATH}:(?P<line>\d{{1,7}}): (?P<message>\S+ ==> .*)$"),
    Rule("django", Rank.MESSAGE, r"^(?P<message>(?:[\w.]+|\?): \(\w+\.E\d{3}\) .*)$"),
    Rule("mkdocs", Rank.MESSAGE, r"^WARNING +- {2}(?P<message>\S.*)$"),
    Rule(
        "sphinx",
        Rank.MESSAGE,
        rf"^{AT}: (?:WARNING|ERROR|SEVERE|CRITICAL): (?P<message>.*)$",
    ),
    Rule(
        "tox",
        Rank.CONSEQUENCE,
        r"^(?P<message>\S+: skipped because could not find python interpreter .*)$",
    ),
    Rule("tox", Rank.MESSAGE, r"^(?P<message>\S+: exit \d+ \([\d.]+ seconds\) .*)$"),
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
)

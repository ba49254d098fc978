"""Go, Rust, C, C++ and Swift: compilers, tests and builds."""

from __future__ import annotations

from bassloop.failures.failure import AT, PATH, Rank, Rule

RULES: tuple[Rule, ...] = (
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
    # Go
    Rule(
        "go",
        Rank.TEST,
        r"^WARNING: (?P<message>DATA RACE)$",
        within=(
            r"^(?P<message>(?:Read|Write|Previous read|Previous write) at 0x[0-9a-f]+ by .*):$",
            r"^ {6}(?P<path>\S+\.go):(?P<line>\d{1,7}) \+0x[0-9a-f]+$",
        ),
        until=r"^(?:={10,}|Goroutine .*)$",
        lines=60,
    ),
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
        r"^(?:vet: )?(?P<path>[^\s{]\S*\.go):(?P<line>\d{1,7}):(?P<column>\d{1,5}): (?P<message>.*)$",
    ),
    Rule(
        "go",
        Rank.TEST,
        r'^\{.*"Action":"output",.*"Test":"(?P<test>[^"]+)","Output":" +(?P<path>[^":]+\.go):(?P<line>\d{1,7}): '
        r"(?P<message>.*?)(?:\\n)?\"\}$",
    ),
    Rule(
        "go",
        Rank.TEST,
        r'^\{.*"Action":"output",.*"Test":"(?P<test>[^"]+)","Output":"(?P<message>panic: .*?)'
        r'(?: \[recovered.*)?(?:\\n)?"\}$',
    ),
    Rule("go", Rank.TEST, r'^\{.*"Action":"fail",.*"Test":"(?P<test>[^"]+)"'),
    Rule("go", Rank.MESSAGE, r"^\s+(?P<message>imports \S+ from \S+: import cycle not allowed.*)$"),
    Rule("go", Rank.CONSEQUENCE, r"^(?P<message>FAIL\t\S+.*)$"),
    Rule(
        "go",
        Rank.ERROR,
        r'^\{.*"Action":"build-output","Output":"(?P<path>[^":]+\.go):(?P<line>\d{1,7}):(?P<column>\d{1,5}): '
        r'(?P<message>.*?)(?:\\n)?"\}$',
    ),
    Rule(
        "go",
        Rank.MESSAGE,
        r'^\{.*"Action":"build-output","Output":"(?P<message>[^#"].*?)(?:\\n)?"\}$',
        generic=True,
    ),
    # Rust
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
        generic=True,
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
    Rule(
        "rustfmt",
        Rank.ERROR,
        r"^Diff in (?P<path>\S.*?)(?: at line |:)(?P<line>\d{1,7}):$",
        within=(r"^(?P<message>[-+].*)$",),
        until=r"^Diff in ",
        lines=12,
    ),
    # C, C++, and their builds
    Rule(
        "sanitizer",
        Rank.ERROR,
        r"^(?:==\d+==ERROR|WARNING): (?P<message>\w+Sanitizer: .*?)(?: on (?:unknown )?address .*| \(pid=\d+\))?$",
        within=(
            r"^ {4}#\d+ 0x[0-9a-f]+ in .* \.\./",
            rf"^ {{4}}#\d+ (?:0x[0-9a-f]+ in )?\S.* {AT}(?: \(.*\))?$",
            r"^(?P<message>(?:(?:READ|WRITE) of size \d+|(?:Direct|Indirect) leak of .* object\(s\)))",
        ),
        until=r"^SUMMARY: ",
        lines=60,
    ),
    Rule("sanitizer", Rank.ERROR, rf"^{AT}: (?P<message>runtime error: .*)$"),
    Rule(
        "valgrind",
        Rank.ERROR,
        r"^==\d+== (?P<message>[\d,]+ (?:\(.*\) )?bytes in [\d,]+ blocks are definitely lost|Invalid .*|Mismatched .*|"
        r"Conditional jump .*|Use of uninitialised .*|Syscall param .*|Source and destination overlap .*|"
        r"Process terminating .*)",
        within=(rf"^==\d+== {{4}}(?:at|by) 0x[0-9A-F]+: .* \({AT}\)$",),
        until=r"^==\d+==\s*$",
        lines=40,
    ),
    Rule(
        "compiler",
        Rank.ERROR,
        rf"^{AT}:\s+required from here$",
        within=(rf"^{AT}: (?:fatal )?error: (?P<message>.*)$",),
        lines=3,
        needs="message",
        ends="message",
    ),
    Rule("compiler", Rank.ERROR, rf"^{AT}: (?:fatal )?error(?:\[[A-Z]\d+\])?: (?P<message>.*)$"),
    Rule(
        "compiler",
        Rank.ERROR,
        rf"^{PATH}\((?P<line>\d{{1,7}})(?:,(?P<column>\d{{1,5}}))?\)\s*: (?:fatal )?error:? "
        r"(?P<message>.*?)(?: \[[^\]]*proj\])?$",
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
        r"^make(?:\[\d+\])?: (?:\*\*\* )?(?P<message>(?:No rule|No targets|[^\[].* (?:Schluss|Arrêt|Alto)\.|"
        r"\S+: (?:No such file|Permission denied)|.*missing separator).*)$",
    ),
    Rule("make", Rank.CONSEQUENCE, r"^make(?:\[\d+\])?: \*\*\* (?P<message>\[.*\] .*)$"),
    Rule(
        "bazel",
        Rank.ERROR,
        r"^ERROR: (?P<path>/\S*BUILD(?:\.bazel)?):(?P<line>\d{1,7}):(?P<column>\d{1,5}):? "
        r"(?P<message>.*(?:no such|not declared|invalid|undefined|name '|syntax error|does not exist).*)$",
    ),
    Rule(
        "bazel", Rank.CONSEQUENCE, r"^ERROR: (?P<message>\S*BUILD(?:\.bazel)?:\d.* failed: \(.*)$"
    ),
    Rule(
        "bazel", Rank.CONSEQUENCE, r"^(?P<message>//\S+ +(?:FAILED|TIMEOUT|FAILED TO BUILD)\b.*)$"
    ),
    Rule("bazel", Rank.CONSEQUENCE, r"^ERROR: (?P<message>Build did NOT complete successfully.*)$"),
    Rule("ninja", Rank.CONSEQUENCE, r"^(?P<message>ninja: (?:build stopped|error): .*)$"),
)

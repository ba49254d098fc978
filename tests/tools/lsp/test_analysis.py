"""Analysis of texts: names that are unbound for sure, and those that may be bound after all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bassloop import bass
from bassloop.bass import reference
from bassloop.bass.builtins import ground, internal
from bassloop.bass.registry import TABLE
from bassloop.tools.lsp import answers as editor
from bassloop.tools.lsp.analysis import HARMLESS, Analysis, analyse
from bassloop.tools.lsp.operatives import HANDLERS
from tests.bass.conformance.corpus import answers

ROOT = Path(__file__).parents[3]


def problems_of(text: str) -> list[str]:
    """Return the problems of a text, each with the part of it that it is about."""
    return [
        f"{text[each.span.start : each.span.end]}: {each.message}"
        for each in analyse(text).problems
    ]


def unbound(text: str) -> list[str]:
    """The names that a text is told not to bind."""
    said = (each.message.split(": ", 1) for each in analyse(text).problems)
    return [rest.split()[0] for what, *(rest,) in said if what == "unbound symbol"]


# --- names that nothing binds ---


@pytest.mark.parametrize(
    "text",
    [
        "nope",
        "(nope 1)",
        "(+ 1 nope)",
        "[1 nope]",
        "{:a nope}",
        "nope:member",
        "nope/child",
        "(map (fn [x] nope) [1])",
        "(defn f [x] (+ x nope))",
        "(let [x 1] (+ x nope))",
        "(let [x nope] x)",
        "(def x nope)",
        "(case 1 _ nope)",
        "(case 1 x x _ nope)",
        "($ echo $nope)",
        "($ echo (nope))",
        "(-> 1 (+ nope))",
        "(-> 1 nope)",
        "(use (.strings (nope)))",
        "(provide [f] (defn f [] nope))",
        "(provide [nope])",
        "(module [nope])",
        "(def {(:b nope) c} {})",
        "(for [x nope] x)",
        "(glob *dir* nope)",
        "(cond nope 1)",
        "(f (fn [] nope)) (defn f [g] (g))",
        "(let [x 1] (defn g [] x)) nope",
        "(if true nope nope2) (def nope2 1)",
    ],
)
def test_an_unbound_name_is_reported(text: str) -> None:
    assert unbound(text) == ["nope"]


def test_names_that_look_alike_are_offered() -> None:
    assert problems_of("(def twice 1) twise") == [
        "twise: unbound symbol: twise (did you mean twice?)"
    ]
    assert problems_of("(maap 1)") == ["maap: unbound symbol: maap (did you mean map?)"]


# --- names that something binds, or may bind ---


@pytest.mark.parametrize(
    "text",
    [
        "(def x 1) x",
        "(defn f [] later) (def later 1)",
        "(def [a {:b c} & rest] 1) [a c rest]",
        "(def {:a a (:b a) b} 1) b",
        "(defn f [[a b] & more] [a b more])",
        "(fn args args)",
        "(op [x] scope [x scope])",
        "(defop o [x] scope (eval x scope))",
        "(let [x 1 y x] (def z y) [x y z])",
        "(case [1] [x & rest] [x rest] {:a y} y)",
        "(for [x *stdin*] (log x))",
        "(curryfn [a b & c] [a b c])",
        "(provide [a] (def a 1)) a",
        "(def m (module [a] (def a 1))) m:a",
        "(import {:x 1} x) x",
        "(use (.strings)) (strings:join 1 2)",
        "(use (*dir*/lib.bass)) lib:anything",
        "(use (*dir*/foo.bar.bass)) foo.bar",
        "(use (.git (linux/alpine/git))) git:github/vito/bass/ref/main/",
        "(do (def x 1)) x",
        "(when true (def x 1)) x",
        "{:a 1 :b a}",
        "(quote nope)",
        "(quote (nope nope))",
        "$",
        "($ go test ./... -- nope)",
        "(if true 1 null) main *dir* *loop* *whatever*",
        "(log :nope) .nope ./nope /nope nope/",
        '"nope" ; nope',
        "(linux/alpine) (linux/ghcr.io/owner/name)",
        '(use (.regexp)) (regexp:case "foo" "f(?P<rest>o)" [$1 $rest])',
        "(-> ($ make) (with-image (linux/alpine)) run)",
        "(glob *dir* ./*.nix ! ./flake.nix)",
        "^{:a nope} (def x 1)",
    ],
)
def test_a_bound_name_is_not_reported(text: str) -> None:
    expected = ["nope"] if "nope/" in text else []
    assert unbound(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "(defop bind-it args scope (eval [def :it 1] scope)) (bind-it) it",
        "(defop my-let [name & body] scope 1) (my-let x (+ x 1))",
        "(bind (current-scope) :it 1) it",
        "(def here current-scope) (here) it",
        "(def my-def def) (my-def it 1) it",
        "(defn f [g] (g it 1) it)",
        "(defn f [client] (client:start it) it)",
        "((op [x] s x) it)",
        "((some-operative) it) (def some-operative 1)",
        "(let [o (op _ s (eval [def :it 1] s))] (o) it)",
        "(use (*dir*/lib.bass)) (lib:binds-it) it",
        "(use ((fn [] 1))) it",
        "(defop let [& args] _ 1) (let it it)",
        "(provide [o] (defop o [x] s 1)) (o it)",
        "(def {:o o} {}) (o it) it",
        "(let [[o] 1] (o it))",
        "(def alias o) (defop o [x] s 1) (alias it)",
        "(def f (fn [] 1)) (def f (op [x] s 1)) (f it)",
        "(defn f [x] 1) (let [f (op [x] s 1)] (f it))",
        "(*operative* it) it",
        "{:a it other}",
    ],
)
def test_nothing_is_reported_where_an_operative_may_bind_names(text: str) -> None:
    said = unbound(text)
    assert "it" not in said
    assert "x" not in said


def test_only_the_scope_of_such_a_call_is_not_analysed() -> None:
    text = "(defn f [g] (g a) b) (defn h [] c) d"
    assert unbound(text) == ["c", "d"]


def test_functions_of_the_text_and_of_std_evaluate_their_operands() -> None:
    assert unbound("(defn f [x] x) (f nope)") == ["nope"]
    assert unbound("(def f (fn [x] x)) (f nope)") == ["nope"]
    assert unbound("(def same map) (same nope nope2)") == ["nope", "nope2"]
    assert unbound('(use (.strings)) (strings:join "," nope)') == ["nope"]
    assert unbound("(use (.github)) (github:check-hook nope 1 2)") == ["nope"]


# --- members and modules of std ---


def test_an_unknown_member_of_a_standard_module_is_reported() -> None:
    assert problems_of("(use (.strings)) (strings:jion)") == [
        "jion: .strings does not bind jion (did you mean join?)"
    ]
    assert problems_of("(use (.strings)) strings:map strings:*dir*") == []


def test_an_unknown_standard_module_is_reported() -> None:
    assert problems_of("(use (.strngs))") == [
        ".strngs: there is no standard module .strngs (did you mean strings?)"
    ]


def test_deprecated_names_are_marked() -> None:
    (problem,) = analyse("(append [1] [2])").problems
    assert (problem.severity, problem.deprecated) == ("hint", True)
    assert analyse("(def append 1) append").problems == []


# --- errors of reading ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(+ 1", ["(: unexpected end: ( is never closed"]),
        ("(f [1)", ["): unmatched ): [ of line 1 needs ]"]),
        (")", ["): unmatched )"]),
        ('"abc', ['": unexpected end: the string is never closed']),
        ("1x", ["1x: not a number: 1x"]),
        ('"\\q" (', ["\\q: no escape sequence: \\q", "(: unexpected end: ( is never closed"]),
        ("(a\n\n(def b 1)\n(c", ["(: unexpected end: ( is never closed"] * 2),
        ("^", ["^: ^ must be followed by metadata and a form"]),
    ],
)
def test_unreadable_text_is_reported_with_its_location(text: str, said: list[str]) -> None:
    assert problems_of(text) == said


def test_a_text_with_a_syntax_error_is_not_analysed_further() -> None:
    assert problems_of("(nope\n(def x 1)") == ["(: unexpected end: ( is never closed"]


def test_names_around_a_mistake_are_still_known() -> None:
    found = analyse("(def before 1)\n(defn f [x]\n  (let [y 2] (+ x \n\n(def after 1)")
    assert [each.name for each in found.outline()][:2] == ["before", "f"]
    assert {"before", "after", "f", "x", "y"} <= found.visible(found.text.index("(+ x") + 4).keys()


# --- never wrong, never slow ---


def test_all_operatives_of_ground_are_known() -> None:
    ground()
    assert {name for name, each in TABLE.items() if each.operative} == set(HANDLERS)


def test_all_operatives_of_std_are_known() -> None:
    operatives = {
        entry.full_name
        for module in reference.module_names()
        for entry in reference.module_entries(module).values()
        if entry.kind == "operative"
    }
    # What has another one's name binds names as that does.
    assert operatives - HARMLESS == {"streams:for"}


def test_programs_of_the_corpus_that_succeed_are_not_warned_of() -> None:
    wrong = {
        each["program"]: problems_of(each["program"])
        for each in answers()
        if each["ok"] and any(one.severity != "hint" for one in analyse(each["program"]).problems)
    }
    # In these, what is told of is true but never reached.
    for harmless in ("(-> 1 (fn [x] x))", "^:x"):
        wrong.pop(harmless, None)
    assert wrong == {}


@pytest.mark.parametrize("name", reference.module_names())
def test_std_itself_is_not_warned_of(name: str) -> None:
    text = (ROOT / "src/bassloop/bass/std" / f"{name}.bass").read_text()
    assert analyse(text, internal().vars).problems == []


@pytest.mark.parametrize("path", ["examples/hello/project.bass"])
def test_examples_are_not_warned_of(path: str) -> None:
    assert analyse((ROOT / path).read_text()).problems == []


TOKENS = st.sampled_from(
    [*"()[]{}^&_ \n;\"\\$:/.", "def", "defn", "defop", "op", "fn", "let", "case", "use", "provide",
     "module", "import", "->", "for", "quote", "current-scope", "curryfn", "glob", "do", "x", "y",
     ":a", "1", "1x", '"s"', "(.strings)", "strings:join", "*dir*/x.bass", "é", "\r\n", "# ", "#!"]
)  # fmt: skip


def everything(found: Analysis) -> None:
    """Ask everything that an editor asks, at every place."""
    editor.outline(found)
    for offset in range(len(found.text) + 1):
        editor.hover(found, offset)
        editor.complete(found, offset)
        editor.target(found, offset)
        editor.signature(found, offset)
        editor.occurrences(found, offset)
    for problem in found.problems:
        assert 0 <= problem.span.start <= problem.span.end <= len(found.text)


@given(st.lists(TOKENS, max_size=40).map(" ".join) | st.lists(TOKENS, max_size=40).map("".join))
def test_any_sequence_of_tokens_is_analysed(text: str) -> None:
    everything(analyse(text))


@given(st.text(max_size=60))
def test_any_text_is_analysed(text: str) -> None:
    everything(analyse(text))


@settings(max_examples=60)
@given(st.sampled_from([each["program"] for each in answers() if each["ok"]]), st.data())
def test_a_program_cut_anywhere_is_analysed(program: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(program)))
    end = data.draw(st.integers(start, len(program)))
    everything(analyse(program[:start] + program[end:]))


PIECES = [
    "(defop o [& args] s (map (fn [x] (eval [def x 1] s)) args))",
    "(defop o2 [x] s (eval x s))",
    "(def o3 (op [a b] s (eval [def a b] s)))",
    "(def d def)",
    "(def cs current-scope)",
    "(defn h [f] (f it 1) it)",
    "(h def)",
    "(h o3)",
    "(o it) it",
    "(d it 2) it",
    "(o2 (def it 1)) it",
    "(bind (cs) :it 3) it",
    "(bind (current-scope) [:it] [3]) it",
    "(provide [q] (o it) (def q it)) q",
    "(let [f o] (f it) it)",
    "(import {:k o} k) (k it) it",
    "((fn [g] (g it) it) o)",
    "(def {:o oo} {:o o}) (oo it) it",
    "(map (fn [x] (x it) it) [o])",
    "(-> it (o3 5)) it",
    "(cond (o it) it)",
    "(case o f (do (f it) it))",
    "[(o it) it]",
    "{:a (o it) :b it}",
    "(def m (module [p] (def p o))) (m:p it) it",
    "(def m {:p o}) (m:p it) it",
    "(for [f (list->source [o])] (f it) it)",
    "((wrap o) (quote it)) it",
    "((unwrap (wrap o)) it) it",
    "(use (.time)) (time:measure (def it 1)) it",
    "(let [let o] (let it) it)",
    "it",
    "(if false it 1)",
    "(fn [] it)",
    "(def it 1)",
    "(quote it)",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.booleans())
def test_a_program_that_succeeds_never_uses_a_name_reported_as_unbound(
    pieces: list[str], inside: bool
) -> None:
    program = "\n".join(pieces)
    program = f"(let [] {program})" if inside else program
    try:
        evaluate(program)
    except bass.BassError:
        return
    changed = program
    for problem in sorted(analyse(program).problems, key=lambda each: -each.span.start):
        start, end = problem.span.start, problem.span.end
        changed = f'{changed[:start]}(error "reached"){changed[end:]}'
    evaluate(changed)


def evaluate(program: str) -> None:
    session = bass.immediate_session(_Quiet(), bass.Budget(steps=100_000))
    bass.run_now(session.evaluate(program, "x", bass.DirPath(".")))


FUNCTION = """(defn f{0} [x & rest]
  ; what it is
  (let [y (+ x {0}) {{:a b (:c 3) d}} {{:a 1}}]
    (-> ($ go test ./... $y) (with-env {{:A "b" :C f{0}}}) (with-image (linux/alpine)))))
"""
LONG = "".join(FUNCTION.format(number) for number in range(1_000))


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"(do\n{LONG})",
        f"(do\n{LONG}",
        f"{LONG[:9000]}]{LONG[9000:]}",
        f'{LONG[:9000]}"{LONG[9000:]}',
        "(" * 100_000,
        "(f " * 9_000 + ")" * 9_000,
        "(let [x 1] " * 9_000,
        "(]" * 20_000,
        "1x " * 20_000,
        "nope " * 20_000,
        "(-> 1 " + "(f 2) " * 20_000 + ")",
        "(def x x)\n" * 10_000,
        "".join(f"(def a{each} a{each - 1})\n" for each in range(1, 10_000)),
        "(use (.strings))\n" * 3_000 + "(strings:jion 1)\n" * 3_000,
        "(defn g [h] " + "(h " * 4_000 + ")" * 4_001,
    ],
    ids=range(16),
)
def test_long_texts_take_seconds_at_the_most(text: str) -> None:
    begun = time.process_time()
    found = analyse(text)
    middle = len(text) // 2
    editor.hover(found, middle)
    editor.complete(found, middle)
    editor.target(found, middle)
    editor.signature(found, middle)
    editor.occurrences(found, middle)
    editor.outline(found)
    assert time.process_time() - begun < 8


def test_names_that_are_reported_as_unbound_are_unbound_when_evaluated() -> None:
    """Names that are reported as unbound are unbound when they are evaluated."""
    for text in ("nope", "(map (fn [x] nope) [1])", "(let [x nope] x)", "($ echo $nope)"):
        with pytest.raises(bass.BassError, match="unbound symbol: nope"):
            evaluate(text)


class _Quiet(bass.Host):
    def log(self, message: str, fields: object) -> None:
        return

    def write_error(self, text: str) -> None:
        raise AssertionError(text)

"""Programs made at random, the same ones for the same seed: well typed, so that most of them succeed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 20240229
NAMES = ("a", "b", "c", "x'", "foo-bar", "k?", "n1")
WORDS = ("", "a", "b c", "héé", "x=y", "<&>", 'q"q', "line\nbreak", "漢", "$host", "0")


class Generator:
    """Grows expressions of a wanted type, ever smaller towards the leaves."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bound: list[tuple[str, str]] = []

    def one(self, *makers: Callable[[int], str], depth: int) -> str:
        return self.random.choice(makers)(depth - 1)

    def of(self, type: str, depth: int) -> str:
        """An expression of a type."""
        known = [name for name, bound in self.bound if bound == type]
        if known and self.random.random() < 0.3:
            return self.random.choice(known)
        grow = depth > 0 and self.random.random() < 0.85
        return str(getattr(self, f"{type}_{'grown' if grow else 'leaf'}")(depth))

    def any(self, depth: int) -> str:
        """An expression of some type of data."""
        return self.of(
            self.random.choice(("int", "str", "bool", "list", "scope", "sym", "path", "thunk")),
            depth,
        )

    # --- numbers, booleans ---

    def int_leaf(self, depth: int) -> str:
        return self.random.choice(
            ("0", "1", "-1", "7", "42", "1_000", "0x1f", "9223372036854775807")
        )

    def int_grown(self, depth: int) -> str:
        return self.one(
            lambda d: (
                f"({self.random.choice(('+', '*', '-', 'max', 'min'))} {self.many('int', d, 1, 4)})"
            ),
            lambda d: f"(quot {self.of('int', d)} {self.random.choice(('2', '-3', '7'))})",
            lambda d: f"(length {self.of('list', d)})",
            lambda d: f"(if {self.of('bool', d)} {self.of('int', d)} {self.of('int', d)})",
            lambda d: f"(foldl + {self.of('int', d)} {self.ints(d)})",
            lambda d: f"(foldr - {self.of('int', d)} {self.ints(d)})",
            lambda d: f"({self.random.choice(('first', 'second'))} [{self.many('int', d, 2, 3)}])",
            lambda d: f"(-> {self.of('int', d)} (+ {self.of('int', d)}) (- 1))",
            lambda d: f"(:{self.random.choice(NAMES[:3])} {{:a 1 :b {self.of('int', d)} :c 3}})",
            lambda d: f"(:nope {self.of('scope', d)} {self.of('int', d)})",
            lambda d: f"(apply + {self.ints(d)})",
            lambda d: self.let("int", d),
            lambda d: self.call("int", d),
            lambda d: self.case("int", d),
            depth=depth,
        )

    def bool_leaf(self, depth: int) -> str:
        return self.random.choice(("true", "false"))

    def bool_grown(self, depth: int) -> str:
        compare = self.random.choice(("<", "<=", ">", ">="))
        predicate = self.random.choice(
            ("null?", "list?", "pair?", "scope?", "symbol?", "string?", "empty?", "thunk?", "path?", "combiner?",
             "applicative?", "number?", "boolean?", "ignore?", "keyword?", "operative?")
        )  # fmt: skip
        return self.one(
            lambda d: f"({compare} {self.many('int', d, 1, 3)})",
            lambda d: f"(= {self.any(d)} {self.any(d)})",
            lambda d: f"(= {self.of('list', d)} {self.of('list', d)})",
            lambda d: f"({predicate} {self.any(d)})",
            lambda d: f"(not {self.of('bool', d)})",
            lambda d: f"(and {self.of('bool', d)} {self.of('bool', d)})",
            lambda d: f"(or {self.of('bool', d)} {self.of('bool', d)})",
            lambda d: f"(binds? {self.of('scope', d)} {self.of('sym', d)})",
            lambda d: f"(bind (current-scope) {self.pattern(d)} {self.any(d)})",
            depth=depth,
        )

    # --- text, symbols ---

    def str_leaf(self, depth: int) -> str:
        word = self.random.choice(WORDS)
        escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'

    def str_grown(self, depth: int) -> str:
        return self.one(
            lambda d: f"(str {self.many(None, d, 0, 3)})",
            lambda d: f"(json {self.data(d)})",
            lambda d: f'(trim (str " " {self.of("str", d)} "\\n"))',
            lambda d: f"(symbol->string {self.of('sym', d)})",
            lambda d: f'(substring (str "abcdef" {self.of("str", d)}) {self.random.randint(0, 5)})',
            lambda d: f"(if {self.of('bool', d)} {self.of('str', d)} {self.of('str', d)})",
            lambda d: f"(path-name {self.of('path', d)})",
            lambda d: f"(path-stem {self.of('path', d)})",
            lambda d: self.let("str", d),
            depth=depth,
        )

    def sym_leaf(self, depth: int) -> str:
        return ":" + self.random.choice(NAMES)

    def sym_grown(self, depth: int) -> str:
        return self.one(
            lambda d: f"(string->symbol {self.of('str', d)})",
            lambda d: f"(quote {self.random.choice(NAMES)})",
            lambda d: f"(first (keys {{:z 1 {self.entries(d)}}}))",
            depth=depth,
        )

    # --- lists, scopes ---

    def list_leaf(self, depth: int) -> str:
        return self.random.choice(("[]", "()", "[1 2 3]", "[:a :b]", '["x" null]'))

    def list_grown(self, depth: int) -> str:
        keep = self.random.choice(("symbol?", "number?", "string?", "id", "null?"))
        return self.one(
            lambda d: f"[{self.many(None, d, 0, 4)}]",
            lambda d: f"[{self.many(None, d, 1, 2)} & {self.of('list', d)}]",
            lambda d: f"(list {self.many(None, d, 0, 3)})",
            lambda d: f"(list* {self.many(None, d, 1, 2)} {self.of('list', d)})",
            lambda d: f"(cons {self.any(d)} {self.of('list', d)})",
            lambda d: f"(rest [{self.many(None, d, 1, 3)}])",
            lambda d: f"(concat {self.many('list', d, 0, 3)})",
            lambda d: f"(conj {self.of('list', d)} {self.many(None, d, 1, 2)})",
            lambda d: f"(map {self.function(d)} {self.of('list', d)})",
            lambda d: f"(filter {keep} {self.of('list', d)})",
            lambda d: f"(foldl conj {self.of('list', d)} {self.of('list', d)})",
            lambda d: f"(foldr cons {self.of('list', d)} {self.of('list', d)})",
            lambda d: f"(scope->list {self.of('scope', d)})",
            lambda d: f"({self.random.choice(('keys', 'vals'))} {self.of('scope', d)})",
            lambda d: f"(map-pairs list [{self.many(None, d, 2, 2)}])",
            lambda d: f"(quote {self.quoted(d)})",
            lambda d: f"(take-all (list->source {self.of('list', d)}))",
            lambda d: f"(thunk-cmd {self.of('thunk', d)})",
            lambda d: f"(reduce-kv (fn [l k v] (conj l k v)) [] {self.of('scope', d)})",
            lambda d: self.let("list", d),
            lambda d: self.case("list", d),
            depth=depth,
        )

    def scope_leaf(self, depth: int) -> str:
        return self.random.choice(("{}", "{:a 1 :b 2}", "{:b [] :c {:a null}}"))

    def scope_grown(self, depth: int) -> str:
        return self.one(
            lambda d: f"{{{self.entries(d)}}}",
            lambda d: f"{{{self.of('scope', d)} {self.entries(d)}}}",
            lambda d: f"{{{self.entries(d)} {self.of('scope', d)}}}",
            lambda d: f"(assoc {self.of('scope', d)} {self.of('sym', d)} {self.any(d)})",
            lambda d: f"(merge {self.many('scope', d, 0, 3)})",
            lambda d: f"(make-scope {self.many('scope', d, 0, 2)})",
            lambda d: f"(list->scope [{self.entries(d)}])",
            lambda d: f"(module [m] (def m {self.any(d)}))",
            lambda d: f"(meta ^{{{self.entries(d)}}} {self.of('list', d)})",
            lambda d: self.let("scope", d),
            depth=depth,
        )

    # --- paths, thunks ---

    def path_leaf(self, depth: int) -> str:
        return self.random.choice(
            ("./a", "./b/", ".cmd", "/", "/abs/x.y", "../up/", "./", "*dir*", "*dir*/f")
        )

    def path_grown(self, depth: int) -> str:
        return self.one(
            lambda d: f"(subpath {self.directory(d)} {self.plain()})",
            lambda d: f"({self.directory(d)} {self.plain()})",
            lambda d: (
                f"(let [d {self.directory(d)}] d/x/{self.random.choice(('y', 'y/', '../z'))})"
            ),
            lambda d: (
                f'(string->{self.random.choice(("fs-path", "dir", "cmd-path"))} (str "p" {self.of("str", d)}))'
            ),
            lambda d: (
                f"({self.random.choice(('only', 'except'))}-globs {self.plain_dir()} ./*.x {self.plain()})"
            ),
            depth=depth,
        )

    def plain(self) -> str:
        return self.random.choice(("./f", "./g/", "../h", "/i/", "./j.k/l"))

    def plain_dir(self) -> str:
        return self.random.choice(("./d/", "../", "/", "./d/e/", "*dir*"))

    def directory(self, depth: int) -> str:
        return self.random.choice(
            (
                self.plain_dir(),
                f"(subpath {self.of('thunk', depth - 1)} {self.plain_dir() if self.random.random() < 0.5 else './o/'})",
                '(mkfs ./f "1" ./g/h "2")',
                f'(cache-dir "c{self.random.randint(0, 3)}")',
            )
            if depth > 0
            else (self.plain_dir(),)
        ).replace(" *dir*)", " ./o/)")

    def thunk_leaf(self, depth: int) -> str:
        return self.random.choice(
            (
                "(.cmd)",
                "($ echo hi)",
                '(./run 1 "two")',
                '($ sh -c "a b" ./x)',
                "scratch",
                "(.c {:a [1]})",
            )
        )

    def thunk_grown(self, depth: int) -> str:
        target = self.random.choice(("./m/", "/m/", "./m", "./"))
        return self.one(
            lambda d: f"($ cmd {self.many('arg', d, 0, 3)})",
            lambda d: f"(with-args {self.of('thunk', d)} [{self.many('arg', d, 0, 2)}])",
            lambda d: f'(with-cmd {self.of("thunk", d)} ["c" {self.many("arg", d, 0, 2)}])',
            lambda d: f"(with-stdin {self.of('thunk', d)} [{self.many('arg', d, 0, 2)}])",
            lambda d: (
                f"(with-env {self.of('thunk', d)} {{:K{self.random.randint(1, 3)} {self.of('arg', d)} "
                f":L {self.of('str', d)}}})"
            ),
            lambda d: f"(with-label {self.of('thunk', d)} {self.of('sym', d)} {self.of('arg', d)})",
            lambda d: (
                f"(with-port {self.of('thunk', d)} :p{self.random.randint(1, 2)} {self.random.randint(1, 9999)})"
            ),
            lambda d: f"(with-insecure {self.of('thunk', d)} {self.of('bool', d)})",
            lambda d: f"(with-tls {self.of('thunk', d)} ./cert /key)",
            lambda d: f"(with-mount {self.of('thunk', d)} {self.source(d)} {target})",
            lambda d: f"(with-dir {self.of('thunk', d)} {self.plain_dir()})",
            lambda d: f"(with-dir {self.of('thunk', d)} (subpath {self.of('thunk', d)} ./w/))",
            lambda d: f"(with-image {self.of('thunk', d)} {self.image(d)})",
            lambda d: f"(from {self.image(d)} {self.many('thunk', d, 1, 2)})",
            lambda d: f"(with-entrypoint {self.of('thunk', d)} [{self.many('str', d, 0, 2)}])",
            lambda d: f"(with-default-args {self.of('thunk', d)} [{self.many('str', d, 0, 2)}])",
            lambda d: f"(with-entrypoint-args {self.of('thunk', d)} [{self.many('arg', d, 0, 2)}])",
            lambda d: f"(wrap-cmd {self.of('thunk', d)} .time {self.of('str', d)})",
            lambda d: f"(cd {self.source(d)} {self.of('thunk', d)})",
            depth=depth,
        )

    def image(self, depth: int) -> str:
        platform = self.random.choice(('{:os "linux"}', '{:os "linux" :architecture "arm64"}'))
        extra = self.random.choice(
            ("", ' :tag "t"', ' :digest "sha256:d"', ' :tag "t" :digest "sha256:d"')
        )
        ref = f'{{:platform {platform} :repository "repo"{extra}}}'
        if depth <= 0:
            return ref
        thunk = self.of("thunk", depth - 1)
        return self.random.choice(
            (
                ref,
                thunk,
                f"{{:platform {platform} :file (subpath {thunk} ./image.tar)}}",
                f'{{:platform {platform} :docker_build (mkfs ./Dockerfile "FROM x") :args {{:A "1"}}}}',
                f"{{:platform {platform} :repository (addr (with-port {thunk} :r 5000) :r){extra}}}",
            )
        )

    def source(self, depth: int) -> str:
        return self.random.choice(
            (
                f"(subpath {self.of('thunk', depth - 1)} ./out/)" if depth > 0 else "((.t) ./out/)",
                '(mkfs ./f "1" ./g/h "2")',
                '(subpath (mkfs ./f "1" ./g/h "2") ./g/)',
                '(cache-dir "c" :locked)',
                '(mask "hush" :name)',
            )
        )

    def arg_leaf(self, depth: int) -> str:
        return self.random.choice(
            ('"x"', "1", "null", "true", "./p", "./q/", ".r", "[]", "{:a 1}", '(mask "s" :n)')
        )

    def arg_grown(self, depth: int) -> str:
        return self.one(
            lambda d: self.of("str", d),
            lambda d: self.of("int", d),
            lambda d: self.of("path", d),
            lambda d: self.of("thunk", d),
            lambda d: f"[{self.many('arg', d, 0, 3)}]",
            lambda d: f"{{:a {self.of('arg', d)} :b {self.of('arg', d)}}}",
            self.source,
            depth=depth,
        )

    # --- what holds them together ---

    def many(self, type: str | None, depth: int, least: int, most: int) -> str:
        count = self.random.randint(least, most)
        return " ".join(self.of(type, depth) if type else self.any(depth) for _ in range(count))

    def ints(self, depth: int) -> str:
        return f"[{self.many('int', depth, 0, 4)}]"

    def entries(self, depth: int) -> str:
        names = self.random.sample(NAMES, self.random.randint(0, 3))
        return " ".join(f":{name} {self.any(depth)}" for name in names)

    def data(self, depth: int) -> str:
        return self.of(
            self.random.choice(("int", "str", "bool", "list", "scope", "path", "thunk")), depth
        )

    def function(self, depth: int) -> str:
        return self.random.choice(
            (
                "id",
                "list",
                "str",
                "(fn [x] [x x])",
                "(always 1)",
                "(fn [x & y] [x y])",
                f"(fn [v] {self.any(depth)})",
            )
        )

    def pattern(self, depth: int) -> str:
        return self.random.choice(
            (":q", "[:q & :r]", "[]", "[1 :q]", "(quote [q {:a r}])", "(quote {:a q})")
        )

    def let(self, type: str, depth: int) -> str:
        name = self.random.choice(("u", "v", "w"))
        kind = self.random.choice(("int", "str", "list", "scope"))
        value = self.of(kind, depth)
        self.bound.append((name, kind))
        body = self.of(type, depth)
        self.bound.pop()
        return f"(let [{name} {value}] {body})"

    def call(self, type: str, depth: int) -> str:
        self.bound.append(("z", "int"))
        body = self.of(type, depth)
        self.bound.pop()
        formals = self.random.choice(("[z]", "[z & more]", "[z _]", "[z {(:d 4) d}]"))
        second = " {}" if formals in ("[z _]", "[z {(:d 4) d}]") else ""
        return f"((fn {formals} {body}) {self.of('int', depth)}{second})"

    def case(self, type: str, depth: int) -> str:
        return (
            f"(case {self.any(depth)} [] {self.of(type, depth)} [h & t] {self.of(type, depth)} "
            f"{{:a aa}} {self.of(type, depth)} _ {self.of(type, depth)})"
        )

    def quoted(self, depth: int) -> str:
        if depth <= 0:
            return self.random.choice(
                ("sym", ":key", "1", '"s"', "./p/q", "a:b", "null", "_", "d/e")
            )
        inner = " ".join(self.quoted(depth - 1) for _ in range(self.random.randint(0, 3)))
        return self.random.choice(
            (f"({inner})", f"[{inner}]", f"{{{inner}}}", f"({inner} & x)", f"^:m ({inner})")
        )


def programs() -> Iterator[str]:
    """All of them: values of any kind, then thunks."""
    generator = Generator(SEED)
    for _ in range(600):
        yield generator.any(4)
    for _ in range(300):
        yield generator.thunk_grown(3)
    for _ in range(100):
        yield f"(def v {generator.any(3)})\n[v (meta v)]"


if __name__ == "__main__":
    for program in programs():
        print(program)

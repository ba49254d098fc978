"""The notation for thunks: `$`, `from`, `cd`, images by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from bassloop.bass import arguments
from bassloop.bass.builtins.control import truthy
from bassloop.bass.builtins.effects import resolve
from bassloop.bass.builtins.lists_and_scopes import assoc, merge
from bassloop.bass.builtins.memos import recall_memo, store_memo
from bassloop.bass.builtins.paths import except_globs, mkfs, only_globs, path_name_
from bassloop.bass.builtins.thunks import with_image, with_mount
from bassloop.bass.combiner import APPLIED, Applicative, Builtin, call
from bassloop.bass.compile.code import code
from bassloop.bass.errors import BassError, arity, brief, wrong_type
from bassloop.bass.path import HERE, CommandPath, NamedPath, parse_file_or_dir
from bassloop.bass.printer import PRINTED, Parts, Verbatim, display
from bassloop.bass.registry import builtin, function
from bassloop.bass.thunk import SCRATCH, Thunk
from bassloop.bass.values import (
    EMPTY,
    MISSING,
    Combiner,
    Keyword,
    Scope,
    Symbol,
    end_of,
    from_list,
    plain,
    value_type,
)

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


def _word(form: Value, scope: Scope, machine: Machine) -> Value:
    """Return the value of a command's word: symbols stand for themselves, `$name` for the value of `name`."""
    bare = plain(form)
    if bare.__class__ is Symbol:
        if not bare.name.startswith("$"):
            return bare.name
        form = Symbol(bare.name[1:])
    return code(form)(scope, machine)


def _words(forms: list[Value], rest: Value, scope: Scope, machine: Machine) -> tuple[Value, ...]:
    words = [_word(form, scope, machine) for form in forms]
    if rest is not EMPTY and end_of(_word(rest, scope, machine), words) is not EMPTY:
        raise BassError(lambda: f"$: need a list after &, have {brief(rest)}")
    return tuple(words)


def _command_with_rest(args: list[Value], rest: Value, scope: Scope, machine: Machine) -> Value:
    return SCRATCH.replace(args=_words(args, rest, scope, machine))


@builtin("$", "args", operative=True, dotted=_command_with_rest)
def command(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Makes a thunk of a command line.

    Words stand for themselves, $name for the value of the name. Anything else is evaluated.

    => ($ sh -c "echo Hello, world!")
    """
    return _command_with_rest(args, EMPTY, scope, machine)


def _entrypoint_with_rest(args: list[Value], rest: Value, scope: Scope, machine: Machine) -> Value:
    return SCRATCH.replace(args=_words(args, rest, scope, machine), use_entrypoint=True)


@builtin("$$", "args", operative=True, dotted=_entrypoint_with_rest)
def entrypoint_command(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Does the same as [$], but gives the words to the entrypoint of an image."""
    return _entrypoint_with_rest(args, EMPTY, scope, machine)


@function("insecure!")
def insecure(thunk: Thunk) -> Value:
    """Returns the thunk with elevated rights.

    => (insecure! (.boom))
    """
    return thunk.replace(insecure=True)


@builtin("from", "[image & thunks]", indent=True)
def from_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a chain of thunks: the first one runs on an image, and each in the state that the previous one left.

    => (from (linux/alpine) ($ apk add git) ($ git version))
    """
    base = args[0]
    for each in args[1:]:
        base = with_image([each, base], scope, machine)
    return base


@builtin("cd", "[dir thunk & thunks]", indent=True)
def cd(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a chain of thunks that run in a directory, which is mounted into the first one.

    => (from (linux/alpine) (cd *dir* ($ find ./)))
    """
    first = with_mount([args[1], args[0], HERE], scope, machine)
    return from_([first, *args[2:]], scope, machine)


@function("wrap-cmd")
def wrap_cmd(thunk: Thunk, *args: Value) -> Value:
    """Returns the thunk with words in front of its command.

    => (wrap-cmd ($ go test) .strace "-f")
    """
    return thunk.replace(args=(*args, *thunk.args))


@builtin("docker-build", "[context platform & opts]")
def docker_build(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a thunk of the image that is built from a directory's Dockerfile.

    :dockerfile, :target and :args (a scope of strings) may follow.

    => (docker-build *dir* {:os "linux"} :target "test")
    """
    return _built("docker_build", args, scope, machine)


@builtin("oci-load", "[file platform & opts]")
def oci_load(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a thunk of the image in an OCI archive; :tag may follow.

    => (oci-load ((.build) ./image.tar) {:os "linux"})
    """
    return _built("file", args, scope, machine)


def _built(key: str, args: list[Value], scope: Scope, machine: Machine) -> Value:
    given = Scope({"platform": args[1], key: args[0]})
    options = assoc([Scope(), *args[2:]], scope, machine)
    return with_image([SCRATCH, merge([given, options], scope, machine)], scope, machine)


@builtin("glob", "[path & patterns]", operative=True)
def glob(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a directory with only the files that match the patterns. `!` or `:!` in front of a pattern excludes the
    files that match it.

    => (glob *dir* ./*.nix ! ./flake.nix)
    """
    directory = code(args[0])(scope, machine)
    wanted: list[Value] = []
    unwanted: list[Value] = []
    excluding = False
    for form in args[1:]:
        bare = plain(form)
        if bare.__class__ in (Symbol, Keyword) and bare.name == "!":
            excluding = True
            continue
        (unwanted if excluding else wanted).append(code(form)(scope, machine))
        excluding = False
    return except_globs(
        [only_globs([directory, *wanted], scope, machine), *unwanted], scope, machine
    )


@builtin("mkfile", "[name content]")
def mkfile(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a file in memory.

    => (mkfile ./hi "hello world!")
    """
    return mkfs(args, scope, machine).extend(arguments.path(args[0], "mkfile"))


@builtin("path-base", "[path]")
def path_base(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the last part of a path, as a path.

    => (path-base ./foo/bar)
    """
    return parse_file_or_dir(path_name_(args, scope, machine))


# --- memos and images by name ---


@builtin("memo", "[memos thunk binding]")
def memo(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns a function of a module that stores its results in a file, by its arguments.

    The file is read and written if it is on this machine, and only read if it is in a thunk or repository.

    => (memo *dir*/bass.lock (.strings) :upper-case)
    """
    memos, module, binding = args

    def remembering(values: list[Value], scope: Scope, machine: Machine) -> Value:
        given = from_list(values)
        found = recall_memo([memos, module, binding, given], scope, machine)
        if truthy(found):
            return found
        loaded = machine.session.module(arguments.thunk(module, "memo"), machine)
        function = call(binding, [loaded], machine)
        result = call(function, values, machine)
        return store_memo([memos, module, binding, given, result], scope, machine)

    return Applicative(Builtin("memo", Symbol("args"), remembering))


@final
@value_type
class ImageName(Combiner):
    """The name of an image, as a path. Calling it with a path extends it, with a tag or no argument resolves it."""

    kind = "image name"
    applicative = True

    platform: Value
    names: tuple[str, ...]
    memos: Value


@PRINTED.of(ImageName)
def _print_image(image: ImageName) -> Parts:
    yield Verbatim(f"<image: {'/'.join(image.names)}>")


@APPLIED.of(ImageName)
def _image(image: ImageName, args: list[Value], scope: Scope, machine: Machine) -> Value:
    if len(args) > 1:
        raise arity(brief(image), 1, len(args))
    tag = plain(args[0]) if args else "latest"
    if isinstance(tag, NamedPath):
        return ImageName(image.platform, (*image.names, tag.path_name()), image.memos)
    if tag.__class__ is not Symbol and tag.__class__ is not str:
        raise wrong_type(tag, "tag or path", brief(image))
    ref = Scope(
        {"platform": image.platform, "repository": "/".join(image.names), "tag": display(tag)}
    )
    if not truthy(image.memos):
        return resolve([ref], scope, machine)
    key = [image.memos, Thunk(args=(CommandPath("run"),)), Symbol("resolve"), from_list([ref])]
    found = recall_memo(key, scope, machine)
    if truthy(found):
        return found
    return store_memo([*key, resolve([ref], scope, machine)], scope, machine)


@builtin("linux", "args", operative=True)
def linux(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Is the root of image names for Linux: `(linux/alpine)`, `(linux/ubuntu :22.04)`, `(linux/ghcr.io/owner/name)`.

    The exact image that a name stands for is stored in the caller's *memos*, if there are any.

    => (linux/alpine)
    """
    memos = scope.get("*memos*")
    root = ImageName(Scope({"os": "linux"}), (), None if memos is MISSING else memos)
    return _image(root, [code(form)(scope, machine) for form in args], scope, machine)

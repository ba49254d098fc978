"""Values of the language at random, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.path import CachePath, CommandPath, DirPath, FilePath
from bassloop.bass.thunk import (
    ImageArchive,
    ImageBuild,
    ImageRef,
    Mount,
    Platform,
    Secret,
    Thunk,
    ThunkAddr,
    ThunkPath,
)
from bassloop.bass.values import INT_MAX, INT_MIN, Scope, from_list

texts = st.text(st.characters(codec="utf-8"), max_size=8)
words = st.text("abcdefghij-_.", min_size=1, max_size=6).filter(lambda word: word.strip("."))
names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=4
).filter(lambda name: name not in (".", ".."))
integers = st.integers(INT_MIN, INT_MAX)
scalars = st.none() | st.booleans() | integers | texts

relative = st.lists(words, min_size=1, max_size=3).map("/".join)
file_paths = st.builds(FilePath, relative)
dir_paths = st.builds(DirPath, relative)
globbed = st.builds(
    DirPath,
    relative,
    st.lists(words, max_size=2).map(tuple),
    st.lists(words, max_size=2).map(tuple),
)
name_paths = file_paths | dir_paths
cache_paths = st.builds(CachePath, texts, name_paths, st.integers(0, 2))
secrets = st.builds(Secret, words, st.none() | st.binary(max_size=4))
platforms = st.builds(Platform, words, words)


def flat_files(pairs: dict[str, bytes]) -> MemoryFiles:
    """Files that lie side by side: paths to them, and what travels of them, have the same names."""
    return MemoryFiles(pairs)


memory_dirs = st.dictionaries(names, st.binary(max_size=5), max_size=3).map(
    lambda pairs: FSPath(flat_files(pairs), DirPath("."))
)
memory_files = st.tuples(names, st.binary(max_size=5)).map(
    lambda pair: FSPath(MemoryFiles({pair[0]: pair[1]}), FilePath(pair[0]))
)

bindings = st.dictionaries(names, scalars, max_size=3).map(lambda pairs: tuple(pairs.items()))


def thunks_on(
    inner: st.SearchStrategy[Thunk], values: st.SearchStrategy[object]
) -> st.SearchStrategy[Thunk]:
    """Thunks that stand on, mount and are given others."""
    paths = st.builds(ThunkPath, inner, name_paths)
    dirs = st.builds(ThunkPath, inner, globbed)
    addresses = st.builds(ThunkAddr, inner, words, texts)
    inputs = paths | memory_dirs
    images = (
        st.builds(ImageRef, words | addresses, platforms, texts, texts)
        | inner
        | st.builds(ImageArchive, inputs, platforms, texts)
        | st.builds(ImageBuild, inputs, platforms, st.none() | file_paths, texts)
    )
    mounts = st.builds(
        Mount, paths | memory_dirs | memory_files | cache_paths | secrets, name_paths
    )
    args = st.lists(
        values | paths | addresses | inner | st.builds(CommandPath, words), max_size=3
    ).map(tuple)
    strings = st.lists(texts, max_size=2).map(tuple)
    return st.builds(
        Thunk,
        image=st.none() | images,
        insecure=st.booleans(),
        args=args,
        use_entrypoint=st.booleans(),
        stdin=args,
        env=bindings,
        dir=st.none() | globbed | dirs,
        mounts=st.lists(mounts, max_size=2).map(tuple),
        labels=bindings,
        ports=st.lists(st.tuples(words, st.integers(-(2**31), 2**31 - 1)), max_size=2).map(tuple),
        tls=st.none() | st.tuples(file_paths, file_paths),
        entrypoint=strings,
        clear_entrypoint=st.booleans(),
        default_args=strings,
        clear_default_args=st.booleans(),
    )


data = st.recursive(
    scalars | name_paths | cache_paths,
    lambda inner: (
        st.lists(inner, max_size=4).map(from_list)
        | st.dictionaries(names, inner, max_size=4).map(Scope)
    ),
    max_leaves=8,
)
simple_thunks = st.builds(Thunk, args=st.lists(data, min_size=1, max_size=2).map(tuple))
thunks = st.recursive(simple_thunks, lambda inner: thunks_on(inner, data), max_leaves=3)

json_data = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(from_list)
        | st.dictionaries(texts, inner, max_size=4).map(Scope)
    ),
    max_leaves=12,
)

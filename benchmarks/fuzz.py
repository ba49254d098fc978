"""Fuzz the parsers that read what strangers send: `python -m benchmarks.fuzz --seconds 60`.

The readers of texts are in :mod:`benchmarks.fuzz_texts`. `--growth` compares the times for inputs of two sizes instead.

Each input is made from a seed: pieces that mean something to the parser, put together, altered and cut at random.
A parser may refuse an input with the errors that it promises, and may do nothing else: the first input that
makes it raise anything, or take more than half a second of processor time, is printed with its seed, and
`--seed` makes it again.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tarfile
import time
from typing import TYPE_CHECKING

from benchmarks.fuzz_texts import Reader, growth, readers
from google.protobuf.message import DecodeError

from bassloop.bass.errors import BassError
from bassloop.bass.json_stream import read_json
from bassloop.bass.reader import read_source
from bassloop.bridge.http2 import FrameScanner, TooManyFrames
from bassloop.concurrency import TokenBucket
from bassloop.daemon.frame_limits import FrameCounter
from bassloop.evaluator import ProtocolError, messages
from bassloop.evaluator.conversation import Conversation
from bassloop.evaluator.messages import MessageReader, ToProcess, frames
from bassloop.gateway.admission import SIGNATURE, BadHeader, HeaderReader
from bassloop.gateway.runner_connection import CommandError, parse
from bassloop.tar_archive import BadTar, content_size, read_members
from bassloop.terminal import Terminal, render_lines
from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import read_envelope
from bassloop.trust.sshsig import decode_signature
from bassloop.trust.statement import read_statement
from bassloop.wire import bass_pb2
from bassloop.wire.nesting import flatten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SLOW_SECONDS = 0.5
BATCH = 200

CONTROLS = [
    *(
        b"\x1b[%b%c" % (number, final)
        for number in (b"", b"2", b"999", b"1;3")
        for final in b"@ABCDEFGHJKLMPXdrsu`"
    ),
    *(b"\x1b%c" % final for final in b"78DEMc[]P\\(_^X"),
    *(
        b"\x1b[31m",
        b"\x1b[0m",
        b"\x1b[38;5;9m",
        b"\x1b[?25l",
        b"\x1b]8;;http://a/\x07",
        b"\x1b]8;;\x1b\\",
    ),
    *(
        b"\n",
        b"\r",
        b"\t",
        b"\b",
        b"\x0b",
        b"\x0c",
        b"\0",
        b"\x18",
        b"\x9b",
        b"\xff",
        b"x",
        b"some text",
    ),
    *("é".encode(), "中".encode(), "e\u0301".encode(), "中".encode()[:2], b" " * 60),
]
WORDS = ["forward", "--os", "--arch", "--priority", "-p", "linux", "amd64", "1", "-1"]
WORDS += ["'", '"', "\\", "\0", "é", "=", "--"]
MESSAGES = [
    *frames(messages.ReadFile(1, "a")),
    *frames(messages.RunThunk(2, b"thunk")),
    *frames(messages.StartCheck(3, "check", "0" * 40, (), None, b"thunk")),
    *frames(messages.Next(4, 2)),
    *frames(messages.Wait(5, 3)),
    *frames(messages.Log("info", "text")),
    *frames(messages.Idle(6)),
    *frames(messages.Chunk(b"piece")),
    *frames(messages.Done(1)),
    *frames(messages.Data(2, b"data")),
    *frames(messages.Evaluated()),
    *frames(messages.Failed("why", "where")),
]


def _thunks() -> list[bytes]:
    """Thunks in images of thunks, and in paths of arguments."""
    found = [bass_pb2.Thunk(entrypoint=["true"]).SerializeToString()]
    for _ in range(4):
        path = bass_pb2.Value(thunk_path=bass_pb2.ThunkPath(thunk=found[-1]))
        image = bass_pb2.ThunkImage(thunk=found[-1])
        found.append(bass_pb2.Thunk(args=[path], image=image).SerializeToString())
    return found


THUNKS = _thunks()


def _tar_pieces() -> list[bytes]:
    """Members of archives, whole."""
    found = [bytes(512)]
    for kind in (b"0", b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S"):
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            member = tarfile.TarInfo("a" * (150 if kind == b"0" else 5))
            content = b"11 path=ab\n8 size=9\n" if kind in b"xgLK" else b""
            member.type, member.size = kind, len(content)
            found.append(member.tobuf(form) + content + bytes(-len(content) % 512))
    return found


TAR_PIECES = _tar_pieces()
JSON_PIECES = [
    *b'{}[],:"\\'.decode(),
    "1",
    "-0.5e3",
    "null",
    "true",
    '"a"',
    '"\\ud800"',
    " ",
    '"sha256":',
]
JSON_PIECES += ['"predicate":', '"payload":', '"signatures":[', '"sig":"AAAA"', '"subject":']
LISP_PIECES = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":a",
    "a",
    "./b",
    ".c",
    '"d"',
    "; e\n",
    "#",
    "!",
    "&",
    "^",
    "1",
    "\n",
]
SIGNATURE_PIECES = [
    b"SSHSIG",
    b"\0\0\0\1",
    b"\0\0\0\x0bssh-ed25519",
    b"\0\0\0\x06sha512",
    b"\0\0\0\x20" + bytes(32),
]
SIGNATURE_PIECES += [
    b"\0\0\0\x40" + bytes(64),
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x07ssh-rsa",
]


def altered(chance: random.Random, pieces: Sequence[bytes], most: int) -> bytes:
    """Return some pieces, one after the other, with a few bytes changed, doubled or left out."""
    data = bytearray(b"".join(chance.choices(pieces, k=chance.randint(1, most))))
    for _ in range(chance.choice((0, 0, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.choice((0, 1, 1, 4))] = chance.randbytes(chance.choice((0, 1, 1, 3)))
    return bytes(data)


def terminal(chance: random.Random) -> None:
    """Settle bytes in pieces; the text is the same as of all of them at once."""
    data = altered(chance, CONTROLS, 25)
    whole, split = Terminal(4), Terminal(4)
    text = whole.settle(data).text + whole.settle_rest().text
    cut = chance.randrange(len(data) + 1)
    other = split.settle(data[:cut]).text + split.settle(data[cut:]).text + split.settle_rest().text
    assert text == other, data
    render_lines(text.split(b"\n"))


def conversation(chance: random.Random) -> None:
    """Hear what a process says; answer some of its calls."""
    data = altered(chance, MESSAGES, 8)
    conversation = Conversation()
    conversation.begin(
        messages.Evaluate(
            "a", "null", True, "tree", "push", messages.PayloadEdit.NONE, 1_000, b"{}"
        )
    )
    try:
        conversation.receive(data)
    except ProtocolError:
        pass


def answers(chance: random.Random) -> None:
    """Hear what a daemon says, in the process."""
    reader: MessageReader[ToProcess] = MessageReader(ToProcess)
    try:
        reader.feed(altered(chance, MESSAGES, 8))
    except ProtocolError:
        pass


def command(chance: random.Random) -> None:
    """Parse what a runner asks the gateway for."""
    try:
        parse(" ".join(chance.choices(WORDS, k=chance.randint(0, 8))))
    except CommandError:
        pass


def http2(chance: random.Random) -> None:
    """Scan the headers of frames, in pieces."""
    scanner = FrameScanner(0, TokenBucket(50, 0, clock=lambda: 0.0).take)
    data = bytearray(
        altered(chance, [b"\0\0\x08\x06\0\0\0\0\0" + bytes(8), b"\0\0\x01\0\0\0\0\0\x01x"], 80)
    )
    try:
        while data:
            taken = scanner.scan(data[: chance.randint(1, 40)], chance.randint(1, 4))
            assert taken > 0
            del data[:taken]
    except (ValueError, TooManyFrames):
        pass


def thunk(chance: random.Random) -> None:
    """Flatten an encoded thunk."""
    try:
        flatten(altered(chance, THUNKS, 2), 1_000)
    except (ValueError, DecodeError):
        pass


def tar(chance: random.Random) -> None:
    """Read the members of an archive."""
    data = altered(chance, TAR_PIECES, 6)
    try:
        for member in read_members(io.BytesIO(data)):
            assert 0 <= content_size(member) <= len(data)
    except BadTar:
        pass


def websocket(chance: random.Random) -> None:
    """Count frames, which are as many in two pieces as in one."""
    data = altered(
        chance, [b"\x81\x80\0\0\0\0", b"\x01\x7e\0\1x", b"\x89\x05hello", b"\x81\xff"], 30
    )
    cut = chance.randrange(len(data) + 1)
    split = FrameCounter()
    assert FrameCounter().count(data) == split.count(data[:cut]) + split.count(data[cut:])


def proxy(chance: random.Random) -> None:
    """Read a header of the PROXY protocol."""
    data = altered(chance, [SIGNATURE, b"\x21\x11\0\x0c", b"\x20\0\0\0", b"\x7f\0\0\1" * 3], 6)
    reader, at = HeaderReader(), 0
    try:
        while reader.wanted and at < len(data):
            size = chance.randint(1, reader.wanted)
            reader.feed(data[at : at + size])
            at += size
    except BadHeader:
        pass


def json(chance: random.Random) -> None:
    """Read JSON as hooks do."""
    try:
        read_json("".join(chance.choices(JSON_PIECES, k=chance.randint(1, 25))))
    except BassError:
        pass


def source(chance: random.Random) -> None:
    """Read the text of a hook."""
    try:
        read_source("".join(chance.choices(LISP_PIECES, k=chance.randint(1, 25))), "hook")
    except BassError:
        pass


def statement(chance: random.Random) -> None:
    """Read what a runner has signed: a statement, an envelope, a signature."""
    text = "".join(chance.choices(JSON_PIECES, k=chance.randint(1, 25))).encode()
    for read, data in (
        (read_statement, text),
        (read_envelope, text),
        (decode_signature, altered(chance, SIGNATURE_PIECES, 8)),
    ):
        try:
            read(data)
        except UntrustedStatement:
            pass


TARGETS: dict[str, Callable[[random.Random], None]] = {
    each.__name__: each
    for each in (
        terminal,
        conversation,
        answers,
        command,
        http2,
        thunk,
        tar,
        websocket,
        proxy,
        json,
        source,
        statement,
    )
}


def _of_reader(name: str) -> Callable[[random.Random], None]:
    def target(chance: random.Random) -> None:
        """Let a reader read pieces that mean something to it."""
        reader = READERS[name]
        reader(altered(chance, reader.pieces, 25))

    return target


READERS: dict[str, Reader] = readers([each.encode() for each in JSON_PIECES], TAR_PIECES, THUNKS)
TARGETS |= {name: _of_reader(name) for name in READERS}


def fuzz(name: str, seed: int, seconds: float, inputs: int | None = None) -> tuple[int, str | None]:
    """Try inputs of one target; return how many, and what was found, if anything was."""
    target, tried, end = TARGETS[name], 0, time.monotonic() + seconds
    while time.monotonic() < end and (inputs is None or tried < inputs):
        for number in range(seed + tried, seed + tried + BATCH):
            began = time.thread_time()
            try:
                target(random.Random(number))
            except Exception as error:  # noqa: BLE001  (that is what is looked for)
                return tried, f"{name}, seed {number}: {error!r}"
            if (took := time.thread_time() - began) > SLOW_SECONDS:
                return tried, f"{name}, seed {number}: took {took:.2f} s"
        tried += BATCH
    return tried, None


def fuzz_growth(
    name: str, seed: int, seconds: float, inputs: int | None = None
) -> tuple[int, str | None]:
    """Compare the times of one reader for inputs of two sizes; return how many, and what was found."""
    tried, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and (inputs is None or tried < inputs):
        try:
            found = growth(READERS[name], seed + tried)
        except Exception as error:  # noqa: BLE001  (that is what is looked for)
            found = repr(error)
        if found is not None:
            return tried, f"{name}, seed {seed + tried}: {found}"
        tried += 1
    return tried, None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--growth", action="store_true", help="compare times for inputs of two sizes"
    )
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    options = parser.parse_args()
    failed = False
    for name in options.targets or (READERS if options.growth else TARGETS):
        if options.growth:
            tried, found = fuzz_growth(name, options.seed, options.seconds)
        else:
            tried, found = fuzz(name, options.seed, options.seconds)
        failed = failed or found is not None
        sys.stdout.write(f"{name}: {tried:,} inputs, {found or 'nothing found'}\n")
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

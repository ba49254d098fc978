"""`bassloop verify`: check what a runner has signed about a run, without trusting the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from bassloop.bass import thunk_sha256
from bassloop.bass.wire.digest import encode_go_order
from bassloop.terminal import plain
from bassloop.tools.loop_client import MAX_JSON, LoopClient, LoopError
from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import MAX_ENVELOPE, read_envelope
from bassloop.trust.statement import digest_of_logs, format_instant
from bassloop.wire import bass_pb2
from bassloop.wire.nesting import nested_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.tools.loop_client import RunAddress
    from bassloop.trust.envelope import SignedStatement
    from bassloop.trust.statement import RunStatement

GITHUB = "https://github.com"
LOOPS_OWN = "loop:"
"""The prefix of the digests of steps that the loop has added itself, which no runner signs."""


@dataclass(eq=False)
class VerificationReport:
    """The report of a verification: what was checked, and the outcome.

    Args:
        right: what is correct.
        wrong: what isn't correct.
        unchecked: what couldn't be checked, and why.
    """

    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    stated: RunStatement | None = None

    def note(self, is_right: bool, right: str, wrong: str) -> None:
        """Record a result."""
        (self.right if is_right else self.wrong).append(right if is_right else wrong)


def open_statement(text: bytes, report: VerificationReport) -> SignedStatement | None:
    """Read an envelope and verify its signature. Return None if it's wrong."""
    try:
        signed = read_envelope(text)
        report.stated = signed.statement()
    except UntrustedStatement as error:
        report.wrong.append(str(error))
        return None
    report.right.append(f"signed with the key {signed.signature.fingerprint}")
    return signed


def check_thunk(thunk: bytes, stated: RunStatement, report: VerificationReport) -> None:
    """Compare a thunk, in JSON or in protobuf's encoding, with the one in the statement."""
    try:
        message = _read_thunk(thunk)
    except (json_format.ParseError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        report.wrong.append(
            f"the thunk can't be read: {str(error)[:200]} (one that is nested deeper than protobuf's JSON "
            "can be is verified by its encoding, from /thunks/NAME/proto)"
        )
        return
    report.note(
        thunk_sha256(message) == stated.thunk,
        f"the thunk is the one that was signed for (SHA-256 {stated.thunk[:12]}…)",
        "the thunk is another one than was signed for",
    )


def _read_thunk(thunk: bytes) -> bass_pb2.Thunk:
    """Read a thunk in JSON, or in protobuf's encoding at any depth. Raises protobuf's errors."""
    if thunk.startswith(b"{"):  # which no field of a thunk begins with
        nested = json_format.Parse(thunk, nested_type("bass.Thunk")())
        return bass_pb2.Thunk.FromString(encode_go_order(nested))
    return bass_pb2.Thunk.FromString(thunk)


def check_key(
    signed: SignedStatement,
    keys: str,
    where: str,
    stated: RunStatement,
    report: VerificationReport,
    *,
    is_vouched: bool,
) -> None:
    """Look for the key in a list of keys.

    Args:
        is_vouched: whether a loop says that the key was listed when the run ended. Otherwise anybody could have signed.
    """
    listed = {tuple(line.split()[:2]) for line in keys.splitlines()}
    if tuple(signed.signature.public_key.split()) in listed:
        report.right.append(f"{where} lists the key for {stated.login}")
    elif not is_vouched:
        report.wrong.append(
            f"{where} doesn't list the key for {stated.login}: it was never theirs, or has been removed since"
        )
    else:
        report.unchecked.append(
            f"{where} doesn't list the key for {stated.login} now. It may have been removed since, or "
            "never have been theirs: only the loop's word says that it was listed then"
        )


def check_run(run: dict[str, Any], stated: RunStatement, report: VerificationReport) -> None:
    """Compare what the loop says about a run with the statement."""
    signature = run.get("signature") or {}
    if signature.get("state") == "refused":
        report.wrong.append(f"the loop has refused the statement: {signature.get('text')}")
    for what, ours, theirs in (
        ("run", stated.run, run["id"]),
        ("repository", stated.repository.lower(), str(run["repository"]).lower()),
        ("commit", stated.commit, run["head_sha"]),
        ("login", stated.login.lower(), str(run["runner"]).lower()),
    ):
        report.note(
            ours == theirs, f"the {what} is {theirs}", f"signed for the {what} {ours}, not {theirs}"
        )
    if run["state"] in ("succeeded", "failed"):
        passed = run["state"] == "succeeded"
        report.note(
            passed == (stated.result == "PASSED") or not passed,
            f"the outcome is {stated.result}",
            f"the runner has signed {stated.result}, and the loop says {run['state']}",
        )


def render(report: VerificationReport) -> str:
    """Return a report as lines of text."""
    lines = [f"  ok       {each}" for each in report.right]
    lines += [f"  WRONG    {each}" for each in report.wrong]
    lines += [f"  unknown  {each}" for each in report.unchecked]
    stated = report.stated
    if stated is not None:
        how = stated.runner
        used = "in the images that it names" if how.uses_images else "without its images"
        kept = "contained" if how.contained else "not contained"
        lines += [
            f"{stated.login} states that on their machine, at {stated.repository}@{stated.commit[:12]}, "
            f"the thunk {stated.thunk[:12]}… {stated.result.lower()}",
            f"  from {format_instant(stated.started_at)} to {format_instant(stated.ended_at)} by their clock, "
            f"with {how.engine} of bassloop {how.version}, {used}, {kept}",
            *(f"  image {name}: {digest}" for name, digest in stated.images),
            *(f"  artifact {path}: sha256:{digest}" for path, digest in stated.artifacts),
        ]
    return "\n".join(map(plain, lines))


async def verify_file(
    text: bytes, *, thunk: bytes | None, keys: str | None, online: bool
) -> VerificationReport:
    """Verify an envelope by itself, and with a thunk and a list of keys, if given.

    Args:
        keys: the contents of a file of keys; None asks GitHub, if `online`.
    """
    report = VerificationReport()
    signed = open_statement(text, report)
    if signed is None or report.stated is None:
        return report
    if thunk is None:
        report.unchecked.append("the thunk: give it with --thunk, or the run's address")
    else:
        check_thunk(thunk, report.stated, report)
    report.unchecked.append("the log, and that the run is known to a loop: give the run's address")
    await _check_listing(signed, keys, online, report, is_vouched=False)
    return report


async def verify_run(
    address: RunAddress, headers: Sequence[tuple[str, str]], *, keys: str | None, online: bool
) -> VerificationReport:
    """Verify the statement of a loop's run: signature, key, thunk and log. Raises LoopError."""
    report = VerificationReport()
    loop = LoopClient(address.server, headers)
    run = await loop.get(address.path)
    _require_signed(run, address)
    envelope = await loop.download(f"{address.path}/statement.dsse", MAX_ENVELOPE)
    signed = open_statement(envelope, report)
    if signed is None or report.stated is None:
        return report
    logs = {}
    try:
        check_run(run, report.stated, report)
        thunk = await loop.download(f"/thunks/{run['thunk']}/proto", MAX_JSON)
        check_thunk(thunk, report.stated, report)
        for step in run["vertexes"]:
            if step["bytes"] and not step["digest"].startswith(LOOPS_OWN):
                raw = f"{address.path}/vertexes/{step['row']}/raw"
                logs[step["digest"]] = await loop.sha256(raw)
        await _check_artifacts(loop, address, run.get("artifacts") or [], report)
    except (ValueError, KeyError, TypeError) as error:
        raise LoopError(f"{address.page} is not described as a loop does: {error}") from error
    report.note(
        digest_of_logs(logs) == report.stated.log,
        f"the log is the one that was signed for ({len(logs)} steps have one)",
        "the log is another one than was signed for, or was cut at the loop's limit",
    )
    await _check_listing(signed, keys, online, report, is_vouched=keys is None)
    return report


def _require_signed(run: dict[str, Any], address: RunAddress) -> None:
    """Raise LoopError if the loop has no statement about a run."""
    if not run.get("ended_at"):
        raise LoopError(f"{address.page} hasn't ended, and is signed when it does")
    signature = run.get("signature")
    if not isinstance(signature, dict):
        raise LoopError(f"{address.page} isn't signed: no runner has run it")
    if signature.get("state") == "none":
        raise LoopError(f"{address.page}: {plain(str(signature.get('text')))}")


async def _check_artifacts(
    loop: LoopClient,
    address: RunAddress,
    listed: list[dict[str, Any]],
    report: VerificationReport,
) -> None:
    """Compare a loop's artifacts of a run with those in the statement. Raises LoopError."""
    assert report.stated is not None
    stated = dict(report.stated.artifacts)
    shown = {str(each["path"]): bool(each["kept"]) for each in listed}
    for path, kept in shown.items():
        if path not in stated:
            report.wrong.append(f"the artifact {path} isn't one that was signed for")
        elif not kept:
            report.unchecked.append(f"the artifact {path}, which has expired")
        else:
            digest = await loop.sha256(f"{address.path}/artifacts/{quote(path)}")
            report.note(
                digest == stated[path],
                f"the artifact {path} is the one that was signed for",
                f"the artifact {path} is another one than was signed for",
            )
    for path in sorted(stated.keys() - shown.keys()):
        report.unchecked.append(f"the artifact {path}, which the loop hasn't kept")


async def _check_listing(
    signed: SignedStatement,
    keys: str | None,
    online: bool,
    report: VerificationReport,
    *,
    is_vouched: bool,
) -> None:
    """Check the key, and record what only the runner knows."""
    assert report.stated is not None
    if report.stated.given is not None:
        report.unchecked.append(
            "the artifacts of other checks that it was given: only the loop compared them"
        )
    if report.stated.images:
        report.unchecked.append("the digests of the images, which only the runner's engine knows")
    where = "the file of keys"
    if keys is None:
        where = f"{GITHUB}/{quote(report.stated.login, safe='')}.keys"
        if not online:
            report.unchecked.append(f"the key: whether {where} lists it")
            return
        try:
            listed = await LoopClient(GITHUB).download(where.removeprefix(GITHUB), MAX_JSON)
        except LoopError as error:
            report.unchecked.append(f"the key: {error}")
            return
        keys = listed.decode(errors="replace")
    check_key(signed, keys, where, report.stated, report, is_vouched=is_vouched)

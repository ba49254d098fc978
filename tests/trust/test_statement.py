"""Statements: what they say, and that nothing else is taken for one."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import (
    ExpectedRun,
    SignedStatement,
    check_signed,
    read_envelope,
    signed_bytes,
)
from bassloop.trust.sshsig import SSHSignature, decode_signature, to_be_signed
from bassloop.trust.statement import (
    MAX_IMAGES,
    MAX_STATEMENT,
    LogDigest,
    RunnerDescription,
    RunStatement,
    digest_of_logs,
    read_statement,
)
from bassloop.wire.conventions import MAX_ARTIFACTS

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")

STATEMENT = RunStatement(
    run="the-run",
    login="octocat",
    repository="octocat/hello",
    commit="c" * 40,
    thunk="a" * 64,
    result="PASSED",
    log="b" * 64,
    started_at=1_700_000_000.25,
    ended_at=1_700_000_001.5,
    runner=RunnerDescription("1.0", "podman 5.4", uses_images=True, contained=True),
    images=(("docker.io/library/alpine:3", "sha256:" + "e" * 64),),
    artifacts=(("dist/a.whl", "f" * 64),),
    given="9" * 64,
)
EXPECTED = ExpectedRun(
    run="the-run",
    login="Octocat",
    repository="Octocat/Hello",
    commit="c" * 40,
    thunk="a" * 64,
    log="b" * 64,
    artifacts=(("dist/a.whl", "f" * 64),),
    given="9" * 64,
    passed=True,
    key=KEY.public_data,
    at=1_700_000_002.0,
)


def signed(statement: RunStatement, key: asyncssh.SSHKey = KEY) -> SignedStatement:
    payload = statement.encode()
    algorithm = b"rsa-sha2-512" if key.get_algorithm() == "ssh-rsa" else key.algorithm
    blob = key.sign(to_be_signed(signed_bytes(payload)), algorithm)
    return SignedStatement(payload, SSHSignature(key.public_data, blob))


def test_a_statement_is_an_in_toto_statement_with_a_test_result() -> None:
    found = json.loads(STATEMENT.encode())
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert found["subject"] == [{"name": "octocat/hello", "digest": {"gitCommit": "c" * 40}}]
    assert found["predicate"]["result"] == "PASSED"
    assert found["predicate"]["configuration"] == [
        {"name": "thunk", "digest": {"sha256": "a" * 64}},
        {"name": "docker.io/library/alpine:3", "digest": {"sha256": "e" * 64}},
    ]


def test_a_statement_survives_encoding_and_decoding() -> None:
    assert read_statement(STATEMENT.encode()) == STATEMENT
    failed = replace(STATEMENT, result="FAILED", message="exit status 3: sh -c …", images=())
    assert read_statement(failed.encode()) == failed


def test_a_statement_is_bounded_however_many_images_and_however_long_a_message() -> None:
    images = tuple((f"registry.example/{n}/" + "x" * 500, "sha256:" + "f" * 64) for n in range(900))
    artifacts = tuple((f"{n:03}" + "☃" * 65, "f" * 64) for n in range(MAX_ARTIFACTS))
    long = replace(
        STATEMENT, images=images, artifacts=artifacts, message="☃" * 10_000, result="FAILED"
    )
    assert len(long.encode()) <= MAX_STATEMENT
    found = json.loads(long.encode())["predicate"]["bassloop:run"]
    assert found["imagesLeftOut"] == 900 - MAX_IMAGES
    assert read_statement(long.encode()).result == "FAILED"


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_valid_statement_is_accepted(algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    expected = replace(EXPECTED, key=key.public_data)
    assert check_signed(signed(STATEMENT, key), expected) == STATEMENT


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"run": "another-run"}, "another run"),
        ({"login": "mallory"}, "another login"),
        ({"commit": "d" * 40}, "another commit"),
        ({"thunk": "d" * 64}, "another thunk"),
        ({"log": "d" * 64}, "a log that differs"),
        ({"repository": "octocat/other"}, "another repository"),
        ({"artifacts": (("dist/a.whl", "0" * 64),)}, "artifacts that differ"),
        ({"artifacts": ()}, "artifacts that differ"),
        ({"given": None}, "other artifacts than it was given"),
        ({"result": "FAILED"}, "the outcome FAILED"),
    ],
)
def test_a_statement_about_something_else_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(UntrustedStatement, match=why):
        check_signed(signed(replace(STATEMENT, **change)), EXPECTED)


def test_a_statement_by_another_key_is_refused() -> None:
    with pytest.raises(UntrustedStatement, match="connected with another"):
        check_signed(signed(STATEMENT, OTHER), EXPECTED)


def test_a_signature_by_another_key_under_the_expected_name_is_refused() -> None:
    forged = signed(STATEMENT, OTHER)
    forged = replace(forged, signature=replace(forged.signature, key=KEY.public_data))
    with pytest.raises(UntrustedStatement, match="isn't one of this statement"):
        check_signed(forged, EXPECTED)


def test_a_statement_that_was_changed_after_it_was_signed_is_refused() -> None:
    failed = signed(replace(STATEMENT, result="FAILED"))
    changed = replace(failed, payload=failed.payload.replace(b"FAILED", b"PASSED"))
    with pytest.raises(UntrustedStatement, match="isn't one of this statement"):
        check_signed(changed, EXPECTED)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"bassloop-statement", b"git", "is for b'git'"),
        (b"sha512", b"sha256", "hashes with b'sha256'"),
        (b"SSHSIG\0\0\0\1", b"SSHSIG\0\0\0\2", "version 2"),
        (b"SSHSIG", b"SSHSIX", "isn't an SSH signature"),
    ],
)
def test_signatures_of_other_kinds_are_refused(old: bytes, new: bytes, why: str) -> None:
    data = signed(STATEMENT).signature.encode()
    at = data.index(old)
    if len(new) != len(old):
        length = len(old).to_bytes(4, "big")
        changed = data.replace(length + old, len(new).to_bytes(4, "big") + new, 1)
    else:
        changed = data[:at] + new + data[at + len(old) :]
    with pytest.raises(UntrustedStatement, match=why):
        decode_signature(changed)


def test_a_signature_by_rsa_over_sha1_is_refused() -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    payload = STATEMENT.encode()
    blob = key.sign(to_be_signed(signed_bytes(payload)), b"ssh-rsa")
    with pytest.raises(UntrustedStatement, match="is not accepted"):
        SSHSignature(key.public_data, blob).verify(signed_bytes(payload))


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    for read in (
        read_statement,
        decode_signature,
        read_envelope,
        lambda each: decode_signature(b"SSHSIG" + each),
        lambda each: SSHSignature(each, each).verify(each),
        lambda each: SSHSignature(KEY.public_data, each).verify(each),
    ):
        with pytest.raises(UntrustedStatement):
            read(data)


@given(st.data())
def test_damage_anywhere_in_the_signed_bytes_is_refused(data: st.DataObject) -> None:
    right = signed(STATEMENT)
    payload, signature = bytearray(right.payload), bytearray(right.signature.encode())
    target = data.draw(st.sampled_from([payload, signature]))
    at = data.draw(st.integers(0, len(target) - 1))
    target[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UntrustedStatement):
        check_signed(SignedStatement.decode(bytes(payload), bytes(signature)), EXPECTED)


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"subject": []},
        {"subject": [{"name": "a", "digest": {"gitCommit": "c"}}] * 2},
        {"predicate": {"result": "WARNED"}},
    ],
)
def test_malformed_statements_are_refused(change: dict[str, object]) -> None:
    payload = json.dumps({**json.loads(STATEMENT.encode()), **change}).encode()
    with pytest.raises(UntrustedStatement):
        read_statement(payload)


def test_unknown_fields_are_ignored() -> None:
    found = json.loads(STATEMENT.encode())
    found["predicate"]["url"] = "https://loop.example/runs/the-run"
    found["predicate"]["bassloop:run"]["somethingNew"] = [1]
    assert read_statement(json.dumps(found).encode()) == STATEMENT


def test_an_envelope_round_trips() -> None:
    right = signed(STATEMENT)
    envelope = right.envelope()
    assert read_envelope(json.dumps(envelope).encode()) == right
    assert envelope["signatures"][0]["keyid"] == right.signature.fingerprint
    assert base64.b64decode(envelope["payload"]) == STATEMENT.encode()


def test_signatures_by_other_keys_than_ssh_keys_are_ignored() -> None:
    right = signed(STATEMENT)
    envelope = right.envelope()
    envelope["signatures"].insert(0, {"keyid": "x509", "sig": base64.b64encode(b"0E").decode()})
    assert read_envelope(json.dumps(envelope).encode()) == right


@pytest.mark.parametrize(
    "change",
    [{"payloadType": "text/plain"}, {"signatures": []}, {"payload": "%%%"}, {"payload": 1}],
)
def test_malformed_envelopes_are_refused(change: dict[str, object]) -> None:
    text = json.dumps({**signed(STATEMENT).envelope(), **change}).encode()
    with pytest.raises(UntrustedStatement):
        read_envelope(text)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=5)), max_size=12))
def test_a_logs_digest_depends_on_each_steps_bytes_and_not_on_how_they_were_split(
    pieces: list[tuple[str, bytes]],
) -> None:
    cut, whole = LogDigest(), LogDigest()
    for step, data in pieces:
        for byte in data:
            cut.add(step, bytes([byte]))
    for step in "cba":
        whole.add(step, b"".join(data for name, data in pieces if name == step))
    assert cut.hexdigest() == whole.hexdigest()
    whole.add("a", b"!")
    assert cut.hexdigest() != whole.hexdigest()


def test_a_run_without_a_log_has_a_digest_too() -> None:
    assert LogDigest().hexdigest() == digest_of_logs({})

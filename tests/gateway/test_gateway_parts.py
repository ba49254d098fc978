"""The gateway's parts that need no network: commands, host key, counts, algorithms."""

from __future__ import annotations

import os
from contextlib import ExitStack

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.gateway import HostKeyError, fingerprint, known_hosts_line, load_host_key
from bassloop.gateway.admission import Admission, NotAdmitted
from bassloop.gateway.gateway_settings import CLASSICAL, exchanges
from bassloop.gateway.runner_connection import CommandError, ForwardCommand, parse
from bassloop.runtimes import Platform

# commands


@pytest.mark.parametrize(
    ("command", "os", "arch", "priority"),
    [
        ("forward", "linux", "amd64", 0),
        ("forward --os darwin --arch arm64", "darwin", "arm64", 0),
        ("forward --os=linux --arch=riscv64 --priority=7", "linux", "riscv64", 7),
        ("forward -p 3", "linux", "amd64", 3),
        ("forward -p3", "linux", "amd64", 3),
        ("forward -p -3", "linux", "amd64", -3),
        ("forward --priority -3", "linux", "amd64", -3),
        ("  'forward'  --os 'linux'", "linux", "amd64", 0),
    ],
)
def test_the_forward_command_names_platform_and_priority(command, os, arch, priority):
    assert parse(command) == ForwardCommand(Platform(os, arch), priority)


@given(st.text(max_size=200))
def test_any_command_is_parsed_or_refused_with_a_message(command):
    try:
        forward = parse(command)
    except CommandError as error:
        said = str(error)
    else:
        said = str(forward.platform)
    assert said


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=10))
def test_any_flags_are_accepted_or_refused_with_a_message(os, arch, priority):
    try:
        forward = parse(f"forward --os={os} --arch={arch} --priority={priority}")
    except CommandError:
        return
    assert str(forward.platform).isascii()
    assert abs(forward.priority) <= 1_000_000


def test_a_command_without_end_is_refused():
    with pytest.raises(CommandError, match="4096 characters"):
        parse("forward " + "x" * 5000)


# host key


def test_a_host_key_is_created_once_and_is_private(tmp_path):
    path = tmp_path / "data" / "ssh_host_ed25519_key"
    key = load_host_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.algorithm == b"ssh-ed25519"
    assert load_host_key(path) == key
    assert os.listdir(path.parent) == [path.name]


def test_a_key_in_the_settings_is_used_and_no_file_is_created(tmp_path):
    key = asyncssh.generate_private_key("ssh-ed25519")
    content = key.export_private_key().decode()
    assert load_host_key(tmp_path / "key", content=content) == key
    assert os.listdir(tmp_path) == []


def test_a_key_that_others_may_read_is_not_used(tmp_path):
    path = tmp_path / "key"
    load_host_key(path)
    path.chmod(0o644)
    with pytest.raises(HostKeyError, match=r"mode 0644.; make it private with: chmod 600 .*/key"):
        load_host_key(path)


@pytest.mark.parametrize("content", ["", "hello", "ssh-ed25519 AAAA"])
def test_invalid_keys_are_not_used(tmp_path, content):
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(HostKeyError, match="is no private key"):
        load_host_key(path)
    with pytest.raises(HostKeyError, match="SSH_HOST_KEY is no private key"):
        load_host_key(path, content=content)


def test_a_key_with_a_passphrase_is_not_used(tmp_path):
    key = asyncssh.generate_private_key("ssh-ed25519")
    content = key.export_private_key("pkcs8-pem", passphrase="secret").decode()
    with pytest.raises(HostKeyError, match="has a passphrase"):
        load_host_key(tmp_path / "key", content=content)


def test_an_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HostKeyError, match="SSH host key"):
        load_host_key(tmp_path / "file" / "key")


def test_clients_recognise_the_host_by_its_line_and_its_fingerprint():
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = known_hosts_line(key, "loop.example.com", 6455)
    assert line.startswith("[loop.example.com]:6455 ssh-ed25519 ")
    assert known_hosts_line(key, "loop.example.com", 22).startswith("loop.example.com ssh-ed25519")
    trusted, *_ = asyncssh.import_known_hosts(line).match("loop.example.com", "", 6455)
    assert [each.public_data for each in trusted] == [key.public_data]
    assert fingerprint(key).startswith("SHA256:")


# counts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admission(clock: Clock, chance: float = 1.0, **limits: int) -> Admission:
    how = {
        "connections": 9,
        "per_address": 3,
        "unauthenticated": 3,
        "unauthenticated_per_address": 2,
        "refusals_per_minute": 6,
    }
    return Admission(**(how | limits), clock=clock, random=lambda: chance)


def test_the_connections_of_an_address_are_limited():
    counts = admission(Clock())
    with counts.connection("192.0.2.1"), counts.connection("192.0.2.1"):
        with counts.connection("::ffff:192.0.2.1"):
            with pytest.raises(NotAdmitted, match=r"3 connections of 192\.0\.2\.1 are open"):
                counts.connection("192.0.2.1").__enter__()
            with counts.connection("192.0.2.2"), counts.authenticating("192.0.2.2"):
                assert repr(counts) == "<Admission: 4 of 2 addresses, 1 not authenticated>"
        with counts.connection("192.0.2.1"):
            pass
    assert counts.statistics() == {"connections": 0, "addresses": 0, "unauthenticated": 0}


def test_one_address_cannot_keep_the_others_from_authenticating():
    counts = admission(Clock())
    with counts.authenticating("192.0.2.1"), counts.authenticating("192.0.2.1"):
        with pytest.raises(
            NotAdmitted, match=r"2 connections of 192\.0\.2\.1 are not authenticated"
        ):
            counts.authenticating("192.0.2.1").__enter__()
        with (
            counts.authenticating("192.0.2.2"),
            pytest.raises(NotAdmitted, match="3 connections are not authenticated yet"),
        ):
            counts.authenticating("192.0.2.3").__enter__()


def test_an_ipv6_network_counts_as_one_address():
    counts = admission(Clock(), per_address=1)
    with counts.connection("2001:db8::1"):
        with pytest.raises(NotAdmitted, match=r"2001:db8::/64"):
            counts.connection("2001:db8::ffff").__enter__()
        with counts.connection("2001:db8:0:1::1"):
            pass


def test_an_ipv6_network_of_48_bits_has_a_limit_too():
    counts = admission(Clock(), per_address=1)
    with ExitStack() as stack:
        for number in range(4):
            stack.enter_context(counts.connection(f"2001:db8:0:{number}::1"))
        with pytest.raises(NotAdmitted, match=r"4 connections of 2001:db8::/48"):
            counts.connection("2001:db8:0:9::1").__enter__()
        with counts.connection("2001:db8:1::1"):
            pass


def test_the_more_unknown_connections_there_are_the_more_are_dropped_at_random():
    counts = admission(Clock(), chance=0.4, unauthenticated=10)
    with ExitStack() as stack:
        for number in range(8):
            stack.enter_context(counts.authenticating(f"192.0.2.{number}"))
        with pytest.raises(NotAdmitted, match="dropped at random: 8"):
            counts.authenticating("192.0.2.99").__enter__()


def test_a_flood_of_strangers_does_not_keep_known_addresses_out():
    clock = Clock()
    counts = admission(clock)
    counts.authenticated("192.0.2.200")
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(counts.authenticating(f"192.0.2.{number}"))
        with pytest.raises(NotAdmitted):
            counts.authenticating("192.0.2.99").__enter__()
        with counts.authenticating("192.0.2.200"), counts.authenticating("192.0.2.200"):
            assert counts.statistics()["unauthenticated"] == 5


def test_refusals_are_forgiven_as_time_passes():
    clock = Clock()
    counts = admission(clock)
    for _ in range(6):
        with counts.connection("192.0.2.1"):
            counts.refused("192.0.2.1")
    with pytest.raises(NotAdmitted, match="was refused 6 times within a minute"):
        counts.connection("192.0.2.1").__enter__()
    with counts.connection("192.0.2.2"):
        pass
    clock.now += 10.1
    with counts.connection("192.0.2.1"):
        pass


def test_no_more_addresses_are_remembered_than_fit():
    counts = admission(Clock())
    for number in range(20_000):
        counts.refused(f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}")
    assert len(counts._refusals) <= 10_000


# algorithms


def test_a_post_quantum_key_exchange_is_offered_first():
    assert exchanges()[0] == "mlkem768x25519-sha256"
    assert exchanges()[-2:] == list(CLASSICAL)

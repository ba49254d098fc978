"""The gateway's cryptography, audited by ssh-audit."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import pytest
import trio

from conftest import open_gateway

pytestmark = [
    pytest.mark.audit,
    pytest.mark.skipif(find_spec("ssh_audit") is None, reason="there is no ssh-audit here"),
]


async def test_ssh_audit_finds_no_failure_and_warns_only_of_classical_exchanges():
    async with open_gateway() as gateway:
        where = ["-p", str(gateway.address.port), "127.0.0.1"]
        command = [sys.executable, "-m", "ssh_audit.ssh_audit", "--json", *where]
        done = await trio.run_process(command, check=False, capture_stdout=True)
    found = json.loads(done.stdout)
    offered = [each for kind in ("kex", "key", "enc", "mac") for each in found[kind]]
    failures = {each["algorithm"]: each["notes"].get("fail") for each in offered}
    warnings = {each["algorithm"]: each["notes"].get("warn") for each in offered}
    assert {name: said for name, said in failures.items() if said} == {}
    classical = ["does not provide protection against post-quantum attacks"]
    assert {name: said for name, said in warnings.items() if said} == {
        "curve25519-sha256": classical,
        "curve25519-sha256@libssh.org": classical,
    }
    assert found["cves"] == []
    assert found["recommendations"] == {}
    assert "Terrapin" not in " ".join(found["additional_notes"])
    assert "throttling" not in " ".join(found["additional_notes"]), "connections are limited"

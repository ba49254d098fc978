"""Signing statements with the key with which the runner logged in, from a file or the owner's SSH agent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh
import structlog
import trio

from bassloop import __version__
from bassloop.bass import thunk_sha256
from bassloop.bridge import call_asyncio
from bassloop.trust.envelope import signed_bytes
from bassloop.trust.sshsig import SSHSignature, to_be_signed
from bassloop.trust.statement import FAILED, PASSED, CallDigests, RunnerDescription, RunStatement
from bassloop.wire.conventions import digest_of_given

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.runner.call_context import CallContext
    from bassloop.runner.engine.thunk_driver import ThunkDriver
    from bassloop.wire import bass_pb2 as pb
    from bassloop.wire import progrock_pb2

log = structlog.get_logger(__name__)

SIGN_SECONDS = 10.0
"""How long an agent may take, in seconds, since it may ask its owner."""

RSA_ALGORITHM = b"rsa-sha2-512"
RSA_AGENT_FLAG = 4
"""The flag for an agent to sign with RSA over SHA-512."""


@dataclass(eq=False)
class ConnectionSigner:
    """Signs with the key of the current connection.

    Hardware keys that need a touch aren't used, since nobody wants to touch one for each run.

    Args:
        login: the key's owner.
        key: the key pair that the loop accepted last; set when logging in.
        agent: the socket of the agent that has it, if it isn't in a file.
    """

    login: str = ""
    key: Any = None
    agent: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the key can't sign, and how to fix that; None if it can."""
        if self.key is None or not self.key.algorithm.startswith(b"sk-"):
            return None
        return (
            "runs won't be signed: the key is on hardware that has to be touched. Use another key with "
            "--identity if they have to be"
        )

    async def sign(self, message: bytes) -> SSHSignature | None:
        """Return a signature, or None if the key can't sign."""
        key, data = self.key, to_be_signed(message)
        if key is None or self.problem is not None:
            return None
        try:
            with trio.fail_after(SIGN_SECONDS):
                if key.get_key_type() == "agent":
                    blob = await call_asyncio(self._ask_agent, key, data)
                else:
                    if key.key_algorithm == b"ssh-rsa":
                        key.set_sig_algorithm(RSA_ALGORITHM)
                    blob = await trio.to_thread.run_sync(key.sign, data)
        except (OSError, ValueError, asyncssh.Error, trio.TooSlowError) as error:
            log.warning("run not signed", error=str(error) or type(error).__name__)
            return None
        return SSHSignature(key.key_public_data, blob)

    async def _ask_agent(self, key: Any, data: bytes) -> bytes:
        """Make the agent sign. Runs in asyncio, on a connection of its own."""
        agent = await asyncssh.connect_agent(self.agent or "")
        try:
            flags = RSA_AGENT_FLAG if key.key_algorithm == b"ssh-rsa" else 0
            blob: bytes = await agent.sign(key.key_public_data, data, flags)
            return blob
        finally:
            agent.close()


@dataclass(eq=False)
class RunWitness:
    """Observes one run, and makes the statement about it at the end.

    Args:
        metadata: the call's metadata.
        context: the call's context; its images are part of the statement.
        sent: the digests of what was sent.
    """

    thunk: pb.Thunk
    metadata: Mapping[str, str]
    context: CallContext
    driver: ThunkDriver[Any]
    signer: ConnectionSigner
    sent: CallDigests = field(default_factory=CallDigests)
    started_at: float = field(default_factory=time.time)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Note an update that was sent."""
        self.sent.note(update)

    async def trailers(self, failure: str | None) -> dict[str, bytes]:
        """Return the signed statement as a call's trailing metadata; nothing if it can't be signed.

        Args:
            failure: why the run failed, or None if it passed.
        """
        payload = RunStatement(
            run=self.metadata.get("bassloop-run", ""),
            login=self.signer.login,
            repository=self.metadata.get("bassloop-repository", ""),
            commit=self.metadata.get("bassloop-head", ""),
            thunk=thunk_sha256(self.thunk),
            result=PASSED if failure is None else FAILED,
            log=self.sent.log.hexdigest(),
            artifacts=self.sent.artifacts.listed(),
            given=digest_of_given((each.name, each.sha256) for each in self.context.given)
            if self.context.given
            else None,
            started_at=self.started_at,
            ended_at=time.time(),
            runner=RunnerDescription(
                __version__,
                self.driver.engine_name,
                self.driver.uses_images,
                self.driver.is_contained,
            ),
            images=tuple(sorted(self.context.images.items())),
            message=failure,
        ).encode()
        signature = await self.signer.sign(signed_bytes(payload))
        if signature is None:
            return {}
        return {
            "bassloop-statement-bin": payload,
            "bassloop-signature-bin": signature.encode(),
        }

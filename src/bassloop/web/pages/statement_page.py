"""A runner's signed statements about a run: as files, and on the run's page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response

from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import PAYLOAD_TYPE, SignedStatement, signed_bytes
from bassloop.web.guard import run_or_404
from bassloop.web.presentation import abort_not_found, instant

if TYPE_CHECKING:
    from bassloop.store import Run, StatementRecord
    from bassloop.web.web_context import WebContext

_RUNNERS = {"go": "Go runners", "openssh": "runners behind OpenSSH"}


@dataclass(frozen=True, slots=True)
class SignatureView:
    """The signature on a run's page.

    Args:
        state: `signed`, `refused` or `none`.
        text: a description, without a full stop.
    """

    state: str
    text: str
    record: StatementRecord | None = None

    @property
    def summary(self) -> str:
        """The text without the key."""
        if self.state == "signed" and self.record is not None:
            return f"signed by {self.record.login}"
        return self.text

    def json(self) -> dict[str, Any]:
        """Return the signature for JSON."""
        record = self.record
        return {
            "state": self.state,
            "text": self.text,
            "login": record.login if record else None,
            "key": record.fingerprint if record else None,
            "listed": record.listed if record else None,
            "listed_since": (instant(record.listed_since) or None) if record else None,
            "received_at": (instant(record.received_at) or None) if record else None,
        }


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("statement_page", __name__)

    async def found(run_id: str) -> StatementRecord:
        await run_or_404(context, run_id, "signed statement")
        record = await context.store.statements.get(run_id)
        if record is None:
            abort_not_found("signed statement")
        return record

    @blueprint.get("/runs/<run_id>/statement")
    async def statement(run_id: str) -> Response:
        """Return the in-toto statement of a run."""
        return _file((await found(run_id)).payload, PAYLOAD_TYPE)

    @blueprint.get("/runs/<run_id>/statement.signed")
    async def signed(run_id: str) -> Response:
        """Return the signed bytes, which are DSSE's encoding of the statement."""
        return _file(signed_bytes((await found(run_id)).payload), "application/octet-stream")

    @blueprint.get("/runs/<run_id>/statement.sig")
    async def signature(run_id: str) -> Response:
        """Return the signature, for `ssh-keygen -Y verify`."""
        return _file(_decoded(await found(run_id)).signature.armored().encode(), "text/plain")

    @blueprint.get("/runs/<run_id>/statement.dsse")
    async def envelope(run_id: str) -> Response:
        """Return the statement with its signature as a DSSE envelope."""
        text = json.dumps(_decoded(await found(run_id)).envelope(), indent=1) + "\n"
        return _file(text.encode(), "application/vnd.dsse.envelope.v1+json")

    return blueprint


async def signature_view(context: WebContext, run: Run) -> SignatureView | None:
    """Return the view of a run's signature, or None if the run hasn't ended or no runner ran it."""
    if not run.ended or run.runner_login is None:
        return None
    record = await context.store.statements.get(run.id)
    if record is None:
        why = _RUNNERS.get(run.runner_kind or "")
        return SignatureView("none", f"not signed: {why} can't" if why else "not signed")
    if record.problem is not None:
        return SignatureView("refused", f"signature refused: {record.problem}", record)
    text = f"signed by {record.login} with key {record.fingerprint}"
    if record.listed_since is not None:
        since = datetime.fromtimestamp(record.listed_since, UTC)
        listed = f"which GitHub had listed for them since {since:%Y-%m-%d}"
    elif record.listed:
        listed = "which GitHub listed for them then"
    else:
        listed = "with which they connected"
    return SignatureView("signed", f"{text}, {listed}", record)


def _decoded(record: StatementRecord) -> SignedStatement:
    try:
        return SignedStatement.decode(record.payload, record.signature)
    except UntrustedStatement:
        abort_not_found("readable signature")


def _file(data: bytes, content_type: str) -> Response:
    return Response(data, content_type=content_type)

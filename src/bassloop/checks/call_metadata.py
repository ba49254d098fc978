"""The metadata of calls to runners, which tells a runner's owner what a call is for."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from bassloop.github import GitHubError
from bassloop.wire.conventions import TIME_LIMIT_METADATA

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.checks.delivery_context import DeliveryContext
    from bassloop.runtimes import Runtime

log = structlog.get_logger(__name__)


def isolation_of(sha: str, thunk: str) -> str:
    """Return the scope within which a trusted runner shares caches and outputs: a commit's runs of one thunk.

    Other thunks can't be trusted with them: an earlier commit, or another check of this one, may be a contributor's.

    Args:
        thunk: its SHA-256.
    """
    return f"{sha}/{thunk}"


def metadata_of(
    context: DeliveryContext, run_id: str, *, trusted: bool = False, thunk: str = ""
) -> dict[str, str]:
    """Return the metadata of a call, by which the runner's owner decides what to serve.

    Args:
        run_id: empty for a hook's own calls.
        trusted: whether the runner has to be a trusted one.
        thunk: the SHA-256 of the thunk that is called.
    """
    about = {
        "bassloop-repository": context.repository.full_name,
        "bassloop-visibility": context.repository.visibility,
        "bassloop-event": context.event.name,
        "bassloop-sender": context.sender.login,
        "bassloop-head": context.head.sha,
        "bassloop-fork": "true" if context.choice.fork else "false",
        "bassloop-run": run_id,
        "bassloop-clone-url": context.repository.clone_url,
        "bassloop-sign": "true" if run_id else "",
        "bassloop-isolation": isolation_of(context.head.sha, thunk) if trusted else "",
    }
    if run_id:
        about |= context.loop.artifact_quotas.metadata()
    return {name: value for name, value in about.items() if value}


@asynccontextmanager
async def call_metadata(
    context: DeliveryContext,
    runtime: Runtime,
    run_id: str = "",
    *,
    trusted: bool = False,
    thunk: str = "",
    limit: float | None = None,
) -> AsyncGenerator[dict[str, str]]:
    """Provide the metadata for one call, and for a private repository a token to check it out with.

    The token is sent only to `bassloop runner`, which gives it only to Git and masks it in output, and only if
    the runner's owner can read the repository. It is revoked on exit. Without a token, the runner may use
    credentials of its own.

    Args:
        limit: the call's time limit in seconds, for the runner to know.
    """
    metadata = metadata_of(context, run_id, trusted=trusted, thunk=thunk)
    if limit is not None:
        metadata[TIME_LIMIT_METADATA] = f"{limit:.3f}"
    async with AsyncExitStack() as stack:
        if context.repository.private and runtime.kind == "bassloop":
            try:
                if await _can_read(context, runtime):
                    token = await stack.enter_async_context(
                        context.repo.checkout_token(context.repository.id)
                    )
                    metadata["bassloop-checkout-token"] = token.value
            except GitHubError as error:
                log.warning("no token to check out with", run=run_id, error=str(error))
        yield metadata


async def _can_read(context: DeliveryContext, runtime: Runtime) -> bool:
    """Return whether a runner's owner can currently read the repository."""
    return await context.repo.permission(runtime.login, user_id=runtime.user_id) != "none"

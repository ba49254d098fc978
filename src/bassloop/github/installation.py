"""Calls through one installation of the App; a token that GitHub no longer takes is renewed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.github.errors import Unauthorized

if TYPE_CHECKING:
    from bassloop.github.api import API, Credential, Data
    from bassloop.github.app import App


@dataclass(frozen=True, eq=False)
class Installation:
    """An installation. `app` is None where none is set; then every call raises Unauthorized."""

    api: API
    app: App | None
    id: int

    async def call(
        self, method: str, path: str, *, data: Data | None = None, repeatable: bool | None = None
    ) -> Any:
        """As :meth:`API.call`. A token that was revoked is replaced once."""
        credential = await self._credential()
        try:
            return await self.api.call(
                method, path, credential=credential, data=data, repeatable=repeatable
            )
        except Unauthorized:
            credential = await self._renewed(credential)
        return await self.api.call(
            method, path, credential=credential, data=data, repeatable=repeatable
        )

    async def raw(self, path: str, *, limit: int) -> bytes:
        """As :meth:`API.raw`, with the same renewal."""
        credential = await self._credential()
        try:
            return await self.api.raw(path, credential=credential, limit=limit)
        except Unauthorized:
            credential = await self._renewed(credential)
        return await self.api.raw(path, credential=credential, limit=limit)

    async def page(self, url: str) -> tuple[Any, str | None]:
        """As :meth:`API.page`, with the same renewal."""
        credential = await self._credential()
        try:
            return await self.api.page(url, credential=credential)
        except Unauthorized:
            credential = await self._renewed(credential)
        return await self.api.page(url, credential=credential)

    async def _credential(self) -> Credential:
        return await self._app().installation(self.id)

    async def _renewed(self, refused: Credential) -> Credential:
        self._app().forget(self.id, refused.value)
        return await self._credential()

    def _app(self) -> App:
        if self.app is None:
            message = "no GitHub App is set (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)"
            raise Unauthorized(message)
        return self.app

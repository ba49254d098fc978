"""`/users` and `/user/ID`: who somebody is, and their SSH keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.standin import objects
from bassloop.standin.answers import Refusal, answer_json, page

if TYPE_CHECKING:
    from quart import Response
    from quart_trio import QuartTrio

    from bassloop.standin.standin import Account, StandIn


def add_routes(web: QuartTrio, standin: StandIn) -> None:
    """Add the routes."""

    def known(login: str) -> Account:
        found = standin.accounts.get(login.lower())
        if found is None:
            raise Refusal(404, "Not Found")
        return found

    @web.get("/users/<login>")
    async def user(login: str) -> Response:
        return answer_json(objects.public_user(standin, known(login)))

    @web.get("/user/<int:number>")
    async def by_id(number: int) -> Response:
        found = [each for each in standin.accounts.values() if each.id == number]
        if not found:
            raise Refusal(404, "Not Found")
        return answer_json(objects.public_user(standin, found[0]))

    @web.get("/users/<login>/keys")
    async def keys(login: str) -> Response:
        listed = known(login).keys
        # GitHub shows a key without its comment.
        return page(
            [{"id": n, "key": " ".join(key.split()[:2])} for n, key in enumerate(listed, 1)]
        )

"""What the tests of the dispatcher share with those of the whole loop."""

from tests.loop.conftest import make_repository

__all__ = ["make_repository"]

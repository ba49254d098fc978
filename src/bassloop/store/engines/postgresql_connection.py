"""Connections to PostgreSQL that take the store's SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import psycopg

from bassloop.store.engines.postgresql_sql import translate_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LOCK_KEY = "hashtext('bassloop ' || current_schema())"
"""The first key of advisory locks."""

MAINTENANCE, WRITER, MIGRATION = 1, 2, 3
"""The second keys: held by a command that needs the database for itself, by the one transaction that writes,
and while tables are made."""

_STATEMENTS_AT_ONCE = 200


class PostgreSQLRow:
    """A row of a result, by the names of its columns or by their positions."""

    __slots__ = ("_positions", "_values")

    def __init__(self, values: Sequence[Any], positions: dict[str, int]) -> None:
        self._values = values
        self._positions = positions

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._positions[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        return list(self._positions)


def make_rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], PostgreSQLRow]:
    positions = {column.name: position for position, column in enumerate(cursor.description or ())}
    return lambda values: PostgreSQLRow(values, positions)


class PostgreSQLConnection:
    """A connection that takes the store's SQL.

    Values are put into the statements here, not on the server, which so finds their types by what they
    are compared with, as SQLite does.
    """

    def __init__(self, connection: psycopg.Connection[PostgreSQLRow]) -> None:
        self.driver = connection
        self.transaction = ""

    def execute(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> psycopg.Cursor[PostgreSQLRow]:
        cursor = self.driver.cursor()
        cursor.execute(translate_sql(sql), _without_nul(parameters))
        return cursor

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]], /
    ) -> None:
        translated = translate_sql(sql)
        cursor = psycopg.ClientCursor(self.driver)
        statements = [cursor.mogrify(translated, _without_nul(each)) for each in parameters]
        for start in range(0, len(statements), _STATEMENTS_AT_ONCE):
            together = ";".join(statements[start : start + _STATEMENTS_AT_ONCE])
            cursor.execute(together)

    def close(self) -> None:
        self.driver.close()


def _without_nul(parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | dict[str, Any]:
    """Return parameters that the server takes: it has no NUL in a text."""
    if not isinstance(parameters, (list, tuple)):
        values = cast("Mapping[str, Any]", parameters)
        return {name: _replace_nul(value) for name, value in values.items()}
    return [_replace_nul(value) for value in parameters]


def _replace_nul(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value

"""Compute the combinations of a workflow's matrix as GitHub does, and divide them among checks. No I/O.

The matrix of a check is a product of lists of texts. GitHub's may be something else, because of `include`, `exclude`,
tables, or values that aren't texts. Then each combination becomes a separate check that has its values in its commands.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bassloop.project.workflows.conditions import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bassloop.project.workflows.conditions import Scalar

MAX_COMBINATIONS = 256
"""GitHub's limit for a matrix."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_UBUNTU = re.compile(r"ubuntu(-latest|-[\d.]+)?", re.IGNORECASE)

Combination = dict[str, Any]
"""The values by their names in the matrix, before the tables in them are flattened."""


class TooManyCombinationsError(ValueError):
    """A matrix has more combinations than GitHub allows."""

    def __init__(self) -> None:
        super().__init__(f"its matrix has more than {MAX_COMBINATIONS} combinations")


@dataclass(frozen=True, slots=True)
class Part:
    """The combinations of a matrix that one check can declare.

    Args:
        label: what distinguishes it from the other parts; "" if there is only one.
        known: the values that all its combinations share, by names such as `matrix.os`.
        matrix: the texts of the others, by the names in the matrix.
    """

    label: str = ""
    known: Mapping[str, Scalar] = field(default_factory=dict)
    matrix: Mapping[str, list[str]] = field(default_factory=dict)


def combinations(matrix: Mapping[Any, Any]) -> list[dict[str, Scalar]]:
    """Return the combinations that GitHub starts a job for. Each has all names, such as `os` or `target.arch`.

    Values that aren't there are None. Raises TooManyCombinationsError.
    """
    axes = {
        str(name): values
        for name, values in matrix.items()
        if name not in ("include", "exclude") and isinstance(values, list) and values
    }
    if math.prod(map(len, axes.values())) > MAX_COMBINATIONS:
        raise TooManyCombinationsError
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    excluded = _entries(matrix.get("exclude"))
    found = [each for each in product if not any(_contains(each, entry) for entry in excluded)]
    found = _with_included(found if axes else [], _entries(matrix.get("include")), set(axes))
    if len(found) > MAX_COMBINATIONS:
        raise TooManyCombinationsError
    flat = [dict(_flattened(each)) for each in found]
    names = dict.fromkeys(name for each in flat for name in each)
    return [{name: each.get(name) for name in names} for each in flat]


def _entries(value: object) -> list[Combination]:
    entries = value if isinstance(value, list) else []
    return [{str(name): each for name, each in x.items()} for x in entries if isinstance(x, dict)]


def _contains(whole: object, part: object) -> bool:
    """Return whether a value equals another, in tables as far as that mentions their keys."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(name in whole and _contains(whole[name], each) for name, each in part.items())
    return whole == part


def _with_included(
    product: list[Combination], entries: Sequence[Combination], axes: set[str]
) -> list[Combination]:
    """Return combinations with those that `include` adds.

    An entry extends each combination of the product whose values it doesn't change. If there are none, it is added
    as another combination.
    """
    extended = [dict(each) for each in product]
    added = []
    for entry in entries:
        same = entry.keys() & axes
        fitting = [each for each in extended if all(each[name] == entry[name] for name in same)]
        for each in fitting:
            each |= entry
        if not fitting:
            added.append(dict(entry))
    return extended + added


def _flattened(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _flattened(each, f"{prefix}{name}.")
        elif isinstance(each, bool | str | None):
            yield f"{prefix}{name}", each
        elif isinstance(each, int | float) and math.isfinite(each):
            yield f"{prefix}{name}", float(each)


def in_expressions(name: str) -> str:
    """Return what expressions call a name in a matrix."""
    return f"matrix.{name}".lower()


def known_values(combination: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return a combination's values by the names that expressions have for them."""
    return {in_expressions(name): value for name, value in combination.items()}


def divide(
    found: Sequence[Mapping[str, Scalar]], is_plain: Callable[[str, str], bool]
) -> list[Part]:
    """Return parts of a matrix that have all of these combinations, as few as possible.

    Args:
        is_plain: whether a check's matrix can declare this text for this name.
    """
    names = list(found[0]) if found else []
    groups: dict[tuple[tuple[str, Scalar], ...], list[Mapping[str, Scalar]]] = {}
    for each in found:
        apart = ((name, each[name]) for name in names if not _is_text(name, each[name], is_plain))
        groups.setdefault(tuple(apart), []).append(each)
    parts = [part for group in groups.values() for part in _as_product(group, names)]
    varying = [name for name in names if len({each[name] for each in found}) > 1]
    return _labelled(parts, varying)


def _is_text(name: str, value: Scalar, is_plain: Callable[[str, str], bool]) -> bool:
    is_text = isinstance(value, str | float) and not isinstance(value, bool)
    return is_text and _NAME.fullmatch(name) is not None and is_plain(name, as_text(value))


def _as_product(group: Sequence[Mapping[str, Scalar]], names: Sequence[str]) -> Iterator[Part]:
    """Yield one part if the combinations are a product of their values, otherwise one for each."""
    texts = {name: list(dict.fromkeys(as_text(each[name]) for each in group)) for name in names}
    matrix = {name: values for name, values in texts.items() if len(values) > 1}
    if math.prod(map(len, matrix.values())) == len(group):
        fixed = {name: value for name, value in group[0].items() if name not in matrix}
        yield Part("", known_values(fixed), matrix)
    else:
        yield from (Part("", known_values(each)) for each in group)


def _labelled(parts: Sequence[Part], varying: Sequence[str]) -> list[Part]:
    """Return the parts with labels of the first values that distinguish them, none if there is only one."""
    texts = [
        [
            _label(name, part.known[in_expressions(name)])
            for name in varying
            if name not in part.matrix
        ]
        for part in parts
    ]
    for length in range(len(varying) + 1):
        labels = ["-".join(filter(None, each[:length])) for each in texts]
        if len(set(labels)) == len(labels):
            break
    taken: dict[str, Part] = {}
    for label, part in zip(labels, parts, strict=True):
        number, free = 1, label
        while free in taken:
            number += 1
            free = f"{label}-{number}".lstrip("-")
        taken[free] = replace(part, label=free)
    return list(taken.values())


def _label(name: str, value: Scalar) -> str:
    if isinstance(value, bool):
        return name.rpartition(".")[2] if value else ""
    text = as_text(value)
    return "" if _UBUNTU.fullmatch(text) else re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")

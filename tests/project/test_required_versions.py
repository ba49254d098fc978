"""The oldest versions that a project's files require."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.project.required_versions import required_versions


def package(**keys: Any) -> dict[str, str]:
    return {"package.json": json.dumps(keys)}


@pytest.mark.parametrize(
    ("files", "program", "version"),
    [
        (package(engines={"node": "^22.22.2 || ^24.15.0 || >=26.0.0"}), "node", (22, 22, 2)),
        (package(engines={"node": ">= 20"}), "node", (20,)),
        (package(engines={"node": "18.x"}), "node", (18,)),
        (package(packageManager="pnpm@11.22.0+sha512.abc"), "node", (22, 13)),
        ({"pyproject.toml": "project.requires-python = '<4,>=3.12'"}, "python3", (3, 12)),
        ({"Cargo.toml": "package.rust-version = '1.85'"}, "rustc", (1, 85)),
    ],
)
def test_a_projects_files_say_which_versions_it_requires(
    files: dict[str, str], program: str, version: tuple[int, ...]
) -> None:
    [required] = required_versions(files.get)
    assert (required.program, required.version) == (program, version)


@pytest.mark.parametrize(
    "files",
    [
        {},
        package(engines={"node": "<24"}),
        package(engines={"node": ">=20 || *"}),
        package(engines=[], packageManager="pnpm@9.0.0"),
        {"pyproject.toml": "project.requires-python = '<4'"},
        {"pyproject.toml": "project = 1", "Cargo.toml": "package.rust-version.workspace = true"},
    ],
)
def test_a_project_without_a_lower_bound_requires_no_version(files: dict[str, str]) -> None:
    assert required_versions(files.get) == []


@given(
    st.dictionaries(st.sampled_from(["package.json", "pyproject.toml", "Cargo.toml"]), st.text())
)
def test_no_file_raises_an_error(files: dict[str, str]) -> None:
    required_versions(files.get)

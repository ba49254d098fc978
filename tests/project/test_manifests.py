"""What a project's files ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.project.manifests import pinned_version, required_versions


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


@pytest.mark.parametrize(
    ("language", "files", "version"),
    [
        ("python", {".python-version": "3.12.4\n"}, "3.12"),
        ("python", {".python-version": "pypy3.10-7.3\n"}, "3.10"),
        ("python", {"mise.toml": '[tools]\npython = "3.11"\n'}, "3.11"),
        ("python", {"mise.toml": '[tools]\npython = ["3.12", "3.11"]\n'}, "3.12"),
        ("python", {"mise.toml": '[tools]\npython = { version = "3.10" }\n'}, "3.10"),
        ("python", {"mise.toml": "[tools", ".tool-versions": "python 3.9.1 # old\n"}, "3.9"),
        ("python", {"mise.toml": "tools = 3\n"}, None),
        ("python", {".tool-versions": "nodejs 22\n# python 3.9\npython system\n"}, None),
        ("node", {".tool-versions": "nodejs 20.11.0\n"}, "20.11"),
        ("node", {".nvmrc": "lts/iron\n", ".mise.toml": '[tools]\nnode = "24"\n'}, "24"),
        ("go", {".tool-versions": "golang 1.24.1\n"}, "1.24"),
        ("rust", {"rust-toolchain.toml": '[toolchain]\nchannel = "1.85"\n'}, "1.85"),
        ("rust", {"rust-toolchain.toml": '[toolchain]\nchannel = "nightly"\n'}, None),
        ("ruby", {".ruby-version": "ruby-3.4.1\n"}, "3.4"),
        ("java", {".tool-versions": "java temurin-21.0.2+13\n"}, "21.0"),
    ],
)
def test_pinned_versions_of_a_project_are_found(
    language: str, files: dict[str, str], version: str | None
) -> None:
    assert pinned_version(language, files.get) == version


@given(
    st.dictionaries(st.sampled_from(["package.json", "pyproject.toml", "Cargo.toml"]), st.text())
)
def test_no_file_raises_an_error(files: dict[str, str]) -> None:
    required_versions(files.get)

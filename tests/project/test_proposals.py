"""The proposals of `init`, for each kind of project."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.project import read_checks
from bassloop.project.manifests import required_versions
from bassloop.project.proposals import Proposal, propose_checks, write_declaration

PROJECTS: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {
    "a Python package with extras and tools": (
        {
            "pyproject.toml": '[build-system]\n[project]\nrequires-python = ">=3.9,<3.13"\n'
            '[project.optional-dependencies]\ntest = ["pytest"]\n[tool.ruff]\n[tool.mypy]\n',
            "tests": "",
        },
        {
            "test": ['pip install ".[test]"', "pip install pytest && python3 -m pytest"],
            "lint": ["pip install ruff", "ruff check ."],
            "types": ['pip install ".[test]"', "pip install mypy", "mypy ."],
        },
    ),
    "Python with requirements and unittest": (
        {"requirements.txt": "requests\n", "app.py": "", "test_app.py": ""},
        {"test": ["pip install -r requirements.txt", "python3 -m unittest discover -v"]},
    ),
    "Python without tests": (
        {"requirements.txt": "requests\n", "app.py": ""},
        {"build": ["pip install -r requirements.txt", "python3 -m compileall -q ."]},
    ),
    "a workspace of Python projects": ({"pyproject.toml": "[tool.uv.workspace]"}, {}),
    "npm with a lock": (
        {
            "package.json": json.dumps({"scripts": {"test": "jest", "lint": "eslint ."}}),
            "package-lock.json": "{}",
        },
        {"test": ["npm ci", "npm run test"], "lint": ["npm ci", "npm run lint"]},
    ),
    "npm without tests": (
        {"package.json": json.dumps({"scripts": {"test": 'echo "Error: no test specified" && exit 1'}})},
        {},
    ),
    "pnpm": (
        {
            "package.json": json.dumps({"packageManager": "pnpm@9.1.0+sha1.0", "scripts": {"test": "vitest"}}),
            "pnpm-lock.yaml": "",
        },
        {"test": ["npm install --global pnpm@9.1.0 && pnpm install --frozen-lockfile", "pnpm run test"]},
    ),
    "pnpm, with what was left of Yarn": (
        {
            "package.json": json.dumps({"scripts": {"test": "vitest"}}),
            "pnpm-lock.yaml": "",
            ".yarnrc.yml": "",
        },
        {"test": ["npm install --global pnpm && pnpm install --frozen-lockfile", "pnpm run test"]},
    ),
    "Yarn, with what was left of pnpm": (
        {
            "package.json": json.dumps({"packageManager": "yarn@4.5.0", "scripts": {"test": "vitest"}}),
            "pnpm-workspace.yaml": "",
            "yarn.lock": "",
        },
        {"test": ["npm install --global @yarnpkg/cli-dist@4.5.0 && yarn install", "yarn run test"]},
    ),
    "Go": ({"go.mod": "module x\n\ngo 1.24.1\n"}, {"test": ["go test ./..."], "vet": ["go vet ./..."]}),
    "a Rust workspace": (
        {"Cargo.toml": '[workspace]\nmembers = ["a"]\n'},
        {
            "test": ["cargo test --workspace"],
            "clippy": [
                "cargo clippy --version || rustup component add clippy",
                "cargo clippy --workspace --all-targets",
            ],
        },
    ),
    "Maven": ({"pom.xml": "<project/>", "mvnw": ""}, {"test": ["./mvnw -B -ntp verify"]}),
    "Ruby": ({"Gemfile": "", "spec": ""}, {"test": ["bundle install", "bundle exec rspec"]}),
    "CMake": (
        {"CMakeLists.txt": "project(x)\ninclude(GNUInstallDirs)\nenable_testing()\n"},
        {
            "test": [
                "command -v cmake && command -v ninja || (apt-get update && apt-get install -y "
                "--no-install-recommends cmake ninja-build)",
                "cmake -G Ninja -S . -B build",
                "cmake --build build",
                "ctest --test-dir build --output-on-failure --no-tests=error",
            ]
        },
    ),
    "CMake with tests that are off": (
        {"CMakeLists.txt": 'option(X_BUILD_TESTS "Build them" OFF)\nif(X_BUILD_TESTS)\n  include( CTest )\nendif()\n'},
        {
            "test": [
                "command -v cmake && command -v ninja || (apt-get update && apt-get install -y "
                "--no-install-recommends cmake ninja-build)",
                "cmake -G Ninja -S . -B build -DX_BUILD_TESTS=ON",
                "cmake --build build",
                "ctest --test-dir build --output-on-failure --no-tests=error",
            ]
        },
    ),
    "CMake without tests": (
        {"CMakeLists.txt": "include(CMakePackageConfigHelpers)\nadd_executable(tests tests.c)\n"},
        {
            "build": [
                "command -v cmake && command -v ninja || (apt-get update && apt-get install -y "
                "--no-install-recommends cmake ninja-build)",
                "cmake -G Ninja -S . -B build",
                "cmake --build build",
            ]
        },
    ),
    "Yarn 4": (
        {"package.json": json.dumps({"packageManager": "yarn@4.5.0", "scripts": {"test": "jest"}}), "yarn.lock": ""},
        {"test": ["npm install --global @yarnpkg/cli-dist@4.5.0 && yarn install", "yarn run test"]},
    ),
    "PHP with a script": (
        {"composer.json": json.dumps({"scripts": {"test": "phpunit"}})},
        {"test": ["composer install --no-interaction --no-progress", "composer run test"]},
    ),
    "PHP with PHPUnit": (
        {"composer.json": "{}", "phpunit.xml.dist": ""},
        {"test": ["composer install --no-interaction --no-progress", "vendor/bin/phpunit"]},
    ),
    "PHP without tests": (
        {"composer.json": "{}"},
        {"validate": ["composer validate --strict --no-check-publish"]},
    ),
    "Elixir": (
        {"mix.exs": "", "test": ""},
        {
            "test": ["mix local.hex --force && mix local.rebar --force && mix deps.get", "mix test"],
            "compile": [
                "mix local.hex --force && mix local.rebar --force && mix deps.get",
                "mix compile --warnings-as-errors",
            ],
        },
    ),
    "a Makefile alone": ({"Makefile": "all:\n\techo\ncheck: all\n\techo\nX := 1\n"}, {"test": ["make check"]}),
    "a Makefile beside a language": (
        {"Makefile": "test:\n", "go.mod": "module x"},
        {"test": ["go test ./..."], "vet": ["go vet ./..."]},
    ),
    "a monorepo of two languages": (
        {"go.mod": "module x", "package.json": json.dumps({"scripts": {"test": "jest"}})},
        {"test": ["npm install", "npm run test"], "test-go": ["go test ./..."], "vet": ["go vet ./..."]},
    ),
    "a script": ({"test.sh": ""}, {"test": ["sh test.sh"]}),
    "nothing known": ({"README.md": ""}, {}),
}  # fmt: skip


@pytest.mark.parametrize("project", PROJECTS)
def test_each_kind_of_project_has_its_checks(project: str) -> None:
    files, expected = PROJECTS[project]
    proposals = propose_checks(files.get, set(files))
    assert {proposal.name: list(proposal.run) for proposal in proposals} == expected


def test_checks_of_a_rust_project_do_not_share_cargos_registry() -> None:
    proposals = propose_checks({"Cargo.toml": ""}.get, {"Cargo.toml"})
    assert [(each.name, dict(each.caches)) for each in proposals] == [("test", {}), ("clippy", {})]


@pytest.mark.parametrize("project", PROJECTS)
def test_proposed_checks_are_valid_declarations(project: str) -> None:
    files, expected = PROJECTS[project]
    declared = read_checks(write_declaration(propose_checks(files.get, set(files))).encode())
    assert {name: check.commands for name, check in declared.items()} == expected
    assert all(check.image for check in declared.values())


NAMES = ["pyproject.toml", "package.json", "go.mod", "Cargo.toml", "pom.xml", "Makefile", "tox.ini"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=100)))
def test_no_file_raises_an_error(files: dict[str, str]) -> None:
    read_checks(write_declaration(propose_checks(files.get, set(files))).encode())


@pytest.mark.parametrize(
    ("files", "image"),
    [
        ({}, "node:22"),
        ({".node-version": "24.2.0\n"}, "node:24"),
        ({".nvmrc": "v20\n"}, "node:20"),
        ({".nvmrc": "lts/*\n"}, "node:22"),
        ({"package.json": {"engines": {"node": ">=24"}}}, "node:24"),
        ({"package.json": {"engines": {"node": ">=18.12.0 <19 || ^20.9"}}}, "node:22"),
    ],
)
def test_the_version_of_node_comes_from_the_project(files: dict[str, Any], image: str) -> None:
    package = {"scripts": {"test": "jest"}, **files.pop("package.json", {})}
    there = {**files, "package.json": json.dumps(package)}
    [proposal] = propose_checks(there.get, set(there))
    assert proposal.image == image


def test_an_image_has_the_pinned_version() -> None:
    files = {"go.mod": "go 1.22\n", ".tool-versions": "golang 1.24.1\n", "Gemfile": ""}
    found = propose_checks(files.get, set(files))
    assert {each.image for each in found} == {"golang:1.24", "ruby:3.3"}


@pytest.mark.parametrize(
    ("folders", "command"), [("src", "mypy src"), ("my_pkg docs", "mypy my_pkg"), ("", "mypy .")]
)
def test_types_are_checked_in_the_folder_of_the_package(folders: str, command: str) -> None:
    files = {"pyproject.toml": '[project]\nname = "my-pkg"\n[tool.mypy]\nstrict = true\n'}
    [check] = [
        each
        for each in propose_checks(files.get, {*files, *folders.split()})
        if each.name == "types"
    ]
    assert check.run[-1] == command


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "[project]\nname = 'x'\n[tool.news]\nfirst = 2024-01-01\n"},
        {"pyproject.toml": "tool = 1\n[project]\nname = 'x'\n"},
        {"pyproject.toml": "tool.mypy = ['x']\n[project]\nname = 'x'\n"},
        {"pyproject.toml": "dependency-groups = 1\nproject.optional-dependencies = 1\n"},
        {"pyproject.toml": f"x = {'1' * 5_000}\n"},
        {"pyproject.toml": f"project.requires-python = '<3.{'1' * 5_000}'\n"},
        {"package.json": f'{{"packageManager": "pnpm@{"1" * 5_000}", "scripts": {{"test": "x"}}}}'},
        {"go.mod": f"go 1.{'1' * 5_000}\n"},
    ],
)
def test_a_manifest_with_unusual_values_is_no_error(files: dict[str, str]) -> None:
    assert tomllib.loads(write_declaration(propose_checks(files.get, set(files)))) is not None
    required_versions(files.get)


def test_escapes_for_half_a_character_are_written_as_text() -> None:
    test = Proposal("a\ud83d", "x\ny", "x", ("echo \ud83d\ude80 \ud83d",))
    text = write_declaration([test])
    assert tomllib.loads(text)["checks"] == {"a�": {"image": "x", "run": "echo 🚀 �"}}
    assert text.encode()

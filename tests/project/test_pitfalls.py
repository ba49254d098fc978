"""What is valid, and is not warned of."""

from __future__ import annotations

import pytest

from bassloop.project import pitfall_lines, read_checks, unmatched_limits


@pytest.mark.parametrize(
    "text",
    [
        '[checks.a]\nrun = ["cd sub && make", "make"]\n',
        '[checks.a]\nrun = ["make", "cd sub; make"]\n',
        '[checks.a]\nrun = ["make", "cd sub"]\n',
        '[checks.a]\nrun = ["""\nexport A=1\nmake""", "make"]\n',
        '[checks.a]\nrun = [["pytest", "-q"], "make"]\n',
        '[checks.a]\nmatrix = { v = ["1"] }\nrun = "tox -e py${v}"\n',
        '[checks.a]\nmatrix = { v = ["1"] }\nimage = "python:${v}"\nrun = "tox"\n',
        '[checks.a]\nmatrix = { v = ["1"] }\nenv = { V = "${v}" }\nrun = "tox"\n',
        '[checks.a]\nimage = "ubuntu:24.04"\nrun = "echo ${HOME} $HOME"\n',
    ],
)
def test_intended_words_get_no_warning(text: str) -> None:
    assert pitfall_lines(read_checks(text.encode()), text, "f") == []


def test_a_warning_has_the_line_of_its_key() -> None:
    text = '[checks.a]\nrun = "x"\nimage = "macos-14"\n'
    [line] = pitfall_lines(read_checks(text.encode()), text, "f")
    assert line.startswith("f:3: warning: checks.a.image: macos-14 is the name of a machine")


@pytest.mark.parametrize("name", ['"m (1)"', "from-the-hook"])
def test_a_limit_for_a_check_that_exists_gets_no_warning(name: str) -> None:
    text = f'[checks]\n{name} = 10\na.run = "x"\n[checks.m]\nmatrix.v = [1]\nrun = "x ${{v}}"\n'
    assert unmatched_limits(text, read_checks(text.encode()), {"from-the-hook"}, "f") == []


def test_a_limit_for_a_check_that_does_not_exist_gets_a_warning() -> None:
    text = '[checks]\nfast = 10\n[checks.m]\nmatrix.v = [1]\nrun = "x ${v}"\n'
    assert unmatched_limits(text, read_checks(text.encode()), {"b"}, "f") == [
        "f:2: warning: checks.fast: a number is a time limit in seconds for the check of that name, "
        "and there is none; there is m (1), b"
    ]

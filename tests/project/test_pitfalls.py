"""What is valid, and is not warned of."""

from __future__ import annotations

import pytest

from bassloop.project import pitfall_lines, read_checks


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

"""The values in a job's texts: of its matrix, of secrets, and those that steps pass on to later ones. No I/O.

Steps pass values on in files such as `$GITHUB_ENV`. Expressions whose values aren't known stay, with a note.
"""

from __future__ import annotations

import itertools
import re
from functools import partial
from typing import TYPE_CHECKING

from bassloop.project.manifests import table
from bassloop.project.workflows.conditions import evaluate, names_in, text_of
from bassloop.project.workflows.known_actions import EXPRESSION
from bassloop.project.workflows.matrix import in_expressions
from bassloop.project.workflows.step_scripts import shell_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.project.workflows.conditions import Value
    from bassloop.project.workflows.matrix import Part

_FILES = re.compile(r"\bGITHUB_(ENV|PATH|OUTPUT|STATE|STEP_SUMMARY)\b")
_READ = {
    "ENV": 'if [ -e "$HOME/.github-env" ]; then while IFS= read -r line; do '
    '[ -z "$line" ] || export "$line"; done < "$HOME/.github-env"; fi',
    "PATH": 'if [ -e "$HOME/.github-path" ]; then while IFS= read -r line; do '
    'PATH="$line:$PATH"; done < "$HOME/.github-path"; fi',
}
"""Shell code that reads the values that earlier steps have written. A check's commands share their home folder."""


_OUTPUT = re.compile(r"steps\.([\w-]+)\.outputs\.([\w-]+)")
_TEST = re.compile(
    r"\s*(?:\$\{\{)?\s*(?P<output>steps\.[\w.-]+)\s*(?:(?P<sign>[!=]=)\s*'(?P<text>[^']*)')?\s*(?:\}\})?\s*"
)


_OF_ACTIONS = {
    "actions/setup-node": ("node-version", "node --version"),
    "actions/setup-python": ("python-version", "python3 -V | cut -d ' ' -f 2"),
    "actions/setup-go": ("go-version", "go env GOVERSION | cut -c 3-"),
}
"""Outputs of actions, and commands that print the same."""


class PassedOn:
    """The values that steps of a job pass on to later ones. Add steps in the order that they run in."""

    def __init__(self) -> None:
        self._written: dict[str, None] = {}
        self._with_outputs: set[str] = set()
        self._of_actions: dict[str, str] = {}
        self._used: dict[str, str] = {}

    def add_action(self, uses: str, step: str) -> None:
        """Add a step that uses an action, with its id."""
        action = uses.partition("@")[0]
        if action in _OF_ACTIONS and step:
            name, command = _OF_ACTIONS[action]
            self._of_actions[f"steps.{step}.outputs.{name}"] = command

    def output(self, name: str) -> str | None:
        """Return the shell variable that the next step has for an output; None if no earlier step has it.

        Args:
            name: such as `steps.version.outputs.tag`.
        """
        if name in self._of_actions:
            variable = re.sub(r"\W", "_", name.replace("steps.", "output_").replace("outputs.", ""))
            self._used[variable] = f"{variable}=$({self._of_actions[name]})"
            return f"${{{variable}}}"
        found = _OUTPUT.fullmatch(name)
        if found is None or found[1] not in self._with_outputs:
            return None
        variable = re.sub(r"\W", "_", f"output_{found[1]}_{found[2]}")
        file = f'"$HOME/.github-output-{found[1]}"'
        self._used[variable] = (
            f"{variable}=$(sed -n 's/^{found[2]}=//p' {file} 2>/dev/null | tail -n 1)"
        )
        return f"${{{variable}}}"

    def test(self, condition: str) -> str | None:
        """Return a shell command for a condition that compares such an output with a text; None for others."""
        found = _TEST.fullmatch(condition)
        value = self.output(found["output"]) if found else None
        if found is None or value is None:
            return None
        if found["sign"] is None:
            return f'[ -n "{value}" ]'
        sign = "=" if found["sign"] == "==" else "!="
        return f"[ \"{value}\" {sign} '{found['text']}' ]"

    def lines(self, script: str, step: str = "") -> list[str]:
        """Return the lines that apply what earlier steps wrote, and let this one write.

        Nothing reads GitHub's other files here, so they are /dev/null.

        Args:
            step: the step's id, if it has one.
        """
        lines = ['export GITHUB_WORKSPACE="$PWD"'] if "GITHUB_WORKSPACE" in script else []
        lines += [_READ[name] for name in self._written]
        lines += self._used.values()
        self._used = {}
        for name in dict.fromkeys(_FILES.findall(script)):
            if name == "OUTPUT" and re.fullmatch(r"[\w-]+", step):
                self._with_outputs.add(step)
                lines.append(f'export GITHUB_OUTPUT="$HOME/.github-output-{step}"')
            elif name in _READ:
                self._written[name] = None
                lines.append(f'export GITHUB_{name}="$HOME/.github-{name.lower()}"')
            else:
                lines.append(f"export GITHUB_{name}=/dev/null")
        return lines


_VARIABLE = re.compile(r"\$\{?((?:GITHUB|RUNNER)_[A-Z_]+)\b")
_SET = {
    f"GITHUB_{name}"
    for name in ("ENV", "PATH", "OUTPUT", "STATE", "STEP_SUMMARY", "TOKEN", "WORKSPACE")
}
"""Variables of GitHub's that the translation sets, and the token, which has a note of its own."""


def explain_lost(script: str) -> list[str]:
    """Return notes about the values that don't reach later steps, and GitHub's variables that aren't set."""
    notes = []
    if "GITHUB_ENV" in script and "<<" in script:
        notes.append(
            "a value of several lines that a step writes to $GITHUB_ENV makes the next command fail: set it there"
        )
    if "GITHUB_OUTPUT" in script and "<<" in script:
        notes.append("an output of several lines reaches no other step")
    if "::set-output" in script:
        notes.append("what a step writes with ::set-output reaches no other step")
    unset = dict.fromkeys(name for name in _VARIABLE.findall(script) if name not in _SET)
    notes += [f"${name} isn't set here" for name in unset]
    return notes


def explain_meaningless(expression: str, *, in_script: bool) -> str:
    """Return a note about an expression whose value isn't known."""
    text = f"${{{{ {expression} }}}} has no meaning here"
    if any(name.startswith("steps.") for name in names_in(expression)):
        text = f"${{{{ {expression} }}}} is another step's output, which doesn't reach this one"
    fix = "the command with it fails as it is, so put the value there" if in_script else ""
    return f"{text}: {fix}" if fix else text


_NAMED = re.compile(r"(matrix|secrets|env)\.([A-Za-z_][A-Za-z0-9_-]*)")
_KNOWN_EARLY = re.compile(
    r"matrix\..*|needs\.[\w*-]+\.result|format|contains|startswith|endswith", re.IGNORECASE
)
"""The names whose values are inserted into commands. What conditions assume for others may be wrong for some push."""

_FOLDERS = {"github.workspace": "$GITHUB_WORKSPACE", "runner.temp": "${TMPDIR:-/tmp}"}
_COVERAGE_TOKEN = re.compile(r"CODECOV_|COVERALLS_")
MAX_COMBINATIONS = 64


class JobValues:
    """The values in one job's texts: those of its matrix, secrets, and what earlier steps pass on.

    Args:
        part: the combinations of its matrix that are translated.
        cases: the known values for each event that starts the job.
    """

    def __init__(self, part: Part, cases: Sequence[Mapping[str, Value]]) -> None:
        self._known, self._matrix, self._cases = part.known, part.matrix, cases
        self.passed_on = PassedOn()
        self.notes: dict[str, None] = {}
        """What to tell the author about the check."""
        self.secrets: dict[str, None] = {}
        """The names of the secrets that were used."""
        self.aliases: dict[str, str] = {}
        """The job's variables that have a secret of another name, and that name."""

    def text(self, text: str, *, in_script: bool = False) -> str:
        """Return a text with known expressions replaced, and note the others."""
        return EXPRESSION.sub(partial(self._expression, in_script=in_script), text)

    def _expression(self, match: re.Match[str], *, in_script: bool) -> str:
        named = _NAMED.fullmatch(match[1])
        if named is not None and named[1] == "matrix" and named[2] in self._matrix:
            return f"${{{named[2]}}}"
        if named is not None and named[1] == "env":
            return f"${named[2]}"
        if named is not None and named[1] == "secrets" and named[2] != "GITHUB_TOKEN":
            self.secrets[named[2]] = None
            return f"${named[2]}"
        if match[1] == "github.sha":
            return "$(git rev-parse HEAD)"
        if match[1] == "runner.os":
            return "Linux"
        if in_script and match[1] in _FOLDERS:
            return _FOLDERS[match[1]]
        if in_script and (variable := self.passed_on.output(match[1])):
            return variable
        names = names_in(match[1])
        if names and all(map(_KNOWN_EARLY.fullmatch, names)):
            if (value := text_of(match[1], self._known)) is not None:
                return value
            if in_script and (chosen := self._chosen(match[1])):
                return chosen
        self.notes[explain_meaningless(match[1], in_script=in_script)] = None
        return match[0]

    def variables(self, value: object, into: dict[str, str] | None = None) -> dict[str, str]:
        """Return variables with their texts. Those that are secrets of another name are added to `into` instead."""
        aliases = self.aliases if into is None else into
        found = {}
        for name, text in table(value).items():
            given = str(text).lower() if isinstance(text, bool) else str(text)
            secret = re.fullmatch(r"\$\{\{\s*secrets\.(\w+)\s*\}\}", given.strip())
            if secret is None:
                found[str(name)] = self.text(given, in_script=into is not None)
            elif secret[1] == "GITHUB_TOKEN":
                self.notes["there is no GITHUB_TOKEN"] = None
            elif _COVERAGE_TOKEN.match(secret[1]):
                self.notes[f"the secret {secret[1]} is left out: it's for uploads of coverage"] = (
                    None
                )
            else:
                self.secrets[secret[1]] = None
                if name != secret[1]:
                    aliases[str(name)] = secret[1]
        return found

    def condition(self, condition: str) -> tuple[bool | None, tuple[str, str] | None]:
        """Return whether a step runs (None if that isn't known), and the subject and patterns of a `case` around it.

        All combinations of the matrix are evaluated. There's no `case` if the step runs in all of them or in none.
        """
        names, combinations = self._combinations(condition)
        if len(combinations) > MAX_COMBINATIONS:
            return None, None
        runs = {
            values: evaluate(condition, self._with_values(names, values), self._cases)
            for values in combinations
        }
        if None in runs.values():
            return None, None
        if len(set(runs.values())) == 1:
            return next(iter(runs.values())), None
        subject = " ".join(f"${{{name}}}" for name in names)
        patterns = [" ".join(values) for values, is_run in runs.items() if is_run]
        return True, (f'"{subject}"', "|".join(map(shell_word, patterns)))

    def _combinations(self, expression: str) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the names of the matrix that an expression depends on, and all combinations of their values."""
        wanted = names_in(expression)
        names = [name for name in self._matrix if in_expressions(name) in wanted]
        return names, list(itertools.product(*(self._matrix[name] for name in names)))

    def _with_values(self, names: list[str], values: tuple[str, ...]) -> dict[str, Value]:
        matrix = zip(map(in_expressions, names), values, strict=True)
        return {**self._known, **dict(matrix)}

    def _chosen(self, expression: str) -> str | None:
        """Return a shell substitution for an expression that depends on the matrix; None if its values aren't known."""
        names, combinations = self._combinations(expression)
        texts = [text_of(expression, self._with_values(names, values)) for values in combinations]
        plain = all(re.fullmatch(r"[\w.-]+", value) for values in combinations for value in values)
        if not plain or len(combinations) > MAX_COMBINATIONS:
            return None
        subject = "/".join(f"${{{name}}}" for name in names)
        cases = [
            f"{shell_word('/'.join(values))}) echo {shell_word(text)};;"
            for values, text in zip(combinations, texts, strict=True)
            if text is not None
        ]
        return f"$(case {subject} in {' '.join(cases)} esac)" if None not in texts else None

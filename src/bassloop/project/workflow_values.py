"""The values that steps of a workflow pass on to later ones, in files such as `$GITHUB_ENV`. No I/O."""

from __future__ import annotations

import re

from bassloop.project.conditions import names_in

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

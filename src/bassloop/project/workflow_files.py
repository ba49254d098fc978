"""The files by which a step of GitHub Actions tells later ones something, such as `$GITHUB_ENV`. Pure, no I/O."""

from __future__ import annotations

import re

_FILES = re.compile(r"\bGITHUB_(ENV|PATH|OUTPUT|STATE|STEP_SUMMARY)\b")
_READ = {
    "ENV": 'if [ -e "$HOME/.github-env" ]; then while IFS= read -r line; do '
    '[ -z "$line" ] || export "$line"; done < "$HOME/.github-env"; fi',
    "PATH": 'if [ -e "$HOME/.github-path" ]; then while IFS= read -r line; do '
    'PATH="$line:$PATH"; done < "$HOME/.github-path"; fi',
}
"""How a command reads what earlier ones wrote; the home folder is the one that a check's commands share."""


class PassedOn:
    """What the steps of one job pass on to each other, in the order in which they run."""

    def __init__(self) -> None:
        self._written: dict[str, None] = {}

    def lines(self, script: str) -> list[str]:
        """Return the lines that set what earlier steps wrote to $GITHUB_ENV and $GITHUB_PATH, and let this one write.

        GitHub's other files have no reader here, so what is written to them is dropped.
        """
        lines = [_READ[name] for name in self._written]
        for name in dict.fromkeys(_FILES.findall(script)):
            if name in _READ:
                self._written[name] = None
                lines.append(f'export GITHUB_{name}="$HOME/.github-{name.lower()}"')
            else:
                lines.append(f"export GITHUB_{name}=/dev/null")
        return lines


def explain_lost(script: str) -> list[str]:
    """Return what of a script's messages to later steps is lost, as notes."""
    notes = []
    if "GITHUB_ENV" in script and "<<" in script:
        notes.append(
            "a value of several lines that a step writes to $GITHUB_ENV makes the next command fail: set it there"
        )
    if "GITHUB_OUTPUT" in script or "::set-output" in script:
        notes.append("what a step writes to $GITHUB_OUTPUT reaches no other step")
    return notes

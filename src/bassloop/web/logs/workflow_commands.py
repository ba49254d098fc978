"""Workflow commands in the HTML of log lines: errors, warnings, notices, and the marks of groups.

Their characters stay as they are, for whoever searches or copies them: the command is in an element that the page
hides, and what it says about a place is in an attribute that the page shows.

    ::error file=src/app.py,line=12,col=3::message        ##[error]message
"""

from __future__ import annotations

import re

_COMMAND = re.compile(
    r"(?:::(?P<name>error|warning|notice|debug|group|endgroup)(?P<properties> [^:<>\"]{0,1000})?::"
    r"|##\[(?P<logged>error|warning|notice|debug|section|command|group|endgroup)\])"
)
_PROPERTY = re.compile(r"(?:^|[ ,])(file|line|col|title)=([^,]*)")


def mark_command(line: str) -> str:
    """Return a line of HTML with its workflow command marked, if it begins with one."""
    if not line.startswith(("::", "##[")):
        return line
    match = _COMMAND.match(line)
    if match is None:
        return line
    name = match["name"] or match["logged"]
    given = dict(_PROPERTY.findall(match["properties"] or ""))
    place = ":".join(given[key] for key in ("file", "line", "col") if given.get(key))
    place = place.replace("%3A", ":").replace("%2C", ",")
    about = f' data-place="{place}"' if "file" in given else ""
    about += f' data-title="{given["title"]}"' if given.get("title") else ""
    return (
        f'<span class="command {name}"{about}><span class="marker">{match[0]}</span>'
        f"{line[match.end() :]}</span>"
    )

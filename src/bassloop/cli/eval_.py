"""`bassloop eval`: evaluate a script."""

from __future__ import annotations

import click

from bassloop.cli.scripts import late_imports, report_script_errors


@click.command("eval")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--expression", "-e", help="Evaluate this instead of a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
def eval_(file: str, expression: str | None, as_json: bool) -> None:
    """Evaluate a Bass script, and print the value of its last form.

    Without FILE it reads standard input. The script may read and write your files, but runs no thunks.

    \b
    Example:
      bassloop eval -e '(+ 1 2)'
    """
    from bassloop.bass.filesystem import memory_file
    from bassloop.bass.json import encode
    from bassloop.bass.path import HostPath
    from bassloop.bass.printer import show
    from bassloop.tools.local.script import ScriptText, evaluate, read_script

    with report_script_errors():
        if expression is not None:
            content = memory_file("<expression>", expression.encode())
            text = ScriptText(expression, "<expression>", HostPath("."), content)
        else:
            text = read_script(file)
        value = evaluate(text, late_imports())
        shown = encode(value) if as_json else show(value)
    click.echo(shown)

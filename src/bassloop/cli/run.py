"""`bassloop run`: run a script and its thunks on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from bassloop.cli.scripts import late_imports, report_script_errors


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("script", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Bind NAME in the scope that the script reads from *stdin*; ./path is a path.",
)
@click.option("--unsandboxed", is_flag=True, help="Run commands without bubblewrap.")
def run(script: Path, args: tuple[str, ...], inputs: tuple[str, ...], unsandboxed: bool) -> None:
    """Run a Bass script: evaluate it, then call its main with ARGS.

    The script reads JSON values from standard input (*stdin*), and what it emits is printed as JSON, a value per line.

    \b
    Example:
      bassloop run build.bass --input src=./ | bassloop eval --json
    """
    from bassloop.tools.local.driver import RuntimeOptions
    from bassloop.tools.local.script import ScriptCall
    from bassloop.tools.local.script import run as run_script

    with report_script_errors():
        options = RuntimeOptions(sandbox=False if unsandboxed else None)
        run_script(ScriptCall(script, args, inputs, options), late_imports())

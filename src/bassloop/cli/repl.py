"""`bassloop repl`: the language at a prompt."""

from __future__ import annotations

import sys

import click

from bassloop.cli.scripts import late_imports


@click.command("repl")
@click.option("--unsandboxed", is_flag=True, help="Run commands without bubblewrap.")
def repl(unsandboxed: bool) -> None:
    """Evaluate Bass as you type it, with your files and your machine.

    A form continues on the next line until it is closed. Tab completes names, (doc map) shows documentation, Ctrl-C
    interrupts, and Ctrl-D leaves. Reads from a pipe as well, and prints the values.

    \b
    Example:
      echo '(+ 1 2)' | bassloop repl
    """
    from bassloop.tools.local.driver import RuntimeOptions
    from bassloop.tools.repl.evaluator import EntryInterrupted, Evaluator, say

    options = RuntimeOptions(sandbox=False if unsandboxed else None)
    try:
        with Evaluator(options, late_imports(), say) as evaluator:
            if sys.stdin.isatty() and sys.stdout.isatty():
                from bassloop.tools.repl.prompt import converse

                status = converse(evaluator)
            else:
                from bassloop.tools.repl.piped import follow

                status = follow(evaluator, sys.stdin)
    except (EntryInterrupted, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = 130
    sys.exit(status)

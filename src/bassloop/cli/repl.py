"""`bassloop repl`: the language at a prompt."""

from __future__ import annotations

import sys

import click


@click.command("repl")
@click.option("--unsandboxed", is_flag=True, help="Run commands without bubblewrap.")
def repl(unsandboxed: bool) -> None:
    """Evaluate Bass as you type it, with your files and your machine.

    A form that is not closed goes on in the next line. Tab completes names, (doc map) tells what one means,
    Ctrl-C interrupts, Ctrl-D leaves. Reads from a pipe as well, and prints the values.
    """
    from bassloop.tools.local.runtime_options import RuntimeOptions
    from bassloop.tools.repl.evaluator import Evaluator, Interrupted, say

    options = RuntimeOptions(sandbox=False if unsandboxed else None)
    try:
        with Evaluator(options, say) as evaluator:
            if sys.stdin.isatty() and sys.stdout.isatty():
                from bassloop.tools.repl.prompt import converse

                status = converse(evaluator)
            else:
                from bassloop.tools.repl.piped import follow

                status = follow(evaluator, sys.stdin)
    except (Interrupted, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = 130
    sys.exit(status)

"""`bassloop lsp`: the language server that editors start."""

from __future__ import annotations

import click


@click.command("lsp")
def lsp() -> None:
    """Serve an editor: errors as you type, completion, hover, definitions.

    Speaks the Language Server Protocol on standard input and output. See docs/bass-tools.md for how to have
    your editor start it.
    """
    from bassloop.tools.lsp.server import serve

    serve()

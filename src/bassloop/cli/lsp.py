"""`bassloop lsp`: the language server that editors start."""

from __future__ import annotations

import click


@click.command("lsp")
def lsp() -> None:
    """Run the language server: errors as you type, completion, hover, definitions.

    It speaks the Language Server Protocol on standard input and output. docs/bass-tools.md shows how to configure
    editors.

    \b
    Example (Neovim):
      vim.lsp.start({name = "bass", cmd = {"bassloop", "lsp"}})
    """
    from bassloop.tools.lsp.server import serve

    serve()

"""`bassloop runner prune`."""

from __future__ import annotations

from pathlib import Path

import click

from bassloop.cli.errors import told


@click.command()
@click.option(
    "--disk",
    metavar="BYTES",
    help="Leave what was used last, so much at most (20g); without it, all goes.",
)
@click.option("--keep-caches", is_flag=True, help="Leave the folders that thunks share.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where outputs are kept.")
def prune(disk: str | None, keep_caches: bool, state_dir: Path | None) -> None:
    """Remove outputs, and images that the runner has made; nothing that is in use.

    Least recently used goes first. A runner may run meanwhile; with --disk of its own it does the same
    by itself. Images that it fetched by name stay: they are the engine's.
    """
    import trio

    from bassloop.cli.log_config import configure_logs
    from bassloop.runner.cache.pins import KINDS
    from bassloop.runner.cache.pruning import prune as do
    from bassloop.runner.container.image_store import own_images
    from bassloop.runner.errors import RunnerError
    from bassloop.runner.options import default_state, parse_size

    configure_logs("warning")
    kinds = [kind for kind in KINDS if not (keep_caches and kind == "caches")]
    with told(RunnerError, OSError):
        limit = 0 if disk is None else parse_size("--disk", disk)

        async def work() -> None:
            folder = state_dir or default_state()
            click.echo(str(await do(folder, limit, own_images(folder), kinds=kinds)))

        trio.run(work)

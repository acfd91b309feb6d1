"""The command line."""

import os
import sys
from pathlib import Path

import click

from onekey import __version__
from onekey.errors import OnekeyError


class _Commands(click.Group):
    """Commands whose errors are one sentence and no traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OnekeyError as error:
            raise click.ClickException(str(error)) from None


_config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of settings, in the form of config.example.env. The environment wins over it.",
)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onekey")
def main() -> None:
    """An encrypted file host: every share has its own key, and the key lives only in the link.

    \b
    Serve it here:      onekey serve
    Upload a file:      curl -T cat.png http://127.0.0.1:8000/
    Upload an output:   ps aux | curl -T - http://127.0.0.1:8000/
    """


@main.command()
@_config
def serve(config: Path | None) -> None:
    """Serve uploads and links, until Ctrl-C.

    With nothing set it listens on 127.0.0.1:8000 and stores in ./content. Settings are environment variables, or lines
    of a file:

    \b
        UPLOAD_SECRET=… PUBLIC_URL=https://files.example.org onekey serve
        onekey serve --config onekey.env

    On SIGTERM or Ctrl-C, transfers in flight have STOP_TIME to finish; a second one cuts them at once.
    """
    _use(config)
    from onekey import serve as server

    server.run()


@main.command()
@_config
def sweep(config: Path | None) -> None:
    """Remove what has expired, was deleted or given up, once. `onekey serve` does it by itself."""
    _use(config)
    from onekey.app import create_app
    from onekey.app import sweep as sweep_once
    from onekey.settings import from_environment

    swept = sweep_once(create_app(from_environment()))
    if swept is None:
        click.echo("Another process is sweeping.")
    elif swept.clock_ahead:
        click.echo(
            "The clock is more than a day ahead of the database: nothing is swept until that has held for an hour."
        )
        sys.exit(1)
    else:
        click.echo(f"Marked dead: {swept.marked}. Removed: {swept.removed}. Left for the next time: {swept.left}.")


def _use(config: Path | None) -> None:
    """Let this process read its settings from a file; it goes by the environment, as every other server does."""
    if config is not None:
        os.environ["ONEKEY_CONFIG"] = str(config)

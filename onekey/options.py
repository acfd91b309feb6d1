"""Options that several commands of the command line take."""

import os
from pathlib import Path
from typing import Final

import click


def _use(_context: click.Context, _parameter: click.Parameter, file: Path | None) -> None:
    """Let this process read its settings from a file; it goes by the environment, as every other server does."""
    if file is not None:
        os.environ["ONEKEY_CONFIG"] = str(file)


config: Final = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_use,
    expose_value=False,
    help="A file of settings, in the form of config.example.env. The environment wins over it.",
)

"""The command line."""

import json
import sys
from pathlib import Path

import click

from onekey import __version__
from onekey.errors import OnekeyError
from onekey.options import config


class _Commands(click.Group):
    """Commands whose errors are one sentence and no traceback; those of `admin` are a module of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "admin"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "admin":
            return super().get_command(ctx, cmd_name)
        from onekey.admin import admin

        return admin

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OnekeyError as error:
            raise click.ClickException(str(error)) from None


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
@config
def serve() -> None:
    """Serve uploads and links, until Ctrl-C.

    With nothing set it listens on 127.0.0.1:8000 and stores in ./content. Settings are environment variables, or lines
    of a file:

    \b
        UPLOAD_SECRET=… PUBLIC_URL=https://files.example.org onekey serve
        onekey serve --config onekey.env

    On SIGTERM or Ctrl-C, transfers in flight have STOP_TIME to finish; a second one cuts them at once.
    """
    from onekey import serve as server

    server.run()


@main.command()
@config
def sweep() -> None:
    """Remove what has expired, was deleted or given up, once. `onekey serve` does it by itself."""
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


_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


@main.command()
@config
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A log of what is in front of the server, to look for links in. May be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def doctor(logs: tuple[Path, ...], as_json: bool) -> None:
    """Look at settings, disk, database, clock, memory and swap, and at the proxy in front; say what to do.

    Run it as the user that serves, with the server's settings, while it serves. The exit status is 1 if there is a
    problem. It asks PUBLIC_URL for an address that was never a link, and looks whether a log keeps it:

    \b
        onekey doctor --config onekey.env --log /var/log/nginx/access.log --log /var/log/nginx/error.log
    """
    from onekey.doctor import examine

    found = []
    for check, finding in examine(logs):
        found.append({"check": check, "level": finding.level, "what": finding.what, "do": finding.do})
        if not as_json:
            level = click.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
            click.echo(f"{check:<10} {level} {finding.what}")
            if finding.do:
                click.echo(f"{'':<20}-> {finding.do}")
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    sys.exit(any(finding["level"] == "problem" for finding in found))

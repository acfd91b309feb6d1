"""`onekey admin`: what an operator sees of what is stored, and can delete. Works while servers run.

A share is named by its id or by a link, of which only the id is used. No token is printed, and none is in an error.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import click

from onekey import links
from onekey.errors import BadRequest, BadSetting
from onekey.options import config

if TYPE_CHECKING:
    from onekey.records import Entry, PartRecord
    from onekey.vault import Vault

STATES: Final = ("open", "live", "dead")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_DIRECT: Final = re.compile(r"([A-Za-z0-9_-]{32})([./].*)?", re.DOTALL)
_NAMED: Final = re.compile(r"(?:manage|api/v1/(?:shares|uploads))/([0-9a-f]{32})(/.*)?", re.DOTALL)
_SHARES: Final = click.argument("shares", nargs=-1, required=True, metavar="ID|LINK|-...")


@click.group()
def admin() -> None:
    """List, show and delete what is stored; for operators, and for reports of abuse.

    Run it as the user that serves, with the server's settings; servers may run meanwhile. Nothing here can read a
    share: there are ids, sizes, times and counts, and no names and no content.

    \b
        onekey admin list --config onekey.env
        onekey admin show 0f8fad5bd9cb469fa16570867728950e
        onekey admin delete -        and then paste the reported links, and Ctrl-D
        onekey admin stats
    """


@admin.command("list")
@config
@click.option("--state", type=click.Choice(STATES), help="Only what is in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line, with all that is known of each.")
def list_(state: str | None, as_json: bool) -> None:
    """List shares and uploads, the newest last.

    A share is live; an upload that is not finished is open; what was deleted, has expired or is used up is dead until a
    sweep removes it. For instance, all that is live, the ids of what has a password, and the ten largest:

    \b
        onekey admin list --state live
        onekey admin list --json | jq -r 'select(.password) | .id'
        onekey admin list --json | jq -sc 'sort_by(-.size) | .[:10] | .[]'
    """
    entries = _vault().entries()
    if not as_json:
        click.echo(_ROW.format("ID", "STATE", "SIZE", "CREATED", "EXPIRES", "OPENED", "FLAGS").rstrip())
    for entry in entries:
        if state in (None, entry.state):
            click.echo(json.dumps(_told(entry)) if as_json else _row(entry))


@admin.command()
@config
@_SHARES
def show(shares: tuple[str, ...]) -> None:
    """Show all that is known of a share or an upload, and whether its files are those that were recorded.

    It is named by its id or by any link to it: direct, sealed (all that are in it, if there are several) or the
    owner's. A link on the command line is seen by who looks at the processes, and the shell remembers it; `-` reads
    ids and links from standard input instead, one a line:

    \b
        onekey admin show 0f8fad5bd9cb469fa16570867728950e
        onekey admin show - < reported.txt
    """
    named, vault = _ids(shares), _vault()
    missed = []
    for number, share in enumerate(named):
        click.echo("", nl=number > 0)
        found = vault.entries(share)
        if found:
            _show(found[0], *vault.holds(share))
        else:
            missed.append(_nothing(share))
    _end(missed)


@admin.command()
@config
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_SHARES
def delete(shares: tuple[str, ...], yes: bool) -> None:
    """Delete shares and uploads for good, whoever owns them.

    From then on nobody finds them, downloads in flight end, and their bytes are removed at once. They are named as for
    `onekey admin show`. What is not there is told, the rest is deleted, and the exit status is 1.

    \b
        onekey admin delete 0f8fad5bd9cb469fa16570867728950e
        onekey admin delete --yes - < reported.txt
    """
    named, vault = _ids(shares), _vault()
    found = {share: entries[0] for share in named if (entries := vault.entries(share))}
    if found and not yes:
        _ask(list(found.values()))
    missed = [_nothing(share) for share in named if share not in found]
    for share, entry in found.items():
        vault.erase(share)
        if vault.entries(share):
            missed.append(f"{share} is deleted, and nobody finds it; but its files could not be removed. A sweep will.")
        else:
            click.echo(f"Deleted {share} ({_brief(entry)}).")
    _end(missed)


@admin.command()
@config
def stats() -> None:
    """Show how much there is, and what was counted.

    The counts are those of /metrics, in all since the database was made, and need METRICS_TOKEN to be set.

    \b
        onekey admin stats --config onekey.env
    """
    from onekey.web import words

    vault = _vault()
    totals, entries = vault.totals(), vault.entries()
    for state in STATES:
        _line(state, str(totals.states[state]))
    _line("stored", _bytes(totals.stored))
    _line("free", _bytes(totals.free))
    _line("oldest", f"{words.moment(entries[0].created)} ({entries[0].id})" if entries else "-")
    for (name, label), value in sorted(totals.counts.items()):
        click.echo(f"{name:<20} {label:<32} {value:.15g}".rstrip())


# Which shares are meant.


def named_by(text: str) -> tuple[str, ...]:
    """The blob ids that an id or a link of any form names. Raises BadRequest, in words that hold nothing of it."""
    text = text.strip().strip("<>")
    if _ID.fullmatch(text):
        return (text,)
    try:
        parts = urlsplit(text if "://" in text or text[:1] in {"/", "#"} or _DIRECT.fullmatch(text) else f"//{text}")
    except ValueError:
        raise BadRequest(_NEITHER) from None
    path = unquote(parts.path).lstrip("/")
    # The path first: a file's name, which an uploader chose, must not pass for the # of a sealed link.
    if direct := _DIRECT.fullmatch(path):
        return (_id(direct[1]),)
    if named := _NAMED.fullmatch(path):
        return (named[1],)
    if path and not path.startswith("#"):
        raise BadRequest(_NEITHER)
    fragment = path[1:] or unquote(parts.fragment) or unquote(parts.query).partition("#")[2]
    found = tuple(_id(piece) for piece in fragment.split("&") if "=" not in piece)
    if not found:
        raise BadRequest(_NEITHER)
    return found


_NEITHER: Final = "is neither an id nor a link to a share"


def _id(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise BadRequest(_NEITHER)
    return links.blob_id(links.read_token(token))


def _ids(given: Sequence[str]) -> list[str]:
    """The ids of all that is named, each once, in order. What cannot be read is refused before anything is done."""
    found = dict[str, None]()
    for where, text in _lines(given):
        try:
            found.update(dict.fromkeys(named_by(text)))
        except BadRequest as error:
            raise click.UsageError(f"{where} {error}.") from None
    if not found:
        raise click.UsageError("No share is named.")
    return list(found)


def _lines(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(given, 1):
        if text != "-":
            yield f"Argument {number}", text
            continue
        for line, raw in enumerate(sys.stdin.buffer, 1):
            if raw.strip():
                yield f"Line {line} of standard input", raw.decode(errors="replace")


def _vault() -> "Vault":
    from onekey.app import create_services
    from onekey.settings import from_environment

    settings = from_environment()
    if not (settings.content_dir / "onekey.db").is_file():  # or one would be made, and look like an empty server's
        raise BadSetting(
            f"CONTENT_DIR cannot be {str(settings.content_dir)!r}: nothing is stored there. What would do is the "
            "folder that the server stores in."
        )
    return create_services(settings).vault


# What is said of them.

_ROW: Final = "{:<32}  {:<5}  {:>10}  {:<20}  {:<20}  {:<10}  {}"


def _row(entry: "Entry") -> str:
    from onekey.web import words

    size = words.size(entry.size) if entry.size is not None else "-"
    expires = _expires(entry)
    opened = f"{entry.opened} of {entry.opens}" if entry.opens is not None else str(entry.opened)
    flags = ",".join(_flags(entry)) or "-"
    return _ROW.format(entry.id, entry.state, size, words.moment(entry.created), expires, opened, flags)


def _expires(entry: "Entry") -> str:
    from onekey.web import words

    return words.moment(entry.expires) or ("-" if entry.finished is None else "never")


def _flags(entry: "Entry") -> list[str]:
    from onekey.container import Header

    header = Header.parse(entry.header)
    return [
        name for name, is_set in (("password", header.needs_password), ("sealed-only", header.sealed_only)) if is_set
    ]


def _told(entry: "Entry") -> dict[str, object]:
    from onekey.web import words

    times = ("created", "finished", "expires", "died", "last_opened")
    return {
        "id": entry.id,
        "state": entry.state,
        "size": entry.size,
        **{name: words.iso(getattr(entry, name)) for name in times},
        "opened": entry.opened,
        "opens": entry.opens,
        "password": "password" in _flags(entry),
        "sealed_only": "sealed-only" in _flags(entry),
    }


def _brief(entry: "Entry") -> str:
    from onekey.web import words

    size = f", {words.size(entry.size)}" if entry.size is not None else ""
    return f"{entry.state}{size}, created {words.moment(entry.created)}"


def _show(entry: "Entry", parts: "Sequence[PartRecord]", files: dict[str, int]) -> None:
    from onekey.container import Header
    from onekey.web import words

    header = Header.parse(entry.header)
    _line("id", entry.id)
    _line("state", entry.state)
    _line("size", _bytes(entry.size) if entry.size is not None else "-")
    _line("created", words.moment(entry.created) or "-")
    _line("finished", words.moment(entry.finished) or "-")
    _line("expires", _expires(entry))
    _line("died", words.moment(entry.died) or "-")
    _line("opened", f"{entry.opened} of {'any number' if entry.opens is None else entry.opens}")
    _line("last opened", f"in the hour from {words.moment(entry.last_opened)}" if entry.last_opened else "-")
    _line("password", "yes" if header.needs_password else "no")
    _line("sealed only", "yes" if header.sealed_only else "no")
    _line("chunks of", _bytes(header.chunk_size))
    _line("parts", f"{len(parts)}, {_bytes(sum(part.size for part in parts))}, as recorded")
    _line("files", f"{len(files)}, {_bytes(sum(files.values()))}, in the store")
    for what in _differences(parts, files) or ["The sizes of all parts and files agree."]:
        _line("", what)


def _differences(parts: "Sequence[PartRecord]", files: dict[str, int]) -> list[str]:
    """In what the store is not as it was recorded, in sentences."""
    found = []
    for part in parts:
        if part.name not in files:
            found.append(f"Part {part.number} has no file.")
        elif files[part.name] != part.size:
            found.append(f"The file of part {part.number} has {files[part.name]} bytes in place of {part.size}.")
    extra = len(files.keys() - {part.name for part in parts})
    return [*found, *([f"Files that are of no part: {extra}."] if extra else [])]


def _bytes(count: int) -> str:
    from onekey.web import words

    return words.size(count) if count < 1024 else f"{words.size(count)} ({count} bytes)"


def _line(name: str, text: str) -> None:
    click.echo(f"{name:<12} {text}".rstrip())


def _ask(entries: "Sequence[Entry]") -> None:
    """Go on only if somebody says so."""
    if not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask here: --yes deletes without asking.")
    for entry in entries:
        click.echo(f"{entry.id} ({_brief(entry)})")
    if not click.confirm(f"Delete {'it' if len(entries) == 1 else f'these {len(entries)}'} for good?"):
        click.echo("Nothing was deleted.")
        sys.exit(1)


def _nothing(share: str) -> str:
    return f"There is nothing with the id {share}: it was removed, or was never here."


def _end(missed: Sequence[str]) -> None:
    """Say what was not as it was asked for; the exit status tells whether there was any."""
    for what in missed:
        click.echo(what, err=True)
    sys.exit(1 if missed else 0)

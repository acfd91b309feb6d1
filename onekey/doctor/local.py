"""The checks of one machine: what is set, what is stored, and what the server runs on."""

import ipaddress
import os
import pwd
import re
import shlex
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from onekey.database import Database
from onekey.doctor.findings import Finding, Found
from onekey.errors import NewerSchema
from onekey.records import FAR_AHEAD, Records
from onekey.settings import Settings
from onekey.web import words

SYSTEM: Final = Path("/")
SKEW: Final = 60
"""Seconds that two clocks may differ."""
_FEW_INODES: Final = 1000
_MOST_TO_READ: Final = 1 << 30
_MIB: Final = 1 << 20
_WORKER: Final = 228 * _MIB  # 100 for itself, and two passwords that are derived at once
_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2"}
_FLEETING: Final = {"tmpfs", "ramfs", "overlay", "aufs"}


# What is set.


def configured(settings: Settings) -> Found:
    """What is set, and what that means."""
    public = urlsplit(settings.public_url) if settings.public_url else None
    bound = all(is_loopback(address.rpartition(":")[0]) for address in settings.bind)
    if not settings.secrets and not (bound and (public is None or is_loopback(public.hostname or ""))):
        yield Finding("warning", "Anyone who reaches this server may upload.", "Set UPLOAD_SECRET or UPLOAD_SECRETS.")
    if public is None and not bound:
        yield Finding(
            "warning",
            "BIND is open to others, and without PUBLIC_URL the server answers to no name but BIND's.",
            "Set PUBLIC_URL to the address that people use.",
        )
    if public and public.scheme == "http" and not is_loopback(public.hostname or ""):
        yield Finding(
            "warning",
            "PUBLIC_URL is http: links travel readable, and browsers let no page encrypt there.",
            "Serve https, by a proxy or TLS_CERT and TLS_KEY, and set PUBLIC_URL to https://…",
        )
    if settings.proxy_hops and not bound:
        yield Finding(
            "note",
            "PROXY_HOPS is set and BIND is open to others: who gets past the proxy says itself which address it has.",
            "Set BIND to 127.0.0.1:8000, or let only the proxy reach it.",
        )


def is_loopback(host: str) -> bool:
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


# What is stored.


def folder(settings: Settings, system: Path = SYSTEM) -> Found:
    """CONTENT_DIR: whose it is, who else may read it, whether it can be written, and what it lies on."""
    path = settings.content_dir.absolute()
    if not path.exists():
        yield Finding("note", f"{path} is not there yet.", "`onekey serve` makes it.")
        return
    if not path.is_dir():
        yield Finding("problem", f"{path} is not a folder.", "Set CONTENT_DIR to one.")
        return
    yield from _owned(path)
    yield from _private(path, 0o700)
    yield from _writable(path)
    yield from _kept(path, system)


def _owned(path: Path) -> Found:
    owner, me = path.stat().st_uid, os.geteuid()
    if owner != me:
        yield Finding(
            "problem" if me else "note",
            f"{path} belongs to {_name(owner)}, and this is {_name(me)}.",
            f"Run this, and onekey, as {_name(owner)}.",
        )


def _private(path: Path, rights: int) -> Found:
    """Whether others than the owner have any right."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            "problem",
            f"{path} has the rights {mode:03o}: others on this machine can get at it.",
            f"chmod {rights:o} {shlex.quote(str(path))}",
        )


def _writable(path: Path) -> Found:
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix="doctor-") as file:
            file.write(bytes(64 << 10))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding(
            "problem", f"{path} cannot be written: {error.strerror}.", "Make room, or give its owner the right."
        )


def _kept(path: Path, system: Path) -> Found:
    kind = _file_system(path.resolve(), _read(system / "proc/mounts"))
    if kind in _NETWORK or kind.startswith("fuse."):
        yield Finding(
            "warning",
            f"{path} lies on a network file system ({kind}), on which SQLite's locks do not hold.",
            "Move CONTENT_DIR to a disk of this machine.",
        )
    if kind in _FLEETING:
        yield Finding(
            "warning",
            f"{path} lies on {kind}: what is stored is gone with the container, or when the machine starts again.",
            "Move CONTENT_DIR to a disk; in a container, to a volume.",
        )


def _file_system(path: Path, mounts: str) -> str:
    """The kind of the file system that a path lies on, from the lines of /proc/mounts; empty if they do not say."""
    kinds = {Path(_unescaped(line.split()[1])): line.split()[2] for line in mounts.splitlines()}
    return next((kinds[above] for above in (path, *path.parents) if above in kinds), "")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def space(settings: Settings) -> Found:
    """Bytes and inodes that are free where CONTENT_DIR is, or will be."""
    path = settings.content_dir.absolute()
    disk = os.statvfs(next(there for there in (path, *path.parents) if there.exists()))
    free, least = disk.f_bavail * disk.f_frsize, settings.min_free_space
    said = f"{words.size(free)} are free"
    if free < least:
        yield Finding(
            "problem",
            f"{said}, less than MIN_FREE_SPACE ({words.size(least)}): uploads are refused.",
            "Make room on the disk, or set MIN_FREE_SPACE lower.",
        )
    elif free < least + settings.max_upload_size:
        most = f"MAX_UPLOAD_SIZE ({words.size(settings.max_upload_size)})"
        yield Finding(
            "note",
            f"{said}: an upload of {most} would leave less than MIN_FREE_SPACE ({words.size(least)}), and be refused.",
            "Make room on the disk, or set MAX_UPLOAD_SIZE lower.",
        )
    if disk.f_files and disk.f_favail < _FEW_INODES:
        yield Finding(
            "problem" if disk.f_favail == 0 else "warning",
            f"{disk.f_favail} more files can be made on the disk, and each part is a file.",
            "Remove small files, or make the file system with more inodes.",
        )


def database(settings: Settings) -> Found:
    """Rights, schema and damage of the database."""
    file = _database(settings)
    if not file.exists():
        yield Finding("note", "There is no database yet.", "`onekey serve` makes it.")
        return
    for ending in ("", "-wal", "-shm"):
        if (part := Path(f"{file}{ending}")).exists():
            yield from _private(part, 0o600)
    found = Database.to_look_at(file)
    try:
        yield from _up_to_date(found)
        damage = found.damage() if file.stat().st_size < _MOST_TO_READ else None
    except NewerSchema as error:
        yield Finding("problem", str(error), "Install that version of onekey, or a later one.")
        return
    except Exception as error:  # SQLAlchemy's, which only the database knows
        damage = f"it cannot be read ({type(error).__name__})"
    finally:
        found.close()
    if damage is not None:
        yield Finding(
            "problem",
            f"The database is damaged: {damage}.",
            "Stop onekey, look at the disk, and restore CONTENT_DIR from a backup.",
        )


def _database(settings: Settings) -> Path:
    return settings.content_dir.absolute() / "onekey.db"


def _up_to_date(found: Database) -> Found:
    schema, newest = found.schema()
    if schema != newest:
        yield Finding(
            "note",
            f"The database has schema {schema or 'none'}, and this onekey {newest}.",
            "`onekey serve` brings it up to date; keep a backup from before.",
        )


def clock(settings: Settings) -> Found:
    """This machine's clock, against the newest time in the database."""
    file = _database(settings)
    newest = None
    if file.exists():
        records = Records(Database.to_look_at(file))
        try:
            newest, _ = records.newest()
        except Exception:  # what is wrong with the database is another check's to say
            return
        finally:
            records.close()
    if newest is None:
        yield Finding("note", "The database knows no time yet that the clock could be compared with.")
        return
    ahead = round(time.time()) - newest
    if ahead > FAR_AHEAD:
        yield Finding(
            "warning",
            f"The clock is {about(ahead)} ahead of the newest time in the database: "
            "nothing is removed until that has held for an hour.",
            "If onekey was off for that long, there is nothing to do; else set the clock (timedatectl).",
        )
    elif ahead < -SKEW:
        yield Finding(
            "warning",
            f"The clock is {about(-ahead)} behind the newest time in the database: shares live that much longer.",
            "Set the clock (timedatectl set-ntp true).",
        )


def about(seconds: int) -> str:
    unit = next((unit for unit in (86_400, 3600, 60) if seconds >= 2 * unit), 1)
    return words.span(seconds - seconds % unit)


# What it runs on.


def memory(settings: Settings, system: Path = SYSTEM) -> Found:
    """Memory that is there, against what all workers may need at once."""
    free = re.search(r"^MemAvailable: +(\d+) kB", _read(system / "proc/meminfo"), re.MULTILINE)
    if free is None:
        yield Finding("note", "This system does not say how much memory is free.")
        return
    available = int(free[1]) * 1024
    limit = min(_limits(system), default=available)
    need = settings.workers * (_WORKER + settings.threads * (_MIB + 4 * settings.chunk_size))
    if min(available, limit) < need:
        where = "are available" if available <= limit else "are what the control group of this process may take"
        yield Finding(
            "warning",
            f"{words.size(min(available, limit))} of memory {where}, and with everything in use onekey takes about "
            f"{words.size(need)}: WORKERS * (228 MiB + THREADS * (1 MiB + 4 * CHUNK_SIZE)).",
            "Set THREADS or WORKERS lower.",
        )


def _limits(system: Path) -> Iterator[int]:
    """The limits of this process' control group and of those above it, in bytes: cgroup v2."""
    own = re.search(r"^0::/(.*)$", _read(system / "proc/self/cgroup"), re.MULTILINE)
    mounts = [line.split() for line in _read(system / "proc/mounts").splitlines()]
    for mount in (_unescaped(fields[1]) for fields in mounts if own and fields[2] == "cgroup2"):
        top = system / mount.lstrip("/")
        group = top / own[1] if own else top
        for folder in (group, *group.parents):
            if folder.is_relative_to(top) and (text := _read(folder / "memory.max").strip()).isdigit():
                yield int(text)


def swap(system: Path = SYSTEM) -> Found:
    """Swap that is neither in memory nor encrypted: memory holds keys, and swap writes them to a disk."""
    for line in _read(system / "proc/swaps").splitlines()[1:]:
        path = Path(_unescaped(line.split()[0]))
        if not _is_safe(_block(system, path)):
            yield Finding(
                "warning",
                f"Swap on {path} is not encrypted: memory holds keys while they are used, and may be written there.",
                "Encrypt it (dm-crypt with a random key, or zram), switch it off (swapoff), or keep onekey out of it "
                "(MemorySwapMax=0 in its systemd service).",
            )


def _block(system: Path, path: Path) -> Path | None:
    """What the system knows of the device that is or holds a swap area; None for one that cannot be seen."""
    known = system / "sys/class/block" / (path.resolve().name if path.is_symlink() else path.name)
    if path.is_relative_to("/dev"):
        return known
    try:
        device = path.stat().st_dev
    except OSError:
        return None
    return system / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"


def _is_safe(block: Path | None) -> bool:
    if block is None:
        return False
    below = list((block / "slaves").iterdir()) if (block / "slaves").is_dir() else []
    encrypted = _read(block / "dm/uuid").startswith("CRYPT-")
    return block.name.startswith("zram") or encrypted or (bool(below) and all(map(_is_safe, below)))


def _read(file: Path) -> str:
    """A file of the system's; empty where this system has none."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


CHECKS: Final[tuple[tuple[str, Callable[[Settings], Found], str], ...]] = (
    ("settings", configured, "The settings can be read and go together."),
    ("folder", folder, "CONTENT_DIR can be written, and only by its owner."),
    ("space", space, "There is room on the disk."),
    ("database", database, "The database is whole, and of this version."),
    ("clock", clock, "The clock agrees with the database."),
    ("memory", memory, "There is memory for all workers."),
)

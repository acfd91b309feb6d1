"""`onekey doctor`: every check, in a state that is wrong and in one that is not; real servers, a real nginx."""

import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from onekey.app import App
from onekey.doctor import examine
from onekey.doctor.findings import Finding
from onekey.doctor.front import Front, logs_of
from onekey.doctor.local import clock as clock_of
from onekey.doctor.local import configured, database, folder, memory, space, swap
from onekey.doctor.probe import invited
from onekey.records import Records
from onekey.settings import Settings
from onekey.web.checkup import FILE, MAX_AGE, PIECE
from tests.conftest import SKIP_IS_FAILURE, Clock, needs, needs_root
from tests.servers import ONEKEY, PATIENCE, ROOT, Server, can_connect, clean_environment, free_port, wait_for

NONCE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
DAY = 86_400
MIB = 1 << 20


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A CONTENT_DIR as it should be, empty."""
    (tmp_path / "content").mkdir(mode=0o700)
    return tmp_path / "content"


def settings(content: Path, **more: str) -> Settings:
    """Settings for a CONTENT_DIR."""
    return Settings.read({"CONTENT_DIR": str(content), "MIN_FREE_SPACE": "0", **more})


def levels(found: Iterator[Finding]) -> list[str]:
    """What a check finds, by level."""
    return [finding.level for finding in found]


def doctor(
    folder: Path, *arguments: str, command: Sequence[str] = (), **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run `onekey doctor` to its end."""
    return subprocess.run(
        [*command, *ONEKEY, "doctor", *arguments],
        env=clean_environment(PYTHONPATH=str(ROOT), MIN_FREE_SPACE="0", **environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def complaints(printed: str) -> list[dict[str, str]]:
    """What is to be mended, of what `--json` printed; swap and memory of this machine aside."""
    aside = {"swap", "memory", "space"}
    return [one for one in json.loads(printed) if one["level"] in {"warning", "problem"} and one["check"] not in aside]


# What it prints.


SECRETS = {"UPLOAD_SECRET": "sesame-1", "UPLOAD_SECRETS": "phone:sesame-2", "METRICS_TOKEN": "sesame-3"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """What it prints of a server that does not run, whose settings are a file, and whose folder others can read."""
    place = tmp_path_factory.mktemp("printed")
    (place / "content").mkdir()
    (place / "content").chmod(0o755)
    lines = {"CONTENT_DIR": "content", "PUBLIC_URL": "http://127.0.0.1:9", "BIND": f":{free_port()}", **SECRETS}
    (place / "settings").write_text("".join(f"{name}={text}\n" for name, text in lines.items()))
    return doctor(place, "--config", "settings", "--log", "nowhere")


def test_it_names_every_check_and_its_level(printed: "subprocess.CompletedProcess[str]") -> None:
    lines = [line.split()[:2] for line in printed.stdout.splitlines() if not line.startswith(" ")]
    names = {"settings", "folder", "space", "database", "clock", "memory", "server", "logs", "swap"}
    assert {name for name, _ in lines} == names
    assert {level for _, level in lines} <= {"ok", "note", "warning", "problem"}
    assert printed.stderr == ""


def test_what_to_do_stands_below_what_was_found(printed: "subprocess.CompletedProcess[str]") -> None:
    lines = printed.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if "rights 755" in line]
    assert lines[at].startswith("folder     problem  ")
    assert re.fullmatch(r" {20}-> chmod 700 /\S+/content", lines[at + 1])


def test_it_colours_nothing_that_is_not_a_terminal(printed: "subprocess.CompletedProcess[str]") -> None:
    assert "\x1b" not in printed.stdout


def test_a_problem_is_an_exit_status(printed: "subprocess.CompletedProcess[str]") -> None:
    assert printed.returncode == 1


def test_it_reads_a_file_of_settings(printed: "subprocess.CompletedProcess[str]") -> None:
    assert "http://127.0.0.1:9 does not answer" in printed.stdout


def test_it_never_prints_a_secret(printed: "subprocess.CompletedProcess[str]") -> None:
    assert "sesame" not in printed.stdout


def test_json_is_a_list_and_without_a_problem_the_exit_status_is_0(tmp_path: Path, content: Path) -> None:
    ran = doctor(tmp_path, "--json", CONTENT_DIR=str(content), BIND=f"127.0.0.1:{free_port()}")
    found = json.loads(ran.stdout)
    assert len(found) >= 8
    assert all(set(one) == {"check", "level", "what", "do"} for one in found)
    assert ran.returncode == 0


def test_a_bad_setting_is_a_finding_and_only_the_rest_is_looked_at(tmp_path: Path) -> None:
    ran = doctor(tmp_path, "--json", WORKERS="none")
    first, *rest = json.loads(ran.stdout)
    assert (ran.returncode, ran.stderr, first["check"], first["level"]) == (1, "", "settings", "problem")
    assert {one["check"] for one in rest} == {"swap"}


def test_a_file_of_settings_that_is_not_there_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEKEY_CONFIG", "nowhere")
    name, finding = next(examine())
    assert (name, finding.level, "'nowhere'" in finding.what) == ("settings", "problem", True)


# Settings.


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, []),
        ({"BIND": "0.0.0.0:80", "PUBLIC_URL": "https://files.example.org"}, ["Anyone"]),
        ({"PUBLIC_URL": "https://files.example.org"}, ["Anyone"]),
        ({"PUBLIC_URL": "https://files.example.org", "UPLOAD_SECRET": "sesame"}, []),
        ({"PUBLIC_URL": "https://files.example.org", "UPLOAD_SECRETS": "phone:sesame"}, []),
        ({"PUBLIC_URL": "http://files.example.org", "UPLOAD_SECRET": "sesame"}, ["PUBLIC_URL is http"]),
        ({"PUBLIC_URL": "http://localhost:8000"}, []),
        ({"PUBLIC_URL": "http://[::1]:8000", "BIND": "[::1]:8000,127.0.0.1:8000"}, []),
        ({"BIND": ":8000", "UPLOAD_SECRET": "sesame"}, ["BIND is open"]),
        ({"BIND": "127.0.0.1:8000,192.0.2.1:8000", "UPLOAD_SECRET": "sesame"}, ["BIND is open"]),
        (
            {"BIND": ":80", "UPLOAD_SECRET": "s", "PUBLIC_URL": "https://a.example", "PROXY_HOPS": "1"},
            ["PROXY_HOPS is"],
        ),
        ({"DEFAULT_EXPIRY": "never"}, []),
    ],
)
def test_settings(content: Path, more: dict[str, str], said: list[str]) -> None:
    found = list(configured(settings(content, **more)))
    assert len(found) == len(said)
    assert all(finding.what.startswith(words) for finding, words in zip(found, said, strict=True))


# CONTENT_DIR.


def machine(tmp_path: Path, **files: str) -> Path:
    """A system's own files, as they might be; names are paths with __ for each /."""
    for name, text in files.items():
        path = tmp_path / "system" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "system"


def local_disk(tmp_path: Path) -> Path:
    """A system with one disk."""
    return machine(tmp_path, proc__mounts="/dev/vda / ext4 rw 0 0\n")


def test_a_folder_as_it_should_be(tmp_path: Path, content: Path) -> None:
    assert list(folder(settings(content), local_disk(tmp_path))) == []


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert levels(folder(settings(tmp_path / "content"))) == ["note"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "content").touch()
    assert levels(folder(settings(tmp_path / "content"))) == ["problem"]


@pytest.mark.parametrize("rights", [0o755, 0o750, 0o701, 0o710, 0o720])
def test_a_folder_that_others_can_get_at(tmp_path: Path, content: Path, rights: int) -> None:
    content.chmod(rights)
    (found,) = folder(settings(content), local_disk(tmp_path))
    assert (found.level, found.do) == ("problem", f"chmod 700 {content}")


def test_what_to_run_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    odd = tmp_path / "it's here"
    odd.mkdir(mode=0o755)
    (found,) = folder(settings(odd), local_disk(tmp_path))
    subprocess.run(["sh", "-c", str(found.do)], check=True)
    assert odd.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else(tmp_path: Path, content: Path) -> None:
    needs_root("what belongs to another")
    os.chown(content, 12_345, -1)
    (found,) = folder(settings(content), local_disk(tmp_path))
    assert (found.level, "user 12345" in found.what) == ("note", True)


AS_NOBODY = """
import os, sys
from pathlib import Path
from onekey.doctor.local import CHECKS, folder
from onekey.settings import Settings
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for finding in folder(Settings.read({"CONTENT_DIR": sys.argv[1]})):
    print(finding.level, finding.what)
"""


def test_a_folder_of_somebody_else_cannot_be_used() -> None:
    needs_root("what others may not do")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        command = [sys.executable, "-c", AS_NOBODY, name]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"problem {name} cannot be written: Permission denied." in ran.stdout
    assert f"problem {name} belongs to root, and this is nobody" in ran.stdout


def test_a_full_disk(tmp_path: Path, content: Path) -> None:
    needs("unshare")
    mount = (
        'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" || exit 77; head -c 1m /dev/zero >"$1/all"; shift; exec "$@"'
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(content)]
    ran = doctor(tmp_path, "--json", command=command, CONTENT_DIR=str(content))
    if ran.returncode == 77 or "unshare:" in ran.stderr:
        assert not SKIP_IS_FAILURE, ran.stderr
        pytest.skip("not shown: this system lets nobody mount a small disk")
    found = {(one["check"], one["level"]): one["what"] for one in json.loads(ran.stdout)}
    assert "No space left on device" in found["folder", "problem"]
    assert "lies on tmpfs" in found["folder", "warning"]


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("/dev/vda / ext4 rw 0 0\n", []),
        ("overlay / overlay rw 0 0\n", ["warning"]),
        ("tmpfs / tmpfs rw 0 0\n", ["warning"]),
        ("overlay / overlay rw 0 0\n/dev/vdb {} xfs rw 0 0\n", []),
        ("/dev/vda / ext4 rw 0 0\nnas:/x {} nfs4 rw 0 0\n", ["warning"]),
        ("/dev/vda / ext4 rw 0 0\nnas:/x {}er nfs4 rw 0 0\n", []),
        ("/dev/vda / ext4 rw 0 0\nme@far:/ {} fuse.sshfs rw 0 0\n", ["warning"]),
        ("nas:/x {} nfs rw 0 0\n/dev/vdb {} ext4 rw 0 0\n", []),
        ("", []),
    ],
)
def test_what_a_folder_lies_on(tmp_path: Path, mounts: str, expected: list[str]) -> None:
    content = tmp_path / "with space"
    content.mkdir(mode=0o700)
    system = machine(tmp_path, proc__mounts=mounts.replace("{}", str(content).replace(" ", "\\040")))
    assert levels(folder(settings(content), system)) == expected


# Room.


def test_less_room_than_is_to_stay_free(content: Path) -> None:
    (found, *_) = space(settings(content, MIN_FREE_SPACE="900000 TiB"))
    assert (found.level, "MIN_FREE_SPACE (" in found.what) == ("problem", True)


def test_less_room_than_one_upload_may_take(content: Path) -> None:
    (found, *_) = space(settings(content, MAX_UPLOAD_SIZE="900000 TiB"))
    assert (found.level, "MAX_UPLOAD_SIZE (" in found.what) == ("note", True)


def test_enough_room(content: Path) -> None:
    assert list(space(settings(content, MAX_UPLOAD_SIZE="1"))) == []


def test_room_where_a_folder_will_be(tmp_path: Path) -> None:
    assert list(space(settings(tmp_path / "a" / "b", MAX_UPLOAD_SIZE="1"))) == []


def test_no_more_inodes(tmp_path: Path, content: Path) -> None:
    needs("unshare")
    mount = 'mount -t tmpfs -o nr_inodes=9,mode=700 tmpfs "$1" || exit 77; shift; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(content)]
    ran = doctor(tmp_path, "--json", command=command, CONTENT_DIR=str(content), MAX_UPLOAD_SIZE="1")
    if ran.returncode == 77 or "unshare:" in ran.stderr:
        assert not SKIP_IS_FAILURE, ran.stderr
        pytest.skip("not shown: this system lets nobody mount a small disk")
    (found,) = [one for one in json.loads(ran.stdout) if one["check"] == "space"]
    assert (found["level"], found["what"].startswith("8 more files can be made")) == ("warning", True)


# The database, and the clock.


@pytest.fixture
def records(content: Path) -> Iterator[Records]:
    """A database of this version."""
    found = Records.at(content / "onekey.db")
    found.migrate()
    yield found
    found.close()


def execute(content: Path, statement: str) -> None:
    """Change the database behind everybody's back."""
    with closing(sqlite3.connect(content / "onekey.db")) as db:
        db.execute(statement)
        db.commit()


def test_a_database_as_it_should_be(content: Path, records: Records) -> None:
    assert list(database(settings(content))) == []


def test_no_database_yet(content: Path) -> None:
    assert levels(database(settings(content))) == ["note"]
    assert list(content.iterdir()) == []


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_a_database_that_others_can_read(content: Path, records: Records, ending: str) -> None:
    records.tick(1)
    (content / f"onekey.db{ending}").chmod(0o644)
    (found,) = database(settings(content))
    assert (found.level, found.do) == ("problem", f"chmod 600 {content}/onekey.db{ending}")


def test_a_newer_schema(content: Path, records: Records) -> None:
    execute(content, "UPDATE alembic_version SET version_num = '9999'")
    (found,) = database(settings(content))
    assert (found.level, "9999" in found.what) == ("problem", True)


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '0001'", "DROP TABLE alembic_version"])
def test_an_older_schema_is_left_as_it_is(content: Path, records: Records, statement: str) -> None:
    execute(content, statement)
    records.close()
    before = (content / "onekey.db").read_bytes()
    assert levels(database(settings(content))) == ["note"]
    assert (content / "onekey.db").read_bytes() == before


def test_an_empty_file_is_a_database_without_a_schema(content: Path) -> None:
    (content / "onekey.db").touch(mode=0o600)
    assert levels(database(settings(content))) == ["note"]
    assert (content / "onekey.db").read_bytes() == b""


def test_a_file_that_is_no_database(content: Path) -> None:
    (content / "onekey.db").write_bytes(b"rubbish " * 1000)
    (content / "onekey.db").chmod(0o600)
    (found,) = database(settings(content))
    assert (found.level, "cannot be read" in found.what) == ("problem", True)


def test_a_damaged_database(content: Path, records: Records) -> None:
    execute(content, "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000)"
                     " SELECT i, hex(randomblob(50)) FROM n")  # fmt: skip
    execute(content, "PRAGMA wal_checkpoint(TRUNCATE)")
    records.close()
    with (content / "onekey.db").open("r+b") as file:
        file.seek(file.seek(0, os.SEEK_END) // 2)
        file.write(b"\xff" * 20_000)
    (found,) = database(settings(content))
    assert (found.level, "damaged" in found.what) == ("problem", True)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(0, []), (DAY - 60, []), (DAY + 60, ["warning"]), (-30, []), (-120, ["warning"]), (-30 * DAY, ["warning"])],
)
def test_the_clock_against_the_database(content: Path, records: Records, ahead: int, expected: list[str]) -> None:
    records.tick(round(time.time()) - ahead)
    assert levels(clock_of(settings(content))) == expected


def test_the_clock_without_a_database(content: Path) -> None:
    assert levels(clock_of(settings(content))) == ["note"]


def test_the_clock_leaves_a_damaged_database_to_its_own_check(content: Path) -> None:
    (content / "onekey.db").write_bytes(b"rubbish " * 1000)
    assert list(clock_of(settings(content))) == []


# Memory and swap.


def test_more_workers_than_there_is_memory_for(content: Path) -> None:
    (found,) = memory(settings(content, WORKERS="256", THREADS="1000", CHUNK_SIZE="4 MiB"))
    assert found.level == "warning"


def test_memory_for_one_worker(content: Path) -> None:
    assert list(memory(settings(content, WORKERS="1", THREADS="1", CHUNK_SIZE="4096"))) == []


MEMINFO = "MemTotal: 999 kB\nMemAvailable:   {} kB\n"
NEED = 2 * (228 + 64 * 2) * MIB
"""What the settings' defaults may need."""


@pytest.mark.parametrize(("available", "expected"), [(NEED // 1024, []), (NEED // 1024 - 1, ["warning"])])
def test_memory_that_just_does(tmp_path: Path, content: Path, available: int, expected: list[str]) -> None:
    system = machine(tmp_path, proc__meminfo=MEMINFO.format(available))
    assert levels(memory(settings(content), system)) == expected


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("/a/b", {"a/b": "max", "a": "max"}, []),
        ("/a/b", {"a/b": str(NEED - 1)}, ["warning"]),
        ("/a/b", {"a/b": "max", "a": "1000"}, ["warning"]),
        ("/a/b", {"a/b": str(NEED), "c": "1000"}, []),
        ("/", {"": "1000"}, ["warning"]),
        ("/a", {}, []),
    ],
)
def test_the_limit_of_a_control_group(
    tmp_path: Path, content: Path, group: str, limits: Mapping[str, str], expected: list[str]
) -> None:
    system = machine(
        tmp_path,
        proc__meminfo=MEMINFO.format(NEED),
        proc__self__cgroup=f"4:memory:/old\n0::{group}\n",
        proc__mounts="/dev/vda / ext4 rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
        **{f"sys__fs__cgroup__{name.replace('/', '__')}__memory.max": f"{text}\n" for name, text in limits.items()},
    )
    assert levels(memory(settings(content), system)) == expected


def test_a_system_that_does_not_tell(tmp_path: Path, content: Path) -> None:
    assert levels(memory(settings(content), tmp_path)) == ["note"]
    assert levels(swap(tmp_path)) == []


HEAD = "Filename\tType\tSize\tUsed\tPriority\n"


@pytest.mark.parametrize(
    ("device", "block", "expected"),
    [
        ("/dev/nosuch1", {}, ["warning"]),
        ("/dev/zram0", {}, []),
        ("/dev/dm-77", {"dm-77/dm/uuid": "CRYPT-PLAIN-swap\n"}, []),
        ("/dev/dm-77", {"dm-77/dm/uuid": "LVM-abc\n"}, ["warning"]),
        ("/dev/dm-77", {"dm-77/dm/uuid": "LVM-abc\n", "dm-77/slaves/dm-0/dm/uuid": "CRYPT-LUKS2-x\n"}, []),
        (
            "/dev/dm-77",
            {"dm-77/slaves/dm-0/dm/uuid": "CRYPT-LUKS2-x\n", "dm-77/slaves/sda1/size": "9\n"},
            ["warning"],
        ),
        ("/nowhere/swapfile", {}, ["warning"]),
    ],
)
def test_swap_on_a_device(tmp_path: Path, device: str, block: Mapping[str, str], expected: list[str]) -> None:
    known = {f"sys__class__block__{name.replace('/', '__')}": text for name, text in block.items()}
    system = machine(tmp_path, proc__swaps=f"{HEAD}{device} partition 1000 0 -2\n", **known)
    assert levels(swap(system)) == expected


@pytest.mark.parametrize(("uuid", "expected"), [("CRYPT-LUKS2-x", []), ("LVM-x", ["warning"])])
def test_swap_in_a_file_is_as_safe_as_its_disk(tmp_path: Path, uuid: str, expected: list[str]) -> None:
    file = tmp_path / "swap file"
    file.touch()
    device = file.stat().st_dev
    disk = f"sys__dev__block__{os.major(device)}:{os.minor(device)}__dm__uuid"
    spelled = str(file).replace(" ", "\\040")
    system = machine(tmp_path, proc__swaps=f"{HEAD}{spelled} file 1000 0 -2\n", **{disk: uuid})
    assert levels(swap(system)) == expected


# The server's half.


@pytest.fixture
def app_client(make_app: Callable[..., App], content: Path) -> FlaskClient:
    """A client of an application on `content`, under the clock that stands still."""
    return make_app(CONTENT_DIR=str(content)).test_client()


def invite(content: Path, clock: Clock, *, nonce: str = NONCE, age: float = 0) -> None:
    """Let the server answer to a nonce, from `age` seconds ago."""
    (content / FILE).write_text(sha256(nonce.encode()).hexdigest())
    os.utime(content / FILE, (clock.now - age, clock.now - age))


def told(client: FlaskClient, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """An answer that is an error: status, headers, body."""
    with closing(client.open(path, method=method)) as answer:
        return answer.status_code, dict(answer.headers), answer.data


def test_an_invited_nonce_gets_facts_and_then_as_much_again(
    app_client: FlaskClient, content: Path, clock: Clock
) -> None:
    invite(content, clock)
    with closing(app_client.get(f"/checkup/{NONCE}", headers={"X-Forwarded-For": "192.0.2.1, ::1"})) as answer:
        body = answer.data
    facts = {"forwarded": 2, "proto": False, "scheme": "http", "host": "localhost", "loopback": True, "proxy_hops": 0}
    assert (json.loads(body[:PIECE]), body[PIECE:]) == (facts, b" " * PIECE)


def test_the_slow_answer_has_the_headers_of_content(app_client: FlaskClient, content: Path, clock: Clock) -> None:
    invite(content, clock)
    with closing(app_client.get(f"/checkup/{NONCE}", buffered=False)) as answer:
        assert answer.headers["Content-Length"] == str(2 * PIECE)
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Cache-Control"] == "private, no-cache, no-transform"
        assert answer.headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize(("age", "status"), [(0, 200), (MAX_AGE - 1, 200), (MAX_AGE, 404), (-1, 404)])
def test_an_invitation_ends(app_client: FlaskClient, content: Path, clock: Clock, age: float, status: int) -> None:
    invite(content, clock, age=age)
    with closing(app_client.get(f"/checkup/{NONCE}", buffered=False)) as answer:
        assert answer.status_code == status


@pytest.mark.parametrize("nonce", [NONCE[:-1], NONCE + "A", NONCE[:-1] + ".", "é" * 32, NONCE[:-1] + "%0A", "%00" * 32])
def test_what_is_no_nonce_is_unknown_even_if_invited(
    app_client: FlaskClient, content: Path, clock: Clock, nonce: str
) -> None:
    invite(content, clock, nonce=nonce)
    assert told(app_client, f"/checkup/{nonce}")[0] == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("state", ["nothing", "another", "empty", "a folder"])
def test_uninvited_it_is_as_unknown_as_everything(
    app_client: FlaskClient, content: Path, clock: Clock, method: str, state: str
) -> None:
    if state == "another":
        invite(content, clock, nonce=NONCE.swapcase())
    elif state == "empty":
        (content / FILE).touch()
    elif state == "a folder":
        (content / FILE).mkdir()
    assert told(app_client, f"/checkup/{NONCE}", method) == told(app_client, f"/elsewhere/{NONCE}", method)


def test_an_invitation_is_for_its_owner_only_and_ends_with_the_block(content: Path) -> None:
    with suppress(KeyError), invited(content) as nonce:
        assert (content / FILE).stat().st_mode & 0o777 == 0o600
        assert (content / FILE).read_text() == sha256(nonce.encode()).hexdigest()
        raise KeyError
    assert list(content.iterdir()) == []


def test_an_invitation_follows_no_link(tmp_path: Path, content: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (content / FILE).symlink_to(tmp_path / "precious")
    with invited(content):
        assert (tmp_path / "precious").read_text() == "kept"


def test_an_invitation_by_root_can_be_read_by_who_serves(content: Path) -> None:
    needs_root("what belongs to another")
    os.chown(content, 12_345, 12_345)
    with invited(content):
        assert (content / FILE).stat().st_uid == 12_345


# In front of a server: nginx.

NGINX = """
daemon off; {user} pid {folder}/pid; error_log {folder}/error.log info; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/around.log; error_log {folder}/http.log info;
    client_body_temp_path {folder}/temp/body; proxy_temp_path {folder}/temp/proxy; uwsgi_temp_path {folder}/temp/uwsgi;
    fastcgi_temp_path {folder}/temp/fastcgi; scgi_temp_path {folder}/temp/scgi;
    {sites}
}}
"""
SITES = {
    "holding": "location / {{ proxy_pass {up[1]}; proxy_ignore_headers X-Accel-Buffering; }}",
    "holding much": "location / {{ proxy_pass {up[2]}; proxy_ignore_headers X-Accel-Buffering; proxy_buffers 8 1m;"
    " proxy_buffer_size 64k; proxy_busy_buffers_size 2m; }}",
    "logging": "access_log {folder}/access.log; access_log {folder}/careful.log careful;"
    " location / {{ proxy_pass {up[0]}; }}",
    "renaming": "location / {{ proxy_pass {up[0]}; proxy_set_header Host localhost; }}",
    "misnaming": "location / {{ proxy_pass {up[0]}; proxy_set_header Host files.example.org; }}",
    "redirecting": "return 301 https://files.example.org$request_uri;",
    "another": "return 404;",
    "a page for all": 'return 200 "Welcome!";',
    "closed": "return 403;",
    "in vain": "location / {{ proxy_pass http://127.0.0.1:{nobody}; }}",
    "dead": "return 444;",
    "telling": "location / {{ proxy_pass {up[0]}; proxy_set_header X-Forwarded-Proto $scheme; }}",
}
"""What nginx does, by name; {up} are servers with PROXY_HOPS 0, 1 and 2."""
HOPS = (0, 1, 2)
FORWARDED = ("", "192.0.2.1", "192.0.2.1, 192.0.2.2")


class Nginx:
    """nginx with some sites, among others that log."""

    def __init__(self, folder: Path, sites: str, ports: Sequence[int]) -> None:
        self.folder = folder
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "temp").mkdir(parents=True)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user, sites=sites))
        with (folder / "output").open("wb") as output:
            command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_for(partial(self._answers, ports))

    def _answers(self, ports: Sequence[int]) -> bool:
        assert self.process.poll() is None, (self.folder / "output").read_text()
        return all(map(can_connect, ports))

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


class Fronts:
    """Servers with PROXY_HOPS 0, 1 and 2, and nginx in front of them in every way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = [Server(folder / f"server-{hops}", PROXY_HOPS=str(hops)) for hops in HOPS]
        self.ports: dict[str, int] = {}
        nobody, up = free_port(), [server.url for server in self.servers]
        sites = ["access_log off; proxy_http_version 1.1; proxy_set_header Host $host;"]
        sites.append('log_format careful "$status $http_referer";')
        for name, site in SITES.items():
            sites.append(self._site(name, site.format(up=up, folder=folder, nobody=nobody)))
        for hops, server in zip(HOPS, self.servers, strict=True):
            for came, value in enumerate(FORWARDED):
                site = f'location / {{ proxy_pass {server.url}; proxy_set_header X-Forwarded-For "{value}"; }}'
                sites.append(self._site(f"{came} for {hops}", site))
        self.nginx = Nginx(folder, "\n".join(sites), list(self.ports.values()))

    def _site(self, name: str, site: str) -> str:
        port = free_port()
        while port in self.ports.values():
            port = free_port()
        self.ports[name] = port
        return f"server {{ listen 127.0.0.1:{port}; {site} }}"

    def url(self, name: str) -> str:
        """Where a site is."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def found(self, name: str, hops: int = 0) -> dict[str, list[Finding]]:
        """What is found through a site, by check."""
        server = self.servers[hops]
        more = {"BIND": f"127.0.0.1:{server.port}", "PROXY_HOPS": str(hops), "PUBLIC_URL": self.url(name)}
        front = Front(settings(server.content, **more))
        reached = list(front.reached())
        return {"server": reached, **{check: list(found) for check, found, _ in front.checks()}}

    def stop(self) -> None:
        """End all of them."""
        self.nginx.stop()
        for server in self.servers:
            server.stop()


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronts]:
    """All of them, running."""
    needs("nginx")
    found = Fronts(tmp_path_factory.mktemp("fronts"))
    yield found
    found.stop()


DOCUMENTED = (ROOT / "docs" / "nginx.conf").read_text()
DOCUMENTED_HOPS = str(DOCUMENTED.count(" X-Forwarded-For "))


def documented_site(certificate: tuple[Path, Path], https: int, upstream: int) -> str:
    """docs/nginx.conf, in which only ports, addresses and paths are others."""
    site = DOCUMENTED
    for there, here in (
        (r"(?m)^( *)listen 443 ", rf"\1listen 127.0.0.1:{https} "),
        (r"(?m)^( *)listen 80 ", rf"\1listen 127.0.0.1:{free_port()} "),
        (r"http://127\.0\.0\.1:8000;", f"http://127.0.0.1:{upstream};"),
        (r"/etc/letsencrypt/\S+/fullchain\.pem", str(certificate[0])),
        (r"/etc/letsencrypt/\S+/privkey\.pem", str(certificate[1])),
    ):
        site, count = re.subn(there, here, site)
        assert count == 1, there
    return site


@pytest.fixture(scope="module")
def behind(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[tuple[Nginx, Server, str]]:
    """A server behind nginx with docs/nginx.conf, and its address there."""
    needs("nginx")
    folder, port = tmp_path_factory.mktemp("documented"), free_port()
    url = f"https://127.0.0.1:{port}"
    with Server(folder / "onekey", PUBLIC_URL=url, PROXY_HOPS=DOCUMENTED_HOPS, UPLOAD_SECRET="sesame") as server:
        nginx = Nginx(folder / "nginx", documented_site(certificate, port, server.port), [port])
        yield nginx, server, url
        nginx.stop()


def through(behind: tuple[Nginx, Server, str], *arguments: str, certificate: str) -> "subprocess.CompletedProcess[str]":
    """Ask that server, in an environment that names proxies."""
    nginx, server, url = behind
    own = {"CONTENT_DIR": str(server.content), "BIND": f"127.0.0.1:{server.port}", "PROXY_HOPS": DOCUMENTED_HOPS}
    more = {"SSL_CERT_FILE": certificate, "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    return doctor(nginx.folder, "--json", *arguments, PUBLIC_URL=url, UPLOAD_SECRET="sesame", **own, **more)


def test_behind_the_documented_nginx_there_is_no_complaint(
    behind: tuple[Nginx, Server, str], certificate: tuple[Path, Path]
) -> None:
    logs = [f"--log={behind[0].folder / name}.log" for name in ("around", "error", "http")]
    ran = through(behind, *logs, certificate=str(certificate[0]))
    assert complaints(ran.stdout) == []
    assert {"server", "buffering", "clients", "host", "logs"} <= {one["check"] for one in json.loads(ran.stdout)}
    assert [file for file in behind[1].content.iterdir() if file.name.startswith((FILE, "doctor"))] == []


def test_a_certificate_that_nobody_believes(behind: tuple[Nginx, Server, str]) -> None:
    (found, *_) = complaints(through(behind, certificate=os.devnull).stdout)
    assert (found["check"], "certificate" in found["what"]) == ("server", True)


Asked = Mapping[str, dict[str, list[Finding]]]


@pytest.fixture(scope="module")
def asked(fronts: Fronts) -> Asked:
    """What is found through sites, by their names; all servers are asked at once, each one question at a time."""
    named = {0: ["renaming", "telling"], 1: ["holding"], 2: ["holding much"]}

    def ask(hops: int) -> dict[str, dict[str, list[Finding]]]:
        names = [*named[hops], *(f"{came} for {hops}" for came in range(len(FORWARDED)))]
        return {name: fronts.found(name, hops) for name in names}

    with ThreadPoolExecutor(len(HOPS)) as threads:
        return {name: found for part in threads.map(ask, HOPS) for name, found in part.items()}


@pytest.mark.parametrize("site", ["holding", "holding much"])
def test_a_proxy_that_holds_answers_back(asked: Asked, site: str) -> None:
    (found,) = asked[site]["buffering"]
    assert (found.level, "proxy_buffering off" in str(found.do)) == ("problem", True)


def test_a_proxy_that_holds_nothing_back(asked: Asked) -> None:
    assert asked["0 for 0"]["buffering"] == []


@pytest.mark.parametrize("count", HOPS)
def test_as_many_hops_as_are_set(asked: Asked, count: int) -> None:
    assert asked[f"{count} for {count}"]["clients"] == []


@pytest.mark.parametrize(("came", "count"), [(1, 0), (2, 0), (2, 1)])
def test_more_hops_than_are_set(asked: Asked, came: int, count: int) -> None:
    (found,) = asked[f"{came} for {count}"]["clients"]
    assert (found.level, found.do) == ("warning", f"Set PROXY_HOPS={came}.")


@pytest.mark.parametrize(("came", "count"), [(0, 1), (0, 2), (1, 2)])
def test_fewer_hops_than_are_set(asked: Asked, came: int, count: int) -> None:
    (found,) = asked[f"{came} for {count}"]["clients"]
    assert (found.level, "clients can choose theirs" in found.what) == ("problem", True)
    assert str(found.do).startswith(f"Set PROXY_HOPS={came}, ")


def test_a_proxy_that_does_not_say_for_whom_it_asks(asked: Asked) -> None:
    (found,) = asked["telling"]["clients"]
    assert (found.level, "PROXY_HOPS=1" in str(found.do)) == ("note", True)


def test_a_proxy_that_asks_by_another_name(asked: Asked) -> None:
    (found,) = asked["renaming"]["host"]
    assert (found.level, "'localhost'" in found.what) == ("note", True)


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("misnaming", "refuses the host name"),
        ("redirecting", "sends its visitors elsewhere (301)"),
        ("another", "is another server"),
        ("a page for all", "is another server"),
        ("closed", "answers with 403"),
        ("in vain", "is a proxy that does not reach onekey"),
        ("dead", "does not answer: "),
    ],
)
def test_who_is_not_reached(fronts: Fronts, site: str, said: str) -> None:
    everything = fronts.found(site)
    assert set(everything) == {"server"}
    (found,) = everything["server"]
    assert (found.level, said in found.what) == ("problem", True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}", "https://127.0.0.1:{}", "http://files.invalid"])
def test_nobody_is_there(content: Path, url: str) -> None:
    front = Front(settings(content, PUBLIC_URL=url.format(free_port()), BIND=f"127.0.0.1:{free_port()}"))
    assert levels(front.reached()) == ["note", "problem"]
    assert list(front.checks()) == []


def test_a_server_with_another_content_dir(fronts: Fronts, content: Path) -> None:
    front = Front(settings(content, PUBLIC_URL=fronts.servers[0].url))
    assert "another CONTENT_DIR" in next(one for one in front.reached() if one.level == "problem").what


def test_a_server_that_runs_with_other_settings(fronts: Fronts) -> None:
    server = fronts.servers[0]
    front = Front(settings(server.content, PUBLIC_URL=server.url, PROXY_HOPS="1"))
    list(front.reached())
    (found,) = next(found for name, found, _ in front.checks() if name == "clients")
    assert (found.level, "PROXY_HOPS=0" in found.what) == ("note", True)


def test_without_a_public_url_the_server_itself_is_asked(fronts: Fronts) -> None:
    server = fronts.servers[1]
    front = Front(settings(server.content, BIND=f"127.0.0.1:{server.port}", PROXY_HOPS="1"))
    assert levels(front.reached()) == ["note", "ok"]
    assert [name for name, _, _ in front.checks()] == ["clock"]


def test_before_the_first_start_nobody_is_asked(tmp_path: Path) -> None:
    front = Front(settings(tmp_path / "content", PUBLIC_URL="http://files.invalid", BIND=f"127.0.0.1:{free_port()}"))
    assert levels(front.reached()) == ["note", "note"]


# A server in front that says something odd.


class Odd(BaseHTTPRequestHandler):
    """Answers with what its server holds."""

    def do_GET(self) -> None:
        """As web.checkup would, at once."""
        self.send_response_only(200)
        self.send_header("Date", self.server.date)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(2 * PIECE))
        self.end_headers()
        self.wfile.write(json.dumps(self.server.facts).encode().ljust(2 * PIECE))  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def odd(date: str, facts: Any, kind: type[Odd] = Odd) -> Iterator[str]:
    """The address of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.date, server.facts = date, facts  # type: ignore[attr-defined]
        thread = threading.Thread(target=partial(server.serve_forever, 0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("ahead", "expected"), [(0, []), (-30, []), (3600, ["warning"]), (-3600, ["warning"])])
def test_the_clock_of_the_server_in_front(content: Path, ahead: int, expected: list[str]) -> None:
    with odd(formatdate(time.time() + ahead, usegmt=True), {"proxy_hops": 0}) as url:
        front = Front(settings(content, PUBLIC_URL=url))
        list(front.reached())
        assert levels(next(found for name, found, _ in front.checks() if name == "clock")) == expected


@pytest.mark.parametrize("facts", [[], {}, "text", None, {"proxy_hops": "\x1b[31m", "forwarded": [], "host": 7}])
def test_odd_facts_break_nothing(content: Path, monkeypatch: pytest.MonkeyPatch, facts: Any) -> None:
    with odd("never", facts) as url:
        monkeypatch.setenv("PUBLIC_URL", url)
        monkeypatch.setenv("CONTENT_DIR", str(content))
        assert "swap" in dict(examine())


# Logs.


def test_a_log_that_holds_links(fronts: Fronts) -> None:
    log = fronts.folder / "access.log"
    (found,) = logs_of(fronts.url("logging"), [log])
    assert (found.level, str(log) in found.what, "access_log off" in str(found.do)) == ("problem", True, True)


def test_a_log_that_was_begun_anew_is_read_from_its_beginning(fronts: Fronts) -> None:
    log = fronts.folder / "access.log"
    log.write_bytes(b"an old line\n" * 100_000)
    asked = logs_of(fronts.url("logging"), [log])
    with ThreadPoolExecutor(1) as threads:
        threads.submit(wait_for, lambda: log.stat().st_size > 1_200_000).add_done_callback(lambda _: shorten(log))
        (found,) = asked
    assert found.level == "problem"


def shorten(log: Path) -> None:
    """Leave only the end of a log."""
    log.write_bytes(log.read_bytes()[1_200_000:])


def test_a_log_of_errors_that_holds_links(fronts: Fronts) -> None:
    assert levels(logs_of(fronts.url("in vain"), [fronts.folder / "http.log"])) == ["problem"]


def test_only_the_logs_that_hold_links_are_named(fronts: Fronts) -> None:
    logs = [fronts.folder / "careful.log", fronts.servers[0].log_file, fronts.folder / "access.log"]
    assert levels(logs_of(fronts.url("logging"), logs)) == ["ok", "ok", "problem"]
    assert logs[0].read_bytes().endswith(b"404 -\n")


@pytest.mark.parametrize("name", ["nowhere.log", "."])
def test_a_log_that_cannot_be_read(fronts: Fronts, tmp_path: Path, name: str) -> None:
    assert levels(logs_of(fronts.url("telling"), [tmp_path / name])) == ["warning"]


def test_no_log_is_looked_at_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert levels(logs_of(None, [tmp_path / "log"])) == ["warning"]
    assert levels(logs_of(f"http://127.0.0.1:{free_port()}", [tmp_path / "log"])) == ["warning"]


def test_what_is_asked_for_looks_like_a_link(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()

    class Ears(Odd):
        def do_GET(self) -> None:
            with log.open("a") as file:
                file.write(f"{self.path}\n")
            super().do_GET()

    with odd("", {}, Ears) as url:
        list(logs_of(url, [log]))
    first, second = log.read_text().splitlines()
    assert re.fullmatch(r"/[A-Za-z0-9_-]{32}", first)
    assert second == f"{first}.png?lease={first[1:]}"


def test_it_is_never_slow_for_who_was_not_invited(fronts: Fronts) -> None:
    server = fronts.servers[0]
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request("GET", f"/checkup/{NONCE}")
        assert connection.getresponse().status == 404

"""docs/http.md is run: each of its curl lines, in its order, answers as it says, and no request is left out."""

import hashlib
import json
import os
import random
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from onekey.app import create_app
from onekey.settings import Settings
from tests import sealed_client as own
from tests.conftest import needs
from tests.servers import ROOT, Server

DOCUMENT = ROOT / "docs" / "http.md"
STATUS = re.compile(r"# (\d{3})$")
WRITTEN = r'write-out = "%{stderr}@answer %{http_code} %{method} %{url}\n"' + "\nsilent\n"
"""What curl is set up to say of each of its runs."""
SECRET, PASSWORD = "open sesame", "correct horse"
NOT_TOLD = {"static", "checkup.look", "api.unknown", "direct.nothing"}
"""Routes that no client asks for: files of the pages, what `onekey doctor` looks for, and answers of 404."""


PLACES = {"token": "[A-Za-z0-9_-]{32}", "link": r"[A-Za-z0-9_-]{32}(\.\w+)?", "number": r"\d+", "id": "[0-9a-f]{32}"}
"""What the named places of a path hold; others hold anything."""


@dataclass(frozen=True)
class Line:
    """A line of the document's script, and the statuses that it was answered with."""

    text: str
    answers: list[tuple[int, str, str]]


def lines() -> list[str]:
    """The document's script."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", DOCUMENT.read_text())
    return [line for block in blocks for line in block.splitlines()]


def asked() -> list[str]:
    """Those of its lines that ask a server."""
    return [line for line in lines() if "curl " in line]


def seal(folder: Path, file: Path, name: str) -> dict[str, str]:
    """What the lines of the sealed door take: a container with a password, cut, its bodies, and what a client shows."""
    seed, owner = own.new_seed(), bytes(range(24))
    password = PASSWORD.encode()
    head = own.new_head(password, chunk_log=12, iterations=1, memory=13)
    keys = own.Keys.derive(seed, head, password)
    header = head + keys.commitment
    sealing = own.Sealing(file, header, keys, part_chunks=1)
    parts = []
    for number in range(sealing.parts):
        data = b"".join(sealing.sealed(number, sealing.mark(number)))
        (folder / f"part-{number}").write_bytes(data)
        parts.append({"number": number, "size": len(data), "sha256": own.spell(hashlib.sha256(data).digest())})
    shown = {"knock": own.knock(seed), "access": keys.access, "owner": owner}
    hashes = {f"{what}_hash": own.spell(hashlib.sha256(proof).digest()) for what, proof in shown.items()}
    begin = {"id": own.blob_id(seed), "header": own.spell(header), "part_chunks": 1, "opens": 2, **hashes}
    (folder / f"{name}.json").write_text(json.dumps(begin))
    (folder / "finish.json").write_text(json.dumps({"parts": parts}))
    spelt = {what.upper(): own.spell(proof) for what, proof in shown.items()}
    return {"ID": own.blob_id(seed), "MARK": own.spell(sealing.mark(sealing.parts - 1)), **spelt}


def store_sealed_only(server: Server) -> str:
    """Store a share that is sealed only; its token."""
    vectors = json.loads((ROOT / "tests" / "vectors" / "vectors.json").read_text())
    vector = next(one for one in vectors if one["file"] == "sealed-only.1key")
    container = (ROOT / "tests" / "vectors" / vector["file"]).read_bytes()
    door = own.Server(server.url, secret=SECRET)
    own.store_container(door, own.unspell(vector["token"]), bytes(24), container, None, 59)
    token: str = vector["token"]
    return token


@dataclass(frozen=True)
class Run:
    """The document's script, run against a server."""

    folder: Path
    variables: dict[str, str]
    lines: list[Line]
    openapi: dict[str, Any]

    @property
    def requests(self) -> set[tuple[str, str]]:
        """Method and path of all that was asked."""
        server = self.variables["SERVER"]
        found = [(method, url) for line in self.lines for _, method, url in line.answers]
        return {(method, url.removeprefix(server).partition("?")[0]) for method, url in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the script as one bash process, as a reader would."""
    needs("curl")
    folder = tmp_path_factory.mktemp("docs")
    (folder / ".curlrc").write_text(WRITTEN)
    (folder / "cat.png").write_bytes(random.Random(1).randbytes(5000))
    (folder / "notes.txt").write_text("hello\n")
    other = seal(folder, folder / "notes.txt", "other")["ID"]
    variables = {**seal(folder, folder / "cat.png", "begin"), "OTHER": other, "SECRET": SECRET, "PASSWORD": PASSWORD}
    numbered = [f"echo '@line {number}' >&2; {line}" for number, line in enumerate(lines())]
    with Server(folder / "server", UPLOAD_SECRET=SECRET) as server:
        variables |= {"SERVER": server.url, "SEALED_ONLY": store_sealed_only(server)}
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
        done = subprocess.run(
            ["bash", "-eu", "-c", "\n".join(numbered)],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        openapi = requests.get(f"{server.url}/api/v1/openapi.json", timeout=60).json()
    said = re.split(r"(?m)^@line \d+\n", done.stderr.decode())[1:]
    assert (done.returncode, len(said)) == (0, len(numbered)), said
    answers = [re.findall(r"(?m)^@answer (\d+) (\S+) (\S+)$", one) for one in said]
    found = [[(int(status), method, url) for status, method, url in one] for one in answers]
    return Run(folder, variables, [Line(*pair) for pair in zip(lines(), found, strict=True)], openapi)


@pytest.mark.parametrize("text", asked())
def test_a_curl_line_is_answered_as_the_document_says(run: Run, text: str) -> None:
    expected = STATUS.search(text)
    assert expected, "the line does not say what it is answered with"
    found = [status for line in run.lines if line.text == text for status, _, _ in line.answers]
    assert found == [int(expected[1])]


def test_the_container_comes_back_as_it_was_sent(run: Run) -> None:
    sent = b"".join((run.folder / name).read_bytes() for name in ("part-0", "part-1"))
    assert (run.folder / "container").read_bytes() == sent


def test_the_file_comes_back_as_it_was_sent(run: Run) -> None:
    assert (run.folder / "cat-again.png").read_bytes() == (run.folder / "cat.png").read_bytes()


def test_every_request_of_the_openapi_document_was_asked(run: Run) -> None:
    told = {(method.upper(), path) for path, methods in run.openapi["paths"].items() for method in methods}
    assert {one for one in told if not was_asked(run, *one)} == set()


def test_every_request_of_the_tables_was_asked(run: Run) -> None:
    assert [one for one in tables() if not was_asked(run, *one)] == []


def test_every_route_of_the_server_was_asked(run: Run, tmp_path: Path) -> None:
    settings = Settings.read({"CONTENT_DIR": str(tmp_path), "MIN_FREE_SPACE": "0"})
    rules = [rule for rule in create_app(settings).url_map.iter_rules() if rule.endpoint not in NOT_TOLD]
    routes = [(method, rule.rule) for rule in rules for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    assert [one for one in routes if not was_asked(run, *one)] == []


def was_asked(run: Run, method: str, pattern: str) -> bool:
    """Whether the script asked for a path of this pattern, where <name> and {name} stand for a part of one."""
    pieces = re.split(r"[<{](?:\w+:)?([^>}]*)[>}]", pattern)
    spelt = [PLACES.get(piece, "[^/]+") if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)]
    path = re.compile("".join(spelt))
    return any(method == one and path.fullmatch(asked_for) for one, asked_for in run.requests)


def tables() -> list[tuple[str, str]]:
    """Method and path of every request that a table of the document begins a row with."""
    found, path, base = list[tuple[str, str]](), "", ""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("# "):
            base = "/api/v1" if line == "# The sealed door" else ""
        cell = line.split("|")[1] if line.startswith("| ") else ""
        methods, waiting = ["GET"], False  # a method without a path waits for the next one, or means the row before
        for method, named in re.findall(r"`([A-Z]{3,6})?(?: ?(/[^`]*))?`", cell):
            if method:
                methods = [*methods, method] if waiting else [method]
            waiting, path = not named, named or path
            found += [(one, base + path) for one in methods if named]
        found += [(one, base + path) for one in methods if waiting]
    return found


def test_the_tables_are_read() -> None:
    found = tables()
    wanted = {("GET", "/<token>"), ("HEAD", "/<token>"), ("PUT", "/"), ("POST", "/manage/<id>/<owner token>")}
    wanted |= {("GET", "/<token>.zip"), ("PUT", "/api/v1/uploads/<id>/parts/<number>")}
    assert (wanted - set(found), len(found) > 25) == (set(), True)

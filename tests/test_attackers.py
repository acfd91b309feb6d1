"""Attackers, as plain as they come: what docs/security.md says that each can and cannot do, tried at real servers.

An attacker uses what it stole, the standard library, `cryptography` and HTTP: nothing of onekey. Shares are sealed, and
opened by who may, with the package's own code.
"""

import base64
import hashlib
import http.client
import itertools
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from onekey import links
from onekey.app import App
from onekey.container import BytesSource, Opener, Sealer
from onekey.errors import ContainerError
from onekey.index import File
from tests.sealing import API, Answer, Container, Door, HttpDoor, bearer, seal, spell, store
from tests.servers import ONEKEY, PATIENCE, Server, clean_environment
from tests.test_crash import kill

WEAK = ("123456", "password", "qwerty", "letmein", "dragon", "monkey", "swordfish", "sunshine", "princess", "hunter2")
RIGHT = "hunter2"
CONTENT = bytes(range(256)) * 200
A_MINUTE, AN_HOUR = 10, 100


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one process, so that what it counted is told at once."""
    with Server(tmp_path_factory.mktemp("house"), WORKERS="1") as running:
        yield running


@pytest.fixture
def door(house: Server) -> HttpDoor:
    """Its door."""
    return HttpDoor(house.url)


# What an attacker has: HKDF, Argon2id, AES-GCM, and whatever was stolen.


def kdf(ikm: bytes, salt: bytes, label: str, size: int = 32) -> bytes:
    """format.md, section 1."""
    return HKDF(SHA256(), size, salt, b"onekey v1 " + label.encode()).derive(ikm)


def stretched(stem: bytes, password: str) -> bytes:
    """Argon2id of a password, at the price that the header's first 64 bytes name."""
    argon = Argon2id(salt=stem[16:32], length=32, iterations=stem[9], lanes=stem[11], memory_cost=1 << stem[10])
    return argon.derive(password.encode())


@dataclass(frozen=True)
class Loot:
    """What the database knows of one share, and its parts, laid end to end."""

    id: str
    header: bytes
    hashes: Mapping[str, bytes]
    part_chunks: int
    container: bytes = field(repr=False)

    @property
    def stem(self) -> bytes:
        """The header's first 64 bytes."""
        return self.header[:64]

    def opens(self, ikm: bytes) -> bool:
        """Whether the first chunk can be decrypted."""
        chunk = self.container[96 : 96 + (1 << self.stem[6]) + 28]
        try:
            AESGCM(kdf(ikm, self.stem, "content")).decrypt(chunk[:12], chunk[12:], bytes(9))
        except InvalidTag:
            return False
        return True

    def matches(self, seed: bytes, stretch: bytes = b"") -> set[str]:
        """By how many of the things that were stolen a guess could be told to be right."""
        ikm, kept = seed + stretch, self.hashes
        found = {
            "id": kdf(seed, b"", "id", 16).hex() == self.id,
            "knock": hashlib.sha256(kdf(seed, b"", "knock", 16)).digest() == kept["knock_hash"],
            "access": hashlib.sha256(kdf(ikm, self.stem, "access")).digest() == kept["access_hash"],
            "commitment": kdf(ikm, self.stem, "commit") == self.header[64:],
            "content": self.opens(ikm),
        }
        return {name for name, does in found.items() if does}


def rows(content: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database answers to a query."""
    with closing(sqlite3.connect(content / "onekey.db")) as database:
        return database.execute(query, values).fetchall()


def change(content: Path, query: str, values: Mapping[str, object]) -> None:
    """Change the database, behind the server's back."""
    with closing(sqlite3.connect(content / "onekey.db", timeout=PATIENCE)) as database, database:
        database.execute(query, values)


def steal(content: Path, share: str) -> Loot:
    """All that there is of a share."""
    hashes = ("knock_hash", "access_hash", "owner_hash")
    fields = f"header, part_chunks, {', '.join(hashes)}"
    ((header, part_chunks, *kept),) = rows(content, f"SELECT {fields} FROM shares WHERE id = ?", share)
    names = rows(content, "SELECT name FROM parts WHERE share = ? ORDER BY number", share)
    container = b"".join((content / "blobs" / share / name).read_bytes() for (name,) in names)
    return Loot(share, header, dict(zip(hashes, kept, strict=True)), part_chunks, container)


def everything(content: Path) -> bytes:
    """Every byte in CONTENT_DIR."""
    return b"".join(path.read_bytes() for path in content.rglob("*") if path.is_file())


def state_of(content: Path, share: str) -> object:
    """All that is known and stored of a share; whatever was done to it, there is nothing else it could have changed."""
    tables = {"shares": "id", "parts": "share", "leases": "share", "guesses": "share"}
    kept = {table: rows(content, f"SELECT * FROM {table} WHERE {key} = ?", share) for table, key in tables.items()}
    folder = content / "blobs" / share
    return kept, {path.name: path.read_bytes() for path in folder.iterdir()}


# The routes: what can be asked with a blob id and something that might be a proof.


@dataclass(frozen=True)
class Ask:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def everywhere(share: str, shown: str) -> Iterator[Ask]:
    """A request for every route of both doors that names a share, with `shown` wherever a proof may stand."""
    proofs = dict.fromkeys(("X-Onekey-Knock", "X-Onekey-Lease", "X-Onekey-Secret"), shown)
    headers = {"Authorization": f"Bearer {shown}", **proofs}
    upload, own = f"{API}/uploads/{share}", f"{API}/shares/{share}"
    for path in (upload, own, f"{own}/index", f"{own}/content", f"{own}/owner"):
        yield Ask("GET", path, headers)
        yield Ask("HEAD", path, headers)
    yield Ask("GET", f"{own}/content", {**headers, "Range": "bytes=0-99"})
    yield Ask("PUT", f"{upload}/parts/0", headers, b"another part")
    yield Ask("POST", f"{upload}/finish", headers, b'{"parts": []}')
    yield Ask("DELETE", upload, headers)
    yield Ask("POST", f"{own}/open", headers)
    yield Ask("PATCH", f"{own}/owner", {**headers, "Content-Type": "application/json"}, b'{"opens": 1}')
    yield Ask("DELETE", f"{own}/owner", headers)
    yield Ask("GET", f"{API}/metrics", headers)
    basic = {"Authorization": "Basic " + base64.b64encode(f"{share}:{shown}".encode()).decode()}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for token in filter(None, dict.fromkeys((share, shown))):
        for path in (token, f"{token}.png", f"{token}.zip", f"{token}/1/", f"{token}/1/a.txt", f"{token}/further/on"):
            yield Ask("GET", f"/{path}?lease={shown}", basic)
            yield Ask("HEAD", f"/{path}", basic)
        for path in (token, f"{token}/1/", f"{token}/1/a.txt"):
            yield Ask("POST", f"/{path}", basic, b"")
        yield Ask("GET", f"/checkup/{token}")
        yield Ask("GET", f"/static/{token}")
    for path in (f"/manage/{share}/{shown}", f"/manage/{share}/{shown}/delete"):
        yield Ask("GET", path)
        yield Ask("POST", path, form, b"opens=1")
    yield Ask("GET", "/metrics", headers)


class Line:
    """A connection to a server, made again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(self, ask: Ask) -> Answer:
        """The answer to a request. Raises http.client.HTTPException and OSError where none comes, or not all of it."""
        try:
            self._connection.request(ask.method, ask.path, ask.body, dict(ask.headers))
            got = self._connection.getresponse()
            return Answer(got.status, Headers(got.getheaders()), got.read())
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture
def line(house: Server) -> Iterator[Line]:
    """A connection to the house."""
    with closing(Line(house.port)) as made:
        yield made


Told = list[tuple[object, ...]]
PASSING = {"Date", "X-Onekey-Request"}


def told(line: Line, share: str, shown: str) -> Told:
    """What every route answers; the id and the proof are left out of it, since they may be repeated."""
    found: Told = []
    for ask in everywhere(share, shown):
        answer = line.ask(ask)
        head = sorted((name, text) for name, text in answer.headers.items() if name not in PASSING)
        path, body = ask.path.replace(share, "ID"), answer.body.replace(share.encode(), b"ID")
        if shown:
            path, body = path.replace(shown, "PROOF"), body.replace(shown.encode(), b"PROOF")
        found.append((ask.method, path, answer.status, head, body))
    return found


def told_of_nothing(line: Line, shown: str) -> Told:
    """The same for an id that never was."""
    return told(line, os.urandom(16).hex(), shown)


def like(stolen: bytes) -> bytes:
    """Random bytes in place of what was stolen; what divides an address, or numbers a file, is where it was."""
    dividers = b"/#?%.\\\0" + b"0123456789"
    if stolen.startswith(b"#"):  # an address that is said back with the # put in: only the same has the same answer
        return stolen
    drawn = iter(byte for byte in iter(lambda: os.urandom(1)[0], None) if byte not in dividers)
    return bytes(byte if byte in dividers else next(drawn) for byte in stolen)


def test_the_attacker_knows_every_route_that_names_a_share(make_app: Callable[..., App]) -> None:
    rules, asked = make_app().url_map, set[str]()
    site = rules.bind("127.0.0.1")
    for ask in everywhere("0" * 32, "A" * 32):
        try:
            asked.add(site.match(ask.path.partition("?")[0], ask.method, return_rule=True)[0].rule)
        except HTTPException:  # a route that is not there
            continue
    takes_uploads = {"/<anytext:name>"}
    assert {rule.rule for rule in rules.iter_rules() if rule.arguments} == asked | takes_uploads


# Disk, database and link: a weak password is found, and nobody is asked.


def test_with_disk_database_and_link_a_weak_password_is_found_offline_by_the_commitment_in_part_0(
    house: Server, door: HttpDoor
) -> None:
    made = store(door, seal(CONTENT, password=RIGHT))
    loot, before = steal(house.content, made.id), state_of(house.content, made.id)
    seed = base64.urlsafe_b64decode(made.token)
    header = loot.container[:96]
    found = [word for word in WEAK if kdf(seed + stretched(header, word), header[:64], "commit") == header[64:]]
    assert (found, before) == ([RIGHT], state_of(house.content, made.id))


@pytest.mark.parametrize("by", ["access", "commitment", "content"])
def test_any_of_three_things_in_the_loot_tells_a_right_guess_from_a_wrong_one(
    house: Server, door: HttpDoor, by: str
) -> None:
    made = store(door, seal(CONTENT, password=RIGHT))
    loot = steal(house.content, made.id)
    assert [word for word in WEAK if by in loot.matches(made.seed, stretched(loot.stem, word))] == [RIGHT]


def test_without_the_password_the_link_and_the_loot_open_nothing(house: Server, door: HttpDoor) -> None:
    made = store(door, seal(CONTENT, password="six words that nobody has listed"))
    loot = steal(house.content, made.id)
    found = [loot.matches(made.seed, stretch) for stretch in (b"", *(stretched(loot.stem, word) for word in WEAK))]
    assert found == [{"id", "knock"}] * 11


def test_the_link_and_the_owner_token_let_a_password_be_guessed_offline_too(door: HttpDoor) -> None:
    made = store(door, seal(CONTENT, password=RIGHT))
    header = base64.urlsafe_b64decode(door.ask("GET", made.upload, made.by_owner).json["header"])
    guesses = [kdf(made.seed + stretched(header, word), header[:64], "commit") for word in WEAK]
    assert [word for word, guess in zip(WEAK, guesses, strict=True) if guess == header[64:]] == [RIGHT]


# Disk and database without the link: there is nothing to test a guess by.


def test_without_the_link_the_right_password_matches_nothing(house: Server, door: HttpDoor) -> None:
    made = store(door, seal(CONTENT, password=RIGHT))
    loot = steal(house.content, made.id)
    stretch, digest = stretched(loot.stem, RIGHT), hashlib.sha512(RIGHT.encode()).digest()
    near = [made.seed[:23] + bytes([made.seed[23] ^ 1]), bytes([made.seed[0] ^ 128]) + made.seed[1:]]
    told = [kept[:24] for kept in loot.hashes.values()]
    salts = [loot.stem[start : start + 24] for start in (16, 32, 40)]
    seeds = [bytes(24), digest[:24], *near, *told, *salts, *(os.urandom(24) for _ in range(200))]
    assert [loot.matches(seed, stretch) for seed in seeds] == [set()] * len(seeds)
    assert loot.matches(made.seed, stretch) == {"id", "knock", "access", "commitment", "content"}


def test_without_the_link_nothing_of_a_share_with_no_password_opens_either(house: Server, door: HttpDoor) -> None:
    made = store(door, seal(CONTENT))
    loot = steal(house.content, made.id)
    seeds = [os.urandom(24) for _ in range(200)]
    assert [loot.matches(seed) for seed in [*seeds, made.seed]] == [set()] * 200 + [
        {"id", "knock", "access", "commitment", "content"}
    ]


def test_no_secret_is_on_the_disk_or_in_the_database_in_any_spelling(house: Server, door: HttpDoor) -> None:
    made = store(door, seal(CONTENT, password="correct horse battery staple", opens=3))
    lease = door.ask("POST", f"{made.share}/open", made.by_access()).json["lease"]
    requests.get(f"{house.url}/{made.token}", auth=("", "correct horse battery staple"), timeout=PATIENCE)
    secrets = [made.seed, made.owner, made.access, links.knock(made.seed), base64.urlsafe_b64decode(lease)]
    spelled = [form for secret in secrets for form in (secret, spell(secret).encode(), secret.hex().encode())]
    found = everything(house.content)
    assert [text for text in [*spelled, b"battery staple", CONTENT[:64], b"a.txt"] if text in found] == []
    assert made.id.encode() in found


SPELLINGS: Mapping[str, Callable[[bytes], str]] = {
    "base64url": lambda kept: spell(kept),
    "base64url of 24 bytes": lambda kept: spell(kept[:24]),
    "base64url of 16 bytes": lambda kept: spell(kept[:16]),
    "hexadecimal": lambda kept: kept.hex(),
    "raw, per cent": lambda kept: "".join(f"%{byte:02X}" for byte in kept),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kept", ["knock_hash", "access_hash", "owner_hash", "lease"])
def test_no_hash_of_the_database_is_a_proof_anywhere(
    house: Server, line: Line, door: HttpDoor, kept: str, spelling: str
) -> None:
    made = store(door, seal(CONTENT, password=RIGHT, opens=2))
    door.ask("POST", f"{made.share}/open", made.by_access())
    ((lease,),) = rows(house.content, "SELECT hash FROM leases WHERE share = ?", made.id)
    stolen = {**steal(house.content, made.id).hashes, "lease": lease}[kept]
    before, shown = state_of(house.content, made.id), SPELLINGS[spelling]
    assert told(line, made.id, shown(stolen)) == told_of_nothing(line, shown(like(stolen)))
    assert state_of(house.content, made.id) == before


@pytest.mark.parametrize("kept", ["knock_hash", "access_hash", "owner_hash"])
def test_a_raw_hash_in_a_header_is_a_proof_no_more_than_in_letters(house: Server, door: HttpDoor, kept: str) -> None:
    made = store(door, seal(CONTENT))
    raw = steal(house.content, made.id).hashes[kept]
    for path in ("", "/index", "/content", "/owner"):
        with closing(house.connect()) as connection:
            head = f"GET {API}{made.share}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n".encode()
            connection.sendall(head + b"Authorization: Bearer " + raw + b"\r\n\r\n")
            status = int(connection.makefile("rb").readline().split()[1])
        assert status in {400, 404}, path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_who_has_the_link_cannot_go_on_with_the_hash_of_anothers_lease(
    house: Server, door: HttpDoor, spelling: str
) -> None:
    made = store(door, seal(CONTENT, opens=1))
    door.ask("POST", f"{made.share}/open", made.by_access())
    ((hashed,),) = rows(house.content, "SELECT hash FROM leases WHERE share = ?", made.id)
    lease = SPELLINGS[spelling](hashed)
    sealed = door.ask("GET", f"{made.share}/content", made.by_access(lease))
    direct = door.ask_anywhere("GET", f"/{made.token}?lease={lease}")
    assert (sealed.status, direct.status) == (404, 404)


def test_an_upload_begun_again_with_all_that_the_database_says_of_it_changes_nothing(
    house: Server, door: HttpDoor
) -> None:
    made = store(door, seal(CONTENT, password=RIGHT, opens=2))
    loot, before = steal(house.content, made.id), state_of(house.content, made.id)
    hashes = {name: spell(kept) for name, kept in loot.hashes.items()}
    body = {"id": made.id, "header": spell(loot.header), "part_chunks": loot.part_chunks, **hashes, "opens": 2}
    answer = door.ask("POST", "/uploads", json=body)
    assert (answer.status, answer.json.keys()) == (201, {"id", "max_part_size"})
    assert state_of(house.content, made.id) == before


# The link and no copy: only asking tells, and asking is counted.


def with_password(password: str, seed: bytes, owner: bytes, salts: bytes) -> Container:
    """A container whose seed, owner token and salts are given: the password alone makes the difference."""
    drawn = iter(salts)
    entropy = lambda size: bytes(itertools.islice(drawn, size)) if size > 12 else os.urandom(size)  # noqa: E731
    sealer = Sealer(seed, chunk_size=4096, password=password, iterations=1, memory=13, entropy=entropy)
    chunks = [*sealer.update(CONTENT), *sealer.finish([File(name="a.txt", type="text/plain", size=len(CONTENT))])]
    parts = (sealer.header.pack() + b"".join(chunks),)
    return Container(seed, owner, sealer.keys.access, parts[0][:96], 100, parts, has_password=True)


def test_all_that_the_server_tells_who_has_the_link_is_the_same_whichever_of_ten_passwords_is_right(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    seed, owner, salts = links.new_seed(), links.new_owner(), os.urandom(64)
    knock, token = bearer(links.knock(seed)), links.write_token(seed)
    asks = [
        Ask("GET", f"{API}/shares/{links.blob_id(seed)}", knock),
        Ask("HEAD", f"{API}/shares/{links.blob_id(seed)}", knock),
        *everywhere(links.blob_id(seed), spell(links.knock(seed))),
        Ask("GET", f"/{token}"),
        Ask("GET", f"/{token}", {"Range": "bytes=0-9"}),
        Ask("POST", f"/{token}"),
        Ask("GET", f"/{token}/1/a.txt"),
    ]
    answers = []
    for word in WEAK:
        site = Door(make_app(CONTENT_DIR=str(tmp_path / word)))
        store(site, with_password(word, seed, owner, salts))
        got = [site.ask_anywhere(ask.method, ask.path, ask.headers, data=ask.body) for ask in asks]
        answers.append([(answer.status, sorted(answer.headers), answer.body) for answer in got])
    assert answers == [answers[0]] * len(WEAK)
    assert answers[0][0][0] == 200


def test_who_knocks_is_given_nothing_that_any_candidate_could_be_compared_with(door: HttpDoor) -> None:
    made = store(door, seal(CONTENT, password=RIGHT))
    answer = door.ask("GET", made.share, made.by_knock)
    stem = base64.urlsafe_b64decode(answer.json["header"] + "==")
    labels = ("commit", "access", "content", "mark")
    derived = [kdf(made.seed + stretched(stem, word), stem, label) for word in WEAK for label in labels]
    assert answer.json.keys() == {"id", "header", "size", "expires", "opens_limited"}
    assert len(stem) == 64
    assert [key for key in derived if key[:8] in stem or spell(key)[:8].encode() in answer.body] == []


Guess = tuple[str, dict[str, str]]


def sealed_guess(made: Container, word: str) -> Guess:
    """A guess at the sealed door: path and headers."""
    access = kdf(made.seed + stretched(made.header[:64], word), made.header[:64], "access")
    return f"{API}{made.share}/index", made.by_access(access=access)


def direct_guess(made: Container, word: str) -> Guess:
    """A guess at the direct door."""
    return f"/{made.token}", {"Authorization": "Basic " + base64.b64encode(f":{word}".encode()).decode()}


DOORS = {"sealed": sealed_guess, "direct": direct_guess}
at_each_door = pytest.mark.parametrize("guess", DOORS.values(), ids=DOORS)
RIGHT_ANSWER, WRONG_ANSWERS, REFUSED, BUSY = 200, {401, 403}, 429, 503


def ask_guess(port: int, guess: Guess, client: int = 0, start: threading.Barrier | None = None) -> int:
    """Make a guess as one of many clients, which differ in their address; gives the status."""
    address = f"198.{18 + client // 65536}.{client // 256 % 256}.{client % 256}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection):
        connection.connect()
        if start:
            start.wait(PATIENCE)
        connection.request("GET", guess[0], headers={**guess[1], "X-Forwarded-For": address})
        return connection.getresponse().status


def allowed(since: float) -> int:
    """How many wrong guesses one client may have made by now: as many again for each minute that went by."""
    return A_MINUTE * (1 + int((time.monotonic() - since + 1) / 60))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two servers on one CONTENT_DIR, behind a proxy that says who asks."""
    folder = tmp_path_factory.mktemp("pair")
    settings = {"PROXY_HOPS": "1", "CONTENT_DIR": str(folder / "content"), "WORKERS": "1"}
    with Server(folder / "one", **settings) as one, Server(folder / "other", **settings) as other:
        yield [one, other]


@at_each_door
def test_a_client_has_ten_guesses_a_minute_over_all_processes_and_the_right_one_is_not_answered_after_them(
    pair: list[Server], guess: Callable[[Container, str], Guess]
) -> None:
    made = store(HttpDoor(pair[0].url), seal(CONTENT, password="right"))
    started = time.monotonic()
    found = [ask_guess(pair[turn % 2].port, guess(made, f"wrong {turn}")) for turn in range(30)]
    last = [ask_guess(server.port, guess(made, "right")) for server in pair]
    assert set(found[:A_MINUTE]) <= WRONG_ANSWERS
    assert sum(status in WRONG_ANSWERS for status in found) <= allowed(started)
    assert set(found) <= {*WRONG_ANSWERS, REFUSED}
    assert last == [REFUSED] * 2 or allowed(started) > A_MINUTE


@pytest.mark.parametrize("guess", [sealed_guess, pytest.param(direct_guess, marks=pytest.mark.slow)])
def test_a_share_has_a_hundred_guesses_an_hour_whoever_makes_them_and_however_often_the_server_is_killed(
    make_server: Callable[..., Server], tmp_path: Path, guess: Callable[[Container, str], Guess]
) -> None:
    settings = {"PROXY_HOPS": "1", "CONTENT_DIR": str(tmp_path / "content"), "WORKERS": "1"}
    one, other = make_server(**settings), make_server(**settings)
    made = store(HttpDoor(one.url), seal(CONTENT, password="right"))
    turns = iter(range(1000))

    def try_at(server: Server, times: int) -> list[int]:
        return [ask_guess(server.port, guess(made, f"wrong {turn}"), turn) for turn in itertools.islice(turns, times)]

    found = try_at(one, 40) + try_at(other, 20)
    kill(one)
    kill(other)
    again = make_server(**settings)
    found += try_at(again, 40)
    assert len(found) == AN_HOUR
    assert set(found) <= WRONG_ANSWERS
    assert try_at(again, 5) == [REFUSED] * 5
    assert ask_guess(again.port, guess(made, "right"), 5000) == REFUSED


def at_once(servers: Sequence[Server], guesses: Sequence[Guess], clients: Sequence[int]) -> list[int]:
    """Fire all guesses at the same moment, in turn at the servers; gives the statuses."""
    start, found = threading.Barrier(len(guesses)), [0] * len(guesses)

    def fire(turn: int) -> None:
        found[turn] = ask_guess(servers[turn % len(servers)].port, guesses[turn], clients[turn], start)

    threads = [threading.Thread(target=fire, args=(turn,)) for turn in range(len(guesses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    return found


ROUNDS = [pytest.param(1, id="1 round"), pytest.param(20, id="20 rounds", marks=pytest.mark.slow)]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("each_its_own", [False, True], ids=["one client", "200 clients"])
@at_each_door
def test_of_200_guesses_at_once_over_two_processes_no_more_are_answered_than_are_allowed(
    pair: list[Server], guess: Callable[[Container, str], Guess], each_its_own: bool, rounds: int
) -> None:
    door, chance = HttpDoor(pair[0].url), random.Random(7)
    for _ in range(rounds):
        made = store(door, seal(CONTENT, password="right"))
        words = [f"wrong {turn}" for turn in range(199)]
        words.insert(chance.randrange(200), "right")
        guesses = [guess(made, word) for word in words]
        started = time.monotonic()
        found = at_once(pair, guesses, range(200) if each_its_own else [0] * 200)
        right = found.pop(words.index("right"))
        most = AN_HOUR if each_its_own else allowed(started)
        assert right in {RIGHT_ANSWER, REFUSED, BUSY}
        assert set(found) <= {*WRONG_ANSWERS, REFUSED, BUSY}
        assert 1 <= sum(status in WRONG_ANSWERS for status in found) <= most


# Blob ids, from a log.

KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "with a password": {"password": RIGHT},
    "limited": {"opens": 3},
    "one open": {"opens": 1},
    "one open, with a password": {"opens": 1, "password": RIGHT},
    "sealed only": {"sealed_only": True},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def read(door: Door, made: Container) -> bytes:
    """Open a share by its link, as its reader does."""
    shown = made.by_access()
    end = door.ask("GET", f"{made.share}/index", shown)
    lease = door.ask("POST", f"{made.share}/open", shown)
    got = door.ask("GET", f"{made.share}/content", made.by_access(lease.json["lease"]))
    assert (end.status, lease.status, got.status) == (200, 200, 200)
    assert (end.body, got.body) == (made.header[64:] + made.whole[-len(end.body) + 32 :], made.whole)
    return unsealed(made, got.body)


def unsealed(made: Container, container: bytes) -> bytes:
    """The content of a container, by who has link and password. Raises ContainerError."""
    opener = Opener(BytesSource(container), made.seed, RIGHT)
    return b"".join(opener.range(0, opener.index.length))


def refused(door: Door, made: Container) -> bool:
    """Whether there is nothing left to open."""
    return door.ask("POST", f"{made.share}/open", made.by_access()).status == 404


@each_kind
@pytest.mark.parametrize(
    "shown", ["", "A" * 22, "A" * 32, "!" * 1500], ids=lambda shown: shown[:1] * (len(shown) // 10)
)
def test_a_blob_id_without_a_proof_is_that_of_nothing_and_its_share_stays_as_it_was(
    house: Server, line: Line, door: HttpDoor, kind: Mapping[str, Any], shown: str
) -> None:
    made = store(door, seal(CONTENT, **kind))
    before = state_of(house.content, made.id)
    assert told(line, made.id, shown) == told_of_nothing(line, shown)
    owned = door.ask("GET", f"{made.share}/owner", made.by_owner).json
    assert (owned["opened"], owned["last_opened"], owned["opens"]) == (0, None, kind.get("opens"))
    assert state_of(house.content, made.id) == before
    assert rows(house.content, "SELECT * FROM guesses WHERE share = ?", made.id) == []


@each_kind
def test_after_every_attack_with_its_blob_id_a_link_opens_as_often_as_was_promised(
    house: Server, line: Line, door: HttpDoor, kind: Mapping[str, Any]
) -> None:
    made = store(door, seal(CONTENT, **kind))
    for proof in (os.urandom(16), os.urandom(24), os.urandom(32), *steal(house.content, made.id).hashes.values()):
        told(line, made.id, spell(proof))
    assert [read(door, made) for _ in range(kind.get("opens", 5))] == [CONTENT] * kind.get("opens", 5)
    assert refused(door, made) == ("opens" in kind)


@each_kind
def test_an_upload_to_a_known_blob_id_is_refused_and_changes_nothing_else(
    house: Server, door: HttpDoor, kind: Mapping[str, Any]
) -> None:
    made, mine = store(door, seal(CONTENT, **kind)), seal(b"something else")
    before = state_of(house.content, made.id), rows(house.content, "SELECT id, state FROM shares")
    answer = door.ask("POST", "/uploads", json={**mine.begin, "id": made.id})
    after = state_of(house.content, made.id), rows(house.content, "SELECT id, state FROM shares")
    assert (answer.error, after) == ((409, "taken"), before)


@pytest.mark.parametrize("kind", [{}, {"password": RIGHT}, {"opens": 1}], ids=["plain", "with a password", "limited"])
def test_a_known_blob_id_that_is_no_more_is_refused_with_the_same_words(
    door: HttpDoor, kind: Mapping[str, Any]
) -> None:
    lives, gone, mine = store(door, seal(CONTENT, **kind)), store(door, seal(CONTENT, **kind)), seal(b"something else")
    assert door.ask("DELETE", f"{gone.share}/owner", gone.by_owner).status == 204
    answers = [door.ask("POST", "/uploads", json={**mine.begin, "id": made.id}) for made in (lives, gone)]
    assert answers[0].body == answers[1].body
    assert [answer.status for answer in answers] == [409, 409]


# Rights of one share, at another.


@each_kind
def test_an_owner_token_is_worth_nothing_at_another_share(
    house: Server, line: Line, door: HttpDoor, kind: Mapping[str, Any]
) -> None:
    mine, made = store(door, seal(CONTENT)), store(door, seal(CONTENT, **kind))
    before = state_of(house.content, made.id)
    assert told(line, made.id, spell(mine.owner)) == told_of_nothing(line, spell(os.urandom(24)))
    assert state_of(house.content, made.id) == before


def test_an_owner_token_is_worth_nothing_at_anothers_unfinished_upload(house: Server, door: HttpDoor) -> None:
    mine, made = store(door, seal(CONTENT)), seal(CONTENT)
    assert door.ask("POST", "/uploads", json=made.begin).status == 201
    asks = [
        ("GET", made.upload, None),
        ("PUT", f"{made.upload}/parts/0", b"x"),
        ("POST", f"{made.upload}/finish", b'{"parts": []}'),
        ("DELETE", made.upload, None),
    ]
    answers = [door.ask(method, path, mine.by_owner, data=body).error for method, path, body in asks]
    assert answers == [(404, "not_found")] * 4
    assert rows(house.content, "SELECT state FROM shares WHERE id = ?", made.id) == [("open",)]


@pytest.mark.parametrize("kind", [{}, {"password": RIGHT}], ids=["plain", "with a password"])
def test_a_lease_of_one_share_is_none_at_another(door: HttpDoor, kind: Mapping[str, Any]) -> None:
    mine, made = store(door, seal(CONTENT, opens=2, **kind)), store(door, seal(CONTENT, opens=2, **kind))
    lease = door.ask("POST", f"{mine.share}/open", mine.by_access()).json["lease"]
    basic = {"Authorization": "Basic " + base64.b64encode(f":{RIGHT}".encode()).decode()}
    sealed = door.ask("GET", f"{made.share}/content", made.by_access(lease))
    direct = door.ask_anywhere("GET", f"/{made.token}?lease={lease}", basic)
    assert (sealed.error, direct.status) == ((403, "lease_needed"), 405)
    assert door.ask("GET", f"{mine.share}/content", mine.by_access(lease)).body == mine.whole


def test_a_lease_ends_when_its_share_is_deleted(door: HttpDoor) -> None:
    made = store(door, seal(CONTENT, opens=2))
    lease = door.ask("POST", f"{made.share}/open", made.by_access()).json["lease"]
    assert door.ask("GET", f"{made.share}/content", made.by_access(lease)).body == made.whole
    assert door.ask("DELETE", f"{made.share}/owner", made.by_owner).status == 204
    sealed = door.ask("GET", f"{made.share}/content", made.by_access(lease))
    direct = door.ask_anywhere("GET", f"/{made.token}?lease={lease}")
    assert (sealed.status, direct.status) == (404, 404)


# A hostile database: whatever is in it, no byte is given for another, and no file but a part is touched.

HUGE = 1 << 62
OUTSIDE = b"bytes of a file that is no part"


def each(query: str, names: Sequence[str], values: Sequence[object]) -> list[str]:
    """The query for each column and value."""
    return [query.format(f"{name} = {value}") for name in names for value in values]


SHARE = "UPDATE shares SET {} WHERE id = :id"
SECOND = "UPDATE parts SET {} WHERE share = :id AND number = 1"
LAST = "UPDATE parts SET {} WHERE share = :id AND number = (SELECT max(number) FROM parts WHERE share = :id)"
NAME_OF = "(SELECT name FROM parts WHERE share = :{} AND number = {})"
HEADER_OF = "CAST(substr(header, 1, {0}) || x'{1}' || substr(header, {0} + 2) AS BLOB)"
STRANGE = ["'x'", "x'00ff'", "0.5"]
PATHS = [
    "../../outside",
    "../../../log",
    "/etc/hostname",
    "",
    ".",
    "..",
    "1-",
    "1-0123456789ABCDEF",
    "1-0123456789abcdef",
]
FIELDS = [
    (0, "00"),
    (4, "02"),
    (6, "0d"),
    (6, "ff"),
    (7, "01"),
    (7, "02"),
    (7, "80"),
    (8, "01"),
    (40, "00"),
    (70, "00"),
]
HOSTILE = [
    *each(SHARE, ["expires", "opens"], [-1, 0, HUGE, *STRANGE]),
    *each(SHARE, ["opens = 3, opened"], [-5, 3, HUGE, *STRANGE]),
    *each(SHARE, ["size"], ["size + 1", "size - 1", "size - 4124", -1, 0, 383, HUGE, "NULL", *STRANGE]),
    *each(SHARE, ["part_chunks"], [0, -1, 1, 4, 1 << 31, HUGE, *STRANGE]),
    *each(SHARE, ["state"], ["''", "'LIVE'", "'open'", "'dead'", "'odd'", 7, "x'6c697665'"]),
    *each(SHARE, ["header"], ["x''", "'1KEY'", "zeroblob(96)", "zeroblob(1000)", "CAST(substr(header, 2) AS BLOB)"]),
    *each(SHARE, ["header"], [HEADER_OF.format(at, byte) for at, byte in FIELDS]),
    *each(SHARE, ["header"], [f"(SELECT header FROM shares WHERE id = :{whose})" for whose in ("other", "locked")]),
    *each(SHARE, ["knock_hash", "access_hash", "owner_hash"], ["x''", "''", 7]),
    *each(SHARE, ["created", "last_opened", "life", "finished", "died"], [-HUGE, HUGE, "'then'"]),
    *each(SECOND, ["name"], [f"'{path}'" for path in PATHS]),
    *each(SECOND, ["name"], ["name || char(10)", "'../../outside' || char(0)", "x'00'", 7]),
    *each(SECOND, ["name"], [NAME_OF.format("id", 0), NAME_OF.format("other", 1)]),
    *each(SECOND, ["name"], [f"'../' || :other || '/' || {NAME_OF.format('other', 1)}"]),
    *each(SECOND, ["size"], [0, -1, "size + 1", "size - 1", HUGE, -HUGE, *STRANGE]),
    *each(SECOND, ["number"], [-1, 70, 1 << 40, HUGE]),
    *each(SECOND, ["sha256", "mark"], ["zeroblob(32)", "7"]),
    *each(LAST, ["size"], [0, -1, 3, "size + 7", HUGE, -HUGE, *STRANGE]),
    *each(LAST, ["number"], ["number + 1", "number + 1000000", "number - 100"]),
    *each(LAST, ["name"], ["'../../outside'", NAME_OF.format("id", 0), NAME_OF.format("other", 6)]),
    "UPDATE parts SET name = '../../outside' WHERE share = :id",
    "DELETE FROM parts WHERE share = :id AND number = 0",
    "DELETE FROM parts WHERE share = :id AND number = 1",
    "DELETE FROM parts WHERE share = :id AND number > 3",
    "DELETE FROM parts WHERE share = :id",
    "INSERT INTO leases VALUES (zeroblob(32), :id, 'x', 'x', 'x')",
    "INSERT INTO guesses VALUES (:id, zeroblob(16), zeroblob(32), 'x')",
]
CLEAN = {200, 204, 206, 303, 401, 403, 404, 405, 409, 416, 422, 500}


def tried(line: Line, ask: Ask) -> tuple[int, bytes] | None:
    """What came of a request: status and body, or None where the answer was broken off."""
    try:
        answer = line.ask(ask)
    except TimeoutError:  # a server that hangs is no server that refuses
        raise
    except (http.client.HTTPException, OSError):
        return None
    assert answer.status in CLEAN, ask
    if answer.status == 500 and ask.path.startswith(API) and ask.method != "HEAD":
        assert answer.json["error"] in {"damaged", "internal"}
    return answer.status, answer.body


def asks_of(made: Container) -> Iterator[tuple[str, Ask]]:
    """Every way to read a share, or to learn of it, for who has all its proofs; and what is right in it, if any is."""
    direct, shown = f"/{made.token}", made.by_access()
    yield "content", Ask("GET", direct)
    yield "range", Ask("GET", direct, {"Range": "bytes=5000-9999"})
    yield "head", Ask("HEAD", direct)
    yield "zip", Ask("GET", f"{direct}.zip")
    yield "content", Ask("GET", f"{direct}/1/a.txt")
    yield "page", Ask("GET", f"/manage/{made.id}/{spell(made.owner)}")
    yield "knock", Ask("GET", API + made.share, made.by_knock)
    yield "index", Ask("GET", f"{API}{made.share}/index", shown)
    yield "container", Ask("GET", f"{API}{made.share}/content", shown)
    yield "end", Ask("GET", f"{API}{made.share}/content", {**shown, "Range": "bytes=-400"})
    yield "owner", Ask("GET", f"{API}{made.share}/owner", made.by_owner)
    yield "upload", Ask("GET", API + made.upload, made.by_owner)
    yield "open", Ask("POST", f"{API}{made.share}/open", shown)


def is_true(what: str, made: Container, content: bytes, answer: tuple[int, bytes]) -> bool:
    """Whether an answer holds no byte that its reader would take for another."""
    status, body = answer
    if status not in {200, 206}:
        return True
    if what == "content":
        return body == content
    if what == "range":
        return body == (content[5000:10000] if status == 206 else content)
    if what == "container":
        try:
            return unsealed(made, body) == content
        except ContainerError:  # its reader sees that it is damaged
            return True
    return True


@pytest.fixture(scope="module")
def neighbours(house: Server) -> tuple[Container, Container]:
    """Two shares that nobody changes, one of them with a password."""
    door = HttpDoor(house.url)
    return store(door, seal(CONTENT, part_chunks=2)), store(door, seal(CONTENT, part_chunks=2, password=RIGHT))


@pytest.mark.parametrize("query", HOSTILE)
def test_a_changed_database_gives_no_wrong_byte_and_no_file_outside_the_store(
    house: Server, door: HttpDoor, line: Line, neighbours: tuple[Container, Container], query: str
) -> None:
    content, (other, locked), outside = os.urandom(20_000), neighbours, house.content / "outside"
    made = store(door, seal(content, part_chunks=2))
    outside.write_bytes(OUTSIDE)
    change(house.content, query, {"id": made.id, "other": other.id, "locked": locked.id})
    for what, ask in asks_of(made):
        answer = tried(line, ask)
        assert answer is None or is_true(what, made, content, answer), what
        assert answer is None or OUTSIDE not in answer[1], what
    tried(line, Ask("DELETE", f"{API}{made.share}/owner", made.by_owner))
    assert outside.read_bytes() == OUTSIDE
    assert read(door, other) == CONTENT


def test_two_shares_whose_rows_were_exchanged_open_nothing(house: Server, door: HttpDoor, line: Line) -> None:
    one, other = (store(door, seal(os.urandom(50_000))) for _ in range(2))
    for table, key in (("shares", "id"), ("parts", "share")):
        for old, new in ((one.id, "x"), (other.id, one.id), ("x", other.id)):
            change(house.content, f"UPDATE {table} SET {key} = :new WHERE {key} = :old", {"old": old, "new": new})
    for made in (one, other):
        answers = [tried(line, ask) for _, ask in asks_of(made)]
        assert {answer[0] for answer in answers if answer} <= {404, 405, 500}


def test_a_sweep_of_a_hostile_database_removes_nothing_outside_the_store_and_goes_on(
    make_server: Callable[..., Server],
) -> None:
    server = make_server()
    door = HttpDoor(server.url)
    dead = store(door, seal(CONTENT))
    outside = server.content / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(OUTSIDE)
    columns = "state, header, part_chunks, knock_hash, access_hash, owner_hash, created, touched, opened, died"
    for strange in ("../outside", "../../content/outside", str(outside), "", ".", ".."):
        row = f"INSERT INTO shares (id, {columns}) SELECT :strange, {columns} FROM shares WHERE id = :id"
        change(server.content, row, {"strange": strange, "id": dead.id})
    server.stop()  # which would sweep as well
    change(server.content, "UPDATE shares SET state = 'dead', died = 0", {})
    settings = clean_environment(CONTENT_DIR=str(server.content), MIN_FREE_SPACE="0")
    swept = subprocess.run([*ONEKEY, "sweep"], env=settings, capture_output=True, text=True, timeout=PATIENCE)
    assert (swept.returncode, swept.stderr) == (0, "")
    assert "Removed: 1. Left for the next time: 6." in swept.stdout
    assert (outside / "kept").read_bytes() == OUTSIDE
    assert list((server.content / "blobs").iterdir()) == []


@pytest.mark.parametrize("trailer", [0, 1, 283, 285, 1 << 20, (1 << 20) + 284, (1 << 32) - 1])
def test_a_changed_trailer_makes_no_content_an_index(house: Server, door: HttpDoor, trailer: int) -> None:
    made = store(door, seal(CONTENT, opens=1))
    ((name,),) = rows(house.content, "SELECT name FROM parts WHERE share = ? ORDER BY number DESC LIMIT 1", made.id)
    part = house.content / "blobs" / made.id / name
    part.write_bytes(part.read_bytes()[:-4] + trailer.to_bytes(4, "big"))
    found = door.ask("GET", f"{made.share}/index", made.by_access())
    assert found.error == (500, "damaged")
    assert door.ask_anywhere("POST", f"/{made.token}").status in {303, 500}


@pytest.mark.parametrize("what", ["part", "folder"])
def test_a_link_on_the_disk_in_the_place_of_a_part_or_a_folder_leads_nowhere(
    house: Server, door: HttpDoor, tmp_path: Path, what: str
) -> None:
    made = store(door, seal(CONTENT))
    folder = house.content / "blobs" / made.id
    moved = tmp_path / "moved"
    if what == "part":
        (first,) = folder.glob("0-*")
        first.rename(moved)
        first.symlink_to(moved)
    else:
        folder.rename(moved)
        folder.symlink_to(moved)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert door.ask_anywhere("GET", f"/{made.token}").status == (500 if what == "part" else 200)
    door.ask("DELETE", f"{made.share}/owner", made.by_owner)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert door.ask_anywhere("GET", f"/{made.token}").status == 404

"""A client of the sealed door for the tests: seals with the package's own Sealer, and speaks docs/http.md to a server.

`Door` is one server's API, in this process or over HTTP; `seal` makes a container, cut in parts; `store` uploads one.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import requests
from werkzeug.datastructures import Headers

from onekey import links
from onekey.app import App
from onekey.container import Sealer
from onekey.index import File

API = "/api/v1"
CHUNK = 4096
JSON = "application/json"


def spell(data: bytes) -> str:
    """Bytes as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def bearer(proof: bytes) -> dict[str, str]:
    """The header that shows a knock, an access or an owner token."""
    return {"Authorization": f"Bearer {spell(proof)}"}


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of a refusal, which has the one form that all have."""
        assert self.json.keys() == {"error", "message"}, self.body
        return self.status, self.json["error"]


class Door:
    """The sealed door of an application of this process, as one client; each request stands for itself."""

    def __init__(self, app: App, address: str = "127.0.0.1") -> None:
        self.app, self.address = app, address

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        *,
        data: bytes | None = None,
        json: object = None,
    ) -> Answer:
        """The answer to a request; `path` counts from /api/v1, `json` is sent as the body."""
        return self.ask_anywhere(method, API + path, headers, data=data, json=json)

    def ask_anywhere(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        *,
        data: bytes | None = None,
        json: object = None,
    ) -> Answer:
        """The same for a path that counts from the root."""
        sent, body = Headers(headers or {}), data
        if json is not None:
            sent["Content-Type"], body = JSON, _dumped(json)
        return self._send(method, path, sent, body)

    def _send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        said = {"REMOTE_ADDR": self.address}
        with self.app.test_client() as client:
            got = client.open(path, method=method, headers=headers, data=body, environ_overrides=said)
            return Answer(got.status_code, got.headers, got.data)


class HttpDoor(Door):
    """The same over HTTP, each request on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        with requests.Session() as session:
            session.trust_env = False
            got = session.request(
                method, self.url + path, headers=dict(headers), data=body, allow_redirects=False, timeout=60
            )
            return Answer(got.status_code, Headers(list(got.headers.items())), got.content)


def _dumped(what: object) -> bytes:
    return json.dumps(what).encode()


@dataclass(frozen=True)
class Container:
    """A sealed container, cut in parts, and what its client knows of it. `terms` is what begin is told beside it."""

    seed: bytes
    owner: bytes
    access: bytes
    header: bytes
    part_chunks: int
    parts: tuple[bytes, ...]
    has_password: bool = False
    terms: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its blob id."""
        return links.blob_id(self.seed)

    @property
    def token(self) -> str:
        """The key in its link."""
        return links.write_token(self.seed)

    @property
    def whole(self) -> bytes:
        """Its bytes."""
        return b"".join(self.parts)

    @property
    def begin(self) -> dict[str, Any]:
        """The body that begins its upload."""
        proofs = {"knock": links.knock(self.seed), "access": self.access, "owner": self.owner}
        return {
            "id": self.id,
            "header": spell(self.header),
            "part_chunks": self.part_chunks,
            **{f"{name}_hash": spell(links.fingerprint(proof)) for name, proof in proofs.items()},
            **self.terms,
        }

    @property
    def finish(self) -> dict[str, Any]:
        """The body that finishes it."""
        return {"parts": [name_of(number, part) for number, part in enumerate(self.parts)]}

    @property
    def upload(self) -> str:
        """The path of its upload."""
        return f"/uploads/{self.id}"

    @property
    def share(self) -> str:
        """The path of the share that it becomes."""
        return f"/shares/{self.id}"

    @property
    def by_knock(self) -> dict[str, str]:
        """The headers of who knocks."""
        return bearer(links.knock(self.seed))

    @property
    def by_owner(self) -> dict[str, str]:
        """The headers of the owner."""
        return bearer(self.owner)

    def by_access(self, lease: str | None = None, access: bytes | None = None) -> dict[str, str]:
        """The headers of who has access: with the knock where there is a password, and a lease if there is one."""
        knock = {"X-Onekey-Knock": spell(links.knock(self.seed))} if self.has_password else {}
        shown = bearer(self.access if access is None else access)
        return {**shown, **knock, **({"X-Onekey-Lease": lease} if lease else {})}

    def under(self, **terms: int | None) -> "Container":
        """The same, to be uploaded with these terms: `expires_in`, `opens`."""
        return replace(self, terms={**self.terms, **terms})


def name_of(number: int, part: bytes) -> dict[str, Any]:
    """A part, as finish names it."""
    return {"number": number, "size": len(part), "sha256": spell(sha256(part).digest())}


def seal(
    content: bytes = b"what is shared " * 2000,
    *,
    part_chunks: int = 3,
    chunk_size: int = CHUNK,
    files: Sequence[File] | None = None,
    password: str | None = None,
    sealed_only: bool = False,
    seed: bytes | None = None,
    **terms: int | None,
) -> Container:
    """Seal content under a new seed; as one file, a.txt, unless `files` says otherwise. Argon2id costs little."""
    seed = links.new_seed() if seed is None else seed
    sealer = Sealer(seed, chunk_size=chunk_size, password=password, sealed_only=sealed_only, iterations=1, memory=13)
    listed = [File(name="a.txt", type="text/plain", size=len(content))] if files is None else files
    *chunks, end = [*sealer.update(content), *sealer.finish(listed)]
    header = sealer.header.pack()
    parts = [b"".join(chunks[start : start + part_chunks]) for start in range(0, len(chunks), part_chunks)] or [b""]
    parts[0] = header + parts[0]
    parts[-1] += end
    return Container(
        seed=seed,
        owner=links.new_owner(),
        access=sealer.keys.access,
        header=header,
        part_chunks=part_chunks,
        parts=tuple(parts),
        has_password=password is not None,
        terms=terms,
    )


def put(door: Door, container: Container, number: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Put one part."""
    path = f"{container.upload}/parts/{number}"
    return door.ask("PUT", path, {**container.by_owner, **(headers or {})}, data=container.parts[number])


def begin(door: Door, container: Container, headers: Mapping[str, str] | None = None) -> Answer:
    """Begin an upload."""
    return door.ask("POST", "/uploads", headers, json=container.begin)


def finish(door: Door, container: Container) -> Answer:
    """Finish an upload, all of its parts named."""
    return door.ask("POST", f"{container.upload}/finish", container.by_owner, json=container.finish)


def store(door: Door, container: Container, headers: Mapping[str, str] | None = None) -> Container:
    """Upload a container, whole; fails the test if any of it is refused."""
    answers = [begin(door, container, headers)]
    answers += [put(door, container, number) for number in range(len(container.parts))]
    answers.append(finish(door, container))
    assert [answer.status for answer in answers] == [201, *[200] * (len(answers) - 1)], answers
    return container

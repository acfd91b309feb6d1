"""The sealed door: JSON under /api/v1, for clients that seal and open by themselves. The server sees no key.

What an address and its proofs may do is decided in the vault and in uploads; here they are read and answered.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from flask import Response, jsonify, request
from pydantic import BaseModel

from onekey import __version__
from onekey.errors import BadRequest
from onekey.opened import Sealed
from onekey.parts import MAX_PART
from onekey.uploads import Named, Plan, StoredPart, Terms
from onekey.vault import MOST_OPENS, Proof
from onekey.web import forms, models, policy, streaming, words
from onekey.web.models import spell, unspell
from onekey.web.openapi import OCTETS, Header, Route, blueprint, document
from onekey.web.services import services

PREFIX: Final = "/api/v1"
_NAMED: Final = 256  # bytes that the name of a part takes, spaces and all
_LIST: Final = 1 << 16  # so that who names too many is told so
_BEARER: Final = 1 << 10
_PART_TOO_LARGE: Final = f"A part holds at most {MAX_PART} bytes."

Read = Callable[..., Any]


def _json(answer: BaseModel, status: int = 200) -> Response:
    response = jsonify(answer.model_dump(mode="json"))
    response.status_code = status
    return response


def _bearer() -> str:
    """What the request shows in `Authorization: Bearer`; empty where that is nothing."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and len(token) <= _BEARER else ""


def _bytes(text: str) -> bytes:
    """What a proof spells; what spells nothing proves nothing."""
    try:
        return unspell(text)
    except ValueError:
        return b""


def _proof() -> Proof:
    shown = request.headers.get
    knock, lease = shown("X-Onekey-Knock", ""), shown("X-Onekey-Lease", "")
    return Proof(_bytes(_bearer()), _bytes(knock[:_BEARER]), policy.client(), lease)


# Uploads.


def info() -> Response:
    """What this server takes."""
    settings = services().settings
    return _json(
        models.Info(
            version=__version__,
            needs_secret=bool(settings.secrets),
            max_upload_size=settings.max_upload_size,
            max_files=settings.max_files,
            max_part_size=MAX_PART,
            default_expires_in=settings.default_expiry or settings.max_expiry,
            max_expires_in=settings.max_expiry,
            max_opens=MOST_OPENS,
            lease_time=settings.lease_time,
        )
    )


def begin_upload(body: Read) -> Response:
    """Begin an upload; once more with the same values answers the same."""
    policy.check_site()
    gate = policy.Gate()
    gate.check()
    new: models.NewUpload = body()
    settings = services().settings
    said = "expires_in" in new.model_fields_set
    life = new.expires_in if said else settings.default_expiry or settings.max_expiry
    plan = Plan(
        id=new.id,
        header=unspell(new.header),
        part_chunks=new.part_chunks,
        knock_hash=unspell(new.knock_hash),
        access_hash=unspell(new.access_hash),
        owner_hash=unspell(new.owner_hash),
        terms=Terms(life, new.opens),
    )
    services().uploads.begin(plan, gate.uploader)
    return _json(models.Begun(id=new.id, max_part_size=MAX_PART), 201)


def look_at_upload(id: str) -> Response:  # noqa: A002 - the name that the address gives it
    """An upload, and which parts of it are stored."""
    upload, stored = services().uploads.look(id, _bearer())
    return _json(
        models.Upload(
            id=upload.id,
            finished=upload.is_finished,
            header=spell(upload.header),
            part_chunks=upload.part_chunks,
            parts=[_part(part) for part in stored],
            expires_in=upload.life,
            opens=upload.opens,
        )
    )


def _part(part: StoredPart) -> models.StoredPart:
    mark = spell(part.mark) if part.mark is not None else None
    return models.StoredPart(number=part.number, size=part.size, sha256=spell(part.sha256), mark=mark)


def put_part(id: str, number: int) -> Response:  # noqa: A002
    """Store a part; one that was there before is replaced."""
    mark = request.headers.get("X-Onekey-Mark")
    marked = _bytes(mark[:_BEARER]) if mark is not None else None
    if marked is not None and len(marked) != models.MARK_SIZE:
        raise BadRequest(f"X-Onekey-Mark takes {models.MARK_SIZE} bytes in base64url without padding.")
    if "Content-Encoding" in request.headers or "Content-Range" in request.headers:
        raise BadRequest("A part is stored as it is and whole: without Content-Encoding and Content-Range.")
    pieces = forms.Body(request, MAX_PART, _PART_TOO_LARGE)
    return _json(_part(services().uploads.put(id, _bearer(), number, pieces, marked)))


def finish_upload(id: str, body: Read) -> Response:  # noqa: A002
    """Check and commit the named parts; once more with the same parts answers the same."""
    _, stored = services().uploads.look(id, _bearer())
    named: models.Finish = body(max(_LIST, len(stored) * _NAMED))  # or anybody could have us read a list without end
    listed = [Named(part.number, part.size, unspell(part.sha256)) for part in named.parts]
    done = services().uploads.finish(id, _bearer(), listed)
    return _json(models.Finished(id=done.id, size=done.size or 0, expires=words.iso(done.expires), opens=done.opens))


def give_up_upload(id: str) -> Response:  # noqa: A002
    """Give up an upload that is not finished."""
    services().uploads.give_up(id, _bearer())
    return Response(status=204)


# Shares.


def knock(id: str) -> Response:  # noqa: A002
    """What who knocks may see."""
    found = services().vault.knocked(id, _bytes(_bearer()))
    return _json(
        models.Share(
            id=id,
            header=spell(found.header),
            size=found.size,
            expires=words.iso(found.expires),
            opens_limited=found.is_limited,
        )
    )


def read_index(id: str) -> Response:  # noqa: A002
    """Commitment (32 bytes), sealed index and trailer (4 bytes); takes no open."""
    response = Response(b"".join(services().vault.index(id, _proof())), mimetype=OCTETS)
    response.headers["Cache-Control"] = "private, no-store, no-transform"
    return response


def open_share(id: str) -> Response:  # noqa: A002
    """Take an open: a lease, where opens are limited."""
    return _json(models.Lease(lease=services().vault.lease(id, _proof())))


def read_content(id: str) -> Response:  # noqa: A002
    """The container's bytes, or a range of them."""
    sealed = services().vault.content(id, _proof())
    try:
        return _stream(sealed)
    except BaseException:
        sealed.close()
        raise


def _stream(sealed: Sealed) -> Response:
    etag = sealed.etag
    headers = [*_content_headers(sealed.is_private), ("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    if streaming.not_modified(request, etag):
        return _bare(sealed, 304, headers)
    try:
        span = streaming.wanted(request, etag, sealed.size)
    except streaming.Unsatisfiable:
        return _bare(sealed, 416, [*headers, ("Content-Range", f"bytes */{sealed.size}")])
    start, stop = span or (0, sealed.size)
    response = streaming.stream(request, sealed.read(start, stop), stop - start, sealed.close)
    headers.append(("Content-Type", OCTETS))
    if span:
        response.status_code = 206
        headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{sealed.size}"))
    response.headers.extend(headers)
    return response


def _bare(sealed: Sealed, status: int, headers: list[tuple[str, str]]) -> Response:
    sealed.close()
    return streaming.bare(status, headers)


def _content_headers(is_private: bool) -> list[tuple[str, str]]:
    """As at the direct door, but for other origins: no page of another site has a reason to load sealed bytes."""
    own = ("Cross-Origin-Resource-Policy", "same-origin")
    return [own if name == own[0] else (name, value) for name, value in policy.content(is_private)]


# Owners.


def look_at_own(id: str) -> Response:  # noqa: A002
    """A share, as its owner sees it."""
    return _json(_owned(id))


def _owned(share: str) -> models.OwnedShare:
    found = services().vault.owned(share, _bearer())
    return models.OwnedShare(
        id=found.id,
        size=found.size,
        created=words.iso(found.created) or "",
        expires=words.iso(found.expires),
        opens=found.opens,
        opened=found.opened,
        last_opened=words.iso(found.last_opened),
        needs_password=found.needs_password,
        sealed_only=found.sealed_only,
    )


def change_own(id: str, body: Read) -> Response:  # noqa: A002
    """Change when a share expires, or how often it may be opened."""
    owner, vault = _bearer(), services().vault
    vault.owned(id, owner)
    change: models.Change = body()
    vault.change(id, owner, change.model_dump(exclude_unset=True))
    return _json(_owned(id))


def delete_own(id: str) -> Response:  # noqa: A002
    """Delete a share for good; its leases end at once."""
    services().vault.delete(id, _bearer())
    return Response(status=204)


# The table: what there is, and what is said of it.

_SECRET: Final = Header("X-Onekey-Secret", "The upload secret, where one is needed.")
_MARK: Final = Header("X-Onekey-Mark", "A keyed hash of the part's plaintext (format.md, section 2).", models.MARK_SIZE)
_KNOCK: Final = Header("X-Onekey-Knock", "The knock, which shares with a password need beside the access.", 16)
_LEASE: Final = Header("X-Onekey-Lease", "The lease, where opens are limited.", 24)
_DRAWN: Final = Header("X-Onekey-Lease", "A lease that the client drew: asked again, it takes no other open.", 24)
_RANGE: Final = Header("Range", "One range of bytes (RFC 9110, section 14).")
_ANY: Final = (400, 404, 500)  # whatever is asked for: a strange host, an address that is not there, a broken disk
_TRIED: Final = (403, 429)
ROUTES: Final = (
    Route(method="GET", rule="/info", view=info, answer=models.Info, fails=(400, 500)),
    Route(
        method="POST",
        rule="/uploads",
        view=begin_upload,
        body=models.NewUpload,
        status=201,
        answer=models.Begun,
        fails=(400, 403, 408, 409, 413, 422, 429, 500),
        headers=(_SECRET,),
    ),
    Route(method="GET", rule="/uploads/{id}", view=look_at_upload, answer=models.Upload, fails=_ANY, rights=("owner",)),
    Route(
        method="PUT",
        rule="/uploads/{id}/parts/{number}",
        view=put_part,
        body=OCTETS,
        answer=models.StoredPart,
        fails=(*_ANY, 408, 409, 413, 422, 507),
        rights=("owner",),
        headers=(_MARK,),
    ),
    Route(
        method="POST",
        rule="/uploads/{id}/finish",
        view=finish_upload,
        body=models.Finish,
        answer=models.Finished,
        fails=(*_ANY, 408, 409, 413, 422),
        rights=("owner",),
    ),
    Route(
        method="DELETE",
        rule="/uploads/{id}",
        view=give_up_upload,
        status=204,
        fails=(*_ANY, 409),
        rights=("owner",),
    ),
    Route(method="GET", rule="/shares/{id}", view=knock, answer=models.Share, fails=_ANY, rights=("knock",)),
    Route(
        method="GET",
        rule="/shares/{id}/index",
        view=read_index,
        answer=OCTETS,
        fails=(*_ANY, *_TRIED),
        rights=("access",),
        headers=(_KNOCK,),
    ),
    Route(
        method="POST",
        rule="/shares/{id}/open",
        view=open_share,
        answer=models.Lease,
        fails=(*_ANY, *_TRIED),
        rights=("access",),
        headers=(_KNOCK, _DRAWN),
    ),
    Route(
        method="GET",
        rule="/shares/{id}/content",
        view=read_content,
        answer=OCTETS,
        others={206: "The range.", 304: "The client has these bytes.", 416: "The range is behind the end."},
        fails=(*_ANY, *_TRIED),
        rights=("access",),
        headers=(_KNOCK, _LEASE, _RANGE),
    ),
    Route(
        method="GET",
        rule="/shares/{id}/owner",
        view=look_at_own,
        answer=models.OwnedShare,
        fails=_ANY,
        rights=("owner",),
    ),
    Route(
        method="PATCH",
        rule="/shares/{id}/owner",
        view=change_own,
        body=models.Change,
        answer=models.OwnedShare,
        fails=(*_ANY, 408, 413, 422),
        rights=("owner",),
    ),
    Route(method="DELETE", rule="/shares/{id}/owner", view=delete_own, status=204, fails=_ANY, rights=("owner",)),
)
_RIGHTS: Final = {
    name: {"type": "http", "scheme": "bearer", "description": f"{what}, in base64url without padding."}
    for name, what in {
        "knock": "The knock (format.md, section 1): 16 bytes",
        "access": "The access (format.md, section 2): 32 bytes",
        "owner": "The owner token: 24 bytes",
    }.items()
}
_FAILURES: Final = {
    400: "The request cannot be understood, or asks for a host that is not ours.",
    403: "A secret, a password or a lease is missing or wrong.",
    404: "Expired, deleted, used up, not proven or never there.",
    408: "The body came too slowly.",
    409: "The blob id is taken, or the upload is not open.",
    413: "More bytes than this takes.",
    422: "A field is not what it has to be, or the parts are no container.",
    429: "Too many guesses, or unfinished uploads: Retry-After says when to ask again.",
    500: "Something went wrong on this server, or the share is damaged.",
    507: "No room.",
}


@cache
def described() -> dict[str, Any]:
    """The OpenAPI document."""
    title = {
        "title": "onekey",
        "version": __version__,
        "description": "The sealed API: docs/http.md says how to use it.",
    }
    return document(ROUTES, prefix=PREFIX, info=title, rights=_RIGHTS, failures=_FAILURES)


api = blueprint("api", PREFIX, ROUTES, described)

"""The direct door: uploads from anything that speaks HTTP, and direct links that stream the file."""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from flask import Blueprint, Response, jsonify, render_template, request, url_for
from werkzeug.routing import BaseConverter

from onekey import links
from onekey.errors import BadRequest, NotFound
from onekey.index import THUMBNAIL, File
from onekey.uploads import Incoming, Receipt
from onekey.vault import OpenShare
from onekey.web import forms, names, policy, streaming, words, zips
from onekey.web.services import services

direct = Blueprint("direct", __name__)
_LINK: Final = re.compile(r"([A-Za-z0-9_-]{32})(\..*)?", re.DOTALL)
_NOT_YET: Final = ("opens", "password")


class AnyText(BaseConverter):
    """The rest of a path, slashes, newlines and all."""

    regex = r"[\s\S]+"
    part_isolating = False
    weight = 300  # after all that is more of an address


# Uploads.


class _Options:
    """What an upload asks for beside its files. Each may come as a field of a form or in the query of a raw upload."""

    def __init__(self, gate: policy.Gate) -> None:
        settings = services().settings
        self._gate, self.page = gate, False
        self._after = settings.default_expiry or settings.max_expiry
        for name, value in request.args.items():
            if name == "secret":
                raise BadRequest(
                    "A secret does not belong in an address, where it is logged: X-Onekey-Secret is its place."
                )
            self.take(name, value)

    def take(self, name: str, value: str) -> None:
        """One option. Raises BadRequest, Forbidden."""
        if name == "secret":
            self._gate.show(value.encode())
        elif name == "expires" and value:
            self._after = policy.asked_expiry(value)
        elif name == "answer":
            self.page = value == "page"
        elif name in _NOT_YET and value:
            raise policy.not_yet(name)

    def expires_after(self) -> int | None:
        """Seconds until the share expires, None for never; asked when all was read: the secret has come or will not."""
        self._gate.check()
        return self._after


@direct.post("/")
def post() -> Response:
    """A form, or a raw body without a name."""
    if request.mimetype != "multipart/form-data":
        return put()
    gate = _gate()
    options, settings = _Options(gate), services().settings
    form = forms.Form(request, max_size=settings.max_upload_size, max_files=settings.max_files, field=options.take)
    receipt = _receive(form.files(), gate, options)
    if options.page:
        return _page(receipt)
    return _receipt(receipt, 303)


@direct.put("/")
@direct.put("/<anytext:name>")
def put(name: str | None = None) -> Response:
    """A raw body, whole or chunked, with a name or without."""
    gate = _gate()
    gate.check()
    for header in ("Content-Range", "Content-Encoding"):
        if header in request.headers:
            raise BadRequest(f"A file is stored as it is and whole: not with {header}.")
    options = _Options(gate)
    receipt = _receive(forms.raw(request, name, services().settings.max_upload_size), gate, options)
    return _receipt(receipt, 201)


def _gate() -> policy.Gate:
    policy.check_site()
    return policy.Gate()


def _receive(files: Iterator[Incoming], gate: policy.Gate, options: _Options) -> Receipt:
    return services().uploads.receive(files, proven=lambda: gate.open, expires_after=options.expires_after)


def _links(receipt: Receipt) -> dict[str, Any]:
    base = policy.base_url()
    ending = names.ending_of(receipt.files[0].name) if len(receipt.files) == 1 else ""
    owner = base + url_for("pages.manage", share=receipt.id, owner=receipt.owner)
    link = links.direct(base, receipt.token, ending)
    return {
        "url": link,
        "direct_url": link,
        "owner_url": owner,
        "delete_url": base + url_for("pages.delete", share=receipt.id, owner=receipt.owner),
        "id": receipt.id,
        "expires": words.iso(receipt.expires),
    }


def _receipt(receipt: Receipt, status: int) -> Response:
    """The link as text; as JSON for who asks for it, and then without a redirect, which would take its place."""
    told = _links(receipt)
    if policy.answer_kind() == "application/json":
        response = jsonify(told)
        response.status_code = 201
    else:
        response = Response(f"{told['url']}\n", status=status, mimetype="text/plain")
    response.headers["Location"] = told["url"]
    response.headers["X-Onekey-Owner-URL"] = told["owner_url"]
    response.headers["Vary"] = "Accept"
    return response


def _page(receipt: Receipt) -> Response:
    told = _links(receipt)
    page = render_template(
        "uploaded.html",
        link=told["url"],
        owner_link=told["owner_url"],
        expires=words.moment(receipt.expires),
        expires_iso=told["expires"],
        files=[{"name": file.name, "size": words.size(file.size), "type": file.type} for file in receipt.files],
        count=len(receipt.files),
        size=words.size(sum(file.size for file in receipt.files)),
    )
    return Response(page, status=201, headers={"X-Onekey-Owner-URL": told["owner_url"]})


# Downloads.


@direct.get("/<string:link>")
def get(link: str) -> Response:
    """A direct link: the file, the list of several, or all of them as a zip."""
    match = _LINK.fullmatch(link)
    if not match:
        raise NotFound()
    token, ending = match[1], match[2]
    with _Opened(token) as share:
        listed = _listed(share)
        if len(listed) == 1:
            return _file(share, listed[0])
        if ending == ".zip":
            return _zip(share, listed)
        return _list(share, token, listed)


@direct.get("/<string:token>/<int:number>/", defaults={"name": ""}, strict_slashes=False)
@direct.get("/<string:token>/<int:number>/<anytext:name>")
def get_one(token: str, number: int, name: str) -> Response:
    """One file of several, counted from 1; the name is for people and programs that look at it."""
    with _Opened(token) as share:
        if not 1 <= number <= len(share.files):
            raise NotFound()
        return _file(share, number - 1)


@direct.get("/<anytext:path>")
def nothing(path: str) -> Response:
    """Any other address: without this it would be one that only takes uploads, 405."""
    raise NotFound()


class _Opened:
    """A share, opened with its token: closed again where no answer took it along."""

    def __init__(self, token: str) -> None:
        self._share = services().vault.open(token)

    def __enter__(self) -> OpenShare:
        return self._share

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self._share.close()


def _listed(share: OpenShare) -> list[int]:
    """The positions of the files that a share shows: thumbnails are part of another."""
    return [number for number, file in enumerate(share.files) if file.role != THUMBNAIL] or [0]


def _file(share: OpenShare, number: int) -> Response:
    file, etag = share.files[number], share.etag(number)
    headers = [*policy.CONTENT, ("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    if streaming.not_modified(request, etag):
        share.close()
        return _bare(304, headers)
    try:
        span = streaming.wanted(request, etag, file.size)
    except streaming.Unsatisfiable:
        share.close()
        return _bare(416, [*headers, ("Content-Range", f"bytes */{file.size}")])
    return _stream(share, number, span, headers)


def _bare(status: int, headers: list[tuple[str, str]]) -> Response:
    """An answer that is its status and headers, without the type that Flask takes for granted."""
    response = Response(status=status)
    response.headers.remove("Content-Type")
    response.headers.extend(headers)
    return response


def _stream(share: OpenShare, number: int, span: tuple[int, int] | None, headers: list[tuple[str, str]]) -> Response:
    file = share.files[number]
    start, stop = span or (0, file.size)
    response = streaming.stream(request, share.read(number, start, stop), stop - start, share.close)
    headers.append(("Content-Type", names.served_type(file.type)))
    headers.append(("Content-Disposition", names.disposition(file.name, file.type)))
    if span:
        response.status_code = 206
        headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{file.size}"))
    response.headers.extend(headers)
    return response


def _zip(share: OpenShare, listed: list[int]) -> Response:
    called = names.unique([_path(share.files[number]) for number in listed])
    sizes = [(name, share.files[number].size) for name, number in zip(called, listed, strict=True)]
    # A first look at the first content there is: the archive's own first piece would say nothing of it.
    next((piece for number in listed for piece in share.read(number, 0, 1)), b"")
    entries = (
        zips.Entry(name, share.files[number].size, share.read(number))
        for name, number in zip(called, listed, strict=True)
    )
    response = streaming.stream(request, zips.write(entries), zips.length(sizes), share.close)
    response.headers.extend(policy.CONTENT)
    response.headers["Content-Type"] = "application/zip"
    response.headers["Content-Disposition"] = 'attachment; filename="onekey.zip"'
    return response


def _path(file: File) -> str:
    return "/".join(names.saved_name(part) for part in (*file.path, file.name))


def _list(share: OpenShare, token: str, listed: list[int]) -> Response:
    share.close()
    base = policy.base_url()
    files = [_described(share.files[number], f"{base}/{token}", number) for number in listed]
    kind = policy.answer_kind()
    if kind == "application/json":
        shown = ("name", "type", "size", "url")
        response = jsonify(
            files=[{key: file[key] for key in shown} for file in files],
            zip_url=f"{base}/{token}.zip",
            expires=words.iso(share.expires),
        )
    elif kind == "text/html":
        response = Response(_list_page(share, files, f"{base}/{token}.zip"))
    else:
        response = Response("".join(f"{file['url']}\n" for file in files), mimetype="text/plain")
    response.headers["Vary"] = "Accept"
    return response


def _described(file: File, link: str, number: int) -> dict[str, Any]:
    return {
        "number": number + 1,
        "name": file.name,
        "type": file.type,
        "size": file.size,
        "url": f"{link}/{number + 1}/{quote(file.name, safe='')}",
        "inline": names.is_inline(file.type),
    }


def _list_page(share: OpenShare, files: list[dict[str, Any]], zip_url: str) -> str:
    return render_template(
        "files.html",
        files=[{**file, "size": words.size(file["size"])} for file in files],
        zip_url=zip_url,
        total=words.size(sum(file["size"] for file in files)),
        expires=words.moment(share.expires),
        expires_iso=words.iso(share.expires),
    )

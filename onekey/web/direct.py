"""The direct door: links that any program can open. The server sees the token, and streams the file decrypted.

Where opens are limited, only a POST takes one: a link that is looked at by whoever passes it on spends nothing.
"""

import re
from typing import Any, Final
from urllib.parse import quote

from flask import Blueprint, Response, jsonify, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from onekey import links
from onekey.errors import BadToken, LeaseNeeded, NotFound, PasswordNeeded, SealedOnly, WrongPassword
from onekey.index import THUMBNAIL, File
from onekey.opened import OpenShare
from onekey.vault import Credentials
from onekey.web import failures, names, policy, streaming, words, zips
from onekey.web.services import services

direct = Blueprint("direct", __name__)
_LINK: Final = re.compile(r"([A-Za-z0-9_-]{32})(\..*)?", re.DOTALL)
_SEEN: Final = re.compile(r"#.*", re.DOTALL)


@direct.get("/<string:link>")
def get(link: str) -> Response:
    """A direct link: the file, the list of several, or all of them as a zip."""
    if _SEEN.fullmatch(link):
        return _put_back(link)
    token, ending = _parse(link)
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
    if _SEEN.match(token):
        return _put_back(request.path[1:])
    with _Opened(token) as share:
        if not 1 <= number <= len(share.files):
            raise NotFound()
        return _file(share, number - 1)


@direct.post("/<string:link>")
def open_once(link: str) -> Response:
    """Take one of a limited number of opens: on to the same link, with a lease."""
    token, ending = _parse(link)
    return _leased(token, f"/{token}{quote(ending)}")


@direct.post("/<string:token>/<int:number>/", defaults={"name": ""}, strict_slashes=False)
@direct.post("/<string:token>/<int:number>/<anytext:name>")
def open_one_once(token: str, number: int, name: str) -> Response:
    """The same for the link of one file of several."""
    return _leased(token, f"/{token}/{number}/{quote(name, safe='')}")


@direct.get("/<anytext:path>")
def nothing(path: str) -> AnyResponse:
    """Any other address: without this it would be one that only takes uploads, 405."""
    if _SEEN.fullmatch(path):
        return _put_back(path)
    raise NotFound()


def _put_back(path: str) -> Response:
    """The # of a sealed link came as %23, from a mail gateway say. Nothing is looked up."""
    link = f"{policy.base_url()}/{quote(path, safe='/#&=_-')}"
    if policy.answer_kind() == "text/html":
        return Response(render_template("seen.html", link=link, put_back=True), headers={"Vary": "Accept"})
    return failures.answer(404, "not_found", f"The # of this link was changed on its way: it is {link}.")


# Who may open, and what is said to the others.


class _Opened:
    """A share, opened with its token: closed again where no answer took it along."""

    def __init__(self, token: str) -> None:
        self._share = services().vault.open(token, _shown())

    def __enter__(self) -> OpenShare:
        return self._share

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self._share.close()


def _parse(link: str) -> tuple[str, str]:
    """Token and ending of a link. Raises NotFound."""
    match = _LINK.fullmatch(link)
    if not match:
        raise NotFound()
    return match[1], match[2] or ""


def _shown() -> Credentials:
    """What the request shows beside its token: any user name, and a password; a lease. An empty password is none."""
    given = request.authorization
    password = given.password if given is not None and given.type == "basic" else None
    return Credentials(policy.client(), password or None, request.args.get("lease", ""))


def _leased(token: str, link: str) -> Response:
    policy.check_own_page()
    lease = services().vault.open_once(token, _shown())
    response = Response(status=303)
    response.headers["Location"] = f"{link}?lease={lease}" if lease else link
    return response


@direct.errorhandler(LeaseNeeded)
def _ask_to_open(error: LeaseNeeded) -> Response:
    """A page with a button; programs are told of POST. Nothing is spent."""
    if policy.answer_kind() == "text/html":
        response = Response(render_template("once.html", left=error.left), headers=policy.FORM)
    else:
        response = failures.answer(405, "lease_needed", str(error))
        response.headers["Allow"] = "POST"
    response.headers["Vary"] = "Accept"
    return response


@direct.errorhandler(PasswordNeeded)
@direct.errorhandler(WrongPassword)
def _ask_for_password(error: PasswordNeeded | WrongPassword) -> Response:
    """401, which browsers, players and curl know how to answer: RFC 7617."""
    kind = "password_needed" if isinstance(error, PasswordNeeded) else "wrong_password"
    response = failures.answer(401, kind, str(error))
    token = str((request.view_args or {}).get("token") or (request.view_args or {}).get("link", ""))[:32]
    response.headers["WWW-Authenticate"] = f'Basic realm="onekey share {_realm(token)}", charset="UTF-8"'
    return response


def _realm(token: str) -> str:
    """A name for a share that says nothing of its link."""
    try:
        return links.blob_id(links.read_token(token))[:8]
    except BadToken:
        return ""


@direct.errorhandler(SealedOnly)
def _warn(error: SealedOnly) -> Response:
    """Its token should not have come here: the page says so, and how to go on."""
    if policy.answer_kind() != "text/html":
        return failures.answer(403, "sealed_only", str(error))
    token = _parse(request.path[1:33])[0]
    page = render_template("seen.html", link=links.sealed(policy.base_url(), token), put_back=False)
    return Response(page, status=403, headers={"Vary": "Accept"})


# What an open share answers.


def _listed(share: OpenShare) -> list[int]:
    """The positions of the files that a share shows: thumbnails are part of another."""
    return [number for number, file in enumerate(share.files) if file.role != THUMBNAIL] or [0]


def _file(share: OpenShare, number: int) -> Response:
    file, etag = share.files[number], share.etag(number)
    headers = [*policy.content(share.is_private), ("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    if streaming.not_modified(request, etag):
        share.close()
        return streaming.bare(304, headers)
    try:
        span = streaming.wanted(request, etag, file.size)
    except streaming.Unsatisfiable:
        share.close()
        return streaming.bare(416, [*headers, ("Content-Range", f"bytes */{file.size}")])
    return _stream(share, number, span, headers)


def _stream(share: OpenShare, number: int, span: tuple[int, int] | None, headers: list[tuple[str, str]]) -> Response:
    file = share.files[number]
    start, stop = span or (0, file.size)
    response = streaming.stream(request, share.read(number, start, stop), stop - start, share.close)
    if start == 0:
        _count(share)
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
    if request.method != "HEAD":
        # A first look at the first content there is: the archive's own first piece would say nothing of it.
        next((piece for number in listed for piece in share.read(number, 0, 1)), b"")
    entries = (
        zips.Entry(name, share.files[number].size, share.read(number))
        for name, number in zip(called, listed, strict=True)
    )
    response = streaming.stream(request, zips.write(entries), zips.length(sizes), share.close)
    _count(share)
    response.headers.extend(policy.content(share.is_private))
    response.headers["Content-Type"] = "application/zip"
    response.headers["Content-Disposition"] = 'attachment; filename="onekey.zip"'
    return response


def _count(share: OpenShare) -> None:
    """An open of a share without a limit: a file read from its beginning. Others are counted as they are taken."""
    if request.method == "GET" and not share.is_limited:
        services().vault.opened(share.id)


def _path(file: File) -> str:
    return "/".join(names.saved_name(part) for part in (*file.path, file.name))


def _list(share: OpenShare, token: str, listed: list[int]) -> Response:
    share.close()
    base, lease = policy.base_url(), request.args.get("lease")
    query = f"?lease={quote(lease)}" if share.is_limited and lease else ""
    files = [_described(share.files[number], f"{base}/{token}", number, query) for number in listed]
    kind = policy.answer_kind()
    if kind == "application/json":
        shown = ("name", "type", "size", "url")
        response = jsonify(
            files=[{key: file[key] for key in shown} for file in files],
            zip_url=f"{base}/{token}.zip{query}",
            expires=words.iso(share.expires),
        )
    elif kind == "text/html":
        response = Response(_list_page(share, files, f"{base}/{token}.zip{query}"))
    else:
        response = Response("".join(f"{file['url']}\n" for file in files), mimetype="text/plain")
    response.headers["Vary"] = "Accept"
    return response


def _described(file: File, link: str, number: int, query: str) -> dict[str, Any]:
    return {
        "number": number + 1,
        "name": file.name,
        "type": file.type,
        "size": file.size,
        "url": f"{link}/{number + 1}/{quote(file.name, safe='')}{query}",
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

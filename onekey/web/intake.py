"""Uploads at the direct door: from anything that speaks HTTP, sealed here as they come."""

from collections.abc import Iterator
from typing import Any, Final

from flask import Blueprint, Response, jsonify, render_template, request, url_for
from werkzeug.routing import BaseConverter

from onekey import links
from onekey.errors import BadRequest, NotFound
from onekey.uploads import Incoming, Receipt, Terms
from onekey.web import forms, names, policy, words
from onekey.web.services import services

intake = Blueprint("intake", __name__)
_NOT_IN_ADDRESS: Final = {
    "secret": "A secret does not belong in an address, where it is logged: X-Onekey-Secret is its place.",
    "password": "A password does not belong in an address, where it is logged: a form has a field for it.",
}


class AnyText(BaseConverter):
    """The rest of a path, slashes, newlines and all."""

    regex = r"[\s\S]+"
    part_isolating = False
    weight = 300  # after all that is more of an address


class _Options:
    """What an upload asks for beside its files: fields of a form, or most of them in the query of a raw upload."""

    def __init__(self, gate: policy.Gate) -> None:
        settings = services().settings
        self._gate, self.page = gate, False
        self._life = settings.default_expiry or settings.max_expiry
        self._opens: int | None = None
        self._password: str | None = None
        self._sealing = False
        for name, value in request.args.items():
            if name in _NOT_IN_ADDRESS:
                raise BadRequest(_NOT_IN_ADDRESS[name])
            self.take(name, value)

    def take(self, name: str, value: str) -> None:
        """One option. Raises BadRequest, Forbidden, TooMany."""
        if name == "secret":
            self._gate.show(value.encode())
        elif name == "expires" and value:
            self._life = policy.asked_expiry(value)
        elif name == "opens" and value:
            self._opens = policy.asked_opens(value)
        elif name == "password" and value:
            if self._sealing:
                raise BadRequest("The field password has to come before the file, which is sealed with it as it comes.")
            self._password = value
        elif name == "answer":
            self.page = value == "page"

    def password(self) -> str | None:
        """What the share is sealed with; asked when the first file begins."""
        self._sealing = True
        return self._password

    def terms(self) -> Terms:
        """Asked when all was read: the secret has come or will not."""
        self._gate.check()
        return Terms(self._life, self._opens)


@intake.post("/")
def post() -> Response:
    """A form, or a raw body without a name."""
    if request.mimetype != "multipart/form-data":
        return put()
    gate = _gate()
    options, settings = _Options(gate), services().settings
    form = forms.Form(request, max_size=settings.max_upload_size, max_files=settings.max_files, field=options.take)
    receipt = _receive(form.files(), gate, options)
    if options.page:
        return _page(receipt, needs_password=options.password() is not None)
    return _receipt(receipt, 303)


@intake.put("/")
@intake.put("/<anytext:name>")
def put(name: str | None = None) -> Response:
    """A raw body, whole or chunked, with a name or without."""
    if f"{request.path.lower()}/".startswith("/api/"):  # a part on its way to an API that is not this one, and no file
        raise NotFound()
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
    return services().uploads.receive(files, proven=lambda: gate.open, terms=options.terms, password=options.password)


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


def _page(receipt: Receipt, *, needs_password: bool) -> Response:
    told = _links(receipt)
    page = render_template(
        "uploaded.html",
        link=told["url"],
        owner_link=told["owner_url"],
        expires=words.moment(receipt.expires),
        opens=receipt.opens,
        needs_password=needs_password,
        expires_iso=told["expires"],
        files=[{"name": file.name, "size": words.size(file.size), "type": file.type} for file in receipt.files],
        count=len(receipt.files),
        size=words.size(sum(file.size for file in receipt.files)),
    )
    return Response(page, status=201, headers={"X-Onekey-Owner-URL": told["owner_url"]})

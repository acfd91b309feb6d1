"""Pages that need no JavaScript, and the small files that every site has."""

from typing import Any, Final
from urllib.parse import parse_qs

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from onekey import __version__
from onekey.errors import BadRequest
from onekey.settings import NEVER, duration
from onekey.vault import MOST_OPENS, Owned
from onekey.web import forms, policy, words
from onekey.web.services import services

_MAX_FORM: Final = 1 << 10
pages = Blueprint("pages", __name__)
_CHOICES: Final = (
    ("1h", "in 1 hour"),
    ("1d", "in 1 day"),
    ("7d", "in 7 days"),
    ("30d", "in 30 days"),
    ("365d", "in 1 year"),
)


@pages.get("/")
def start() -> AnyResponse:
    """The upload form, or where UPLOAD_REDIRECT points."""
    settings = services().settings
    if settings.upload_redirect:
        return redirect(settings.upload_redirect)
    page = render_template(
        "upload.html",
        needs_secret=bool(settings.secrets),
        max_size=words.size(settings.max_upload_size),
        max_bytes=settings.max_upload_size,
        max_files=settings.max_files,
        most_opens=MOST_OPENS,
        base_url=policy.base_url(),
        **_expiry_choices(),
    )
    return Response(page, headers=policy.FORM)


def _expiry_choices() -> dict[str, Any]:
    settings = services().settings
    default, longest = settings.default_expiry or settings.max_expiry, settings.max_expiry
    choices = {duration(value): (value, label) for value, label in _CHOICES}
    if default is not None:
        choices.setdefault(default, (str(default), f"in {words.span(default)}"))
    found = [choice for seconds, choice in sorted(choices.items()) if longest is None or seconds <= longest]
    if longest is None:
        found.append((NEVER, NEVER))
    return {"expiry_choices": found, "expiry_default": choices[default][0] if default is not None else NEVER}


@pages.get("/manage/<share>/<owner>")
def manage(share: str, owner: str) -> Response:
    """What the owner may do."""
    return _owner_page(services().vault.owned(share, owner), share, owner, confirm=False)


@pages.post("/manage/<share>/<owner>")
def change(share: str, owner: str) -> AnyResponse:
    """Change when the share expires, or how often it may be opened, whichever the form holds."""
    services().vault.owned(share, owner)
    fields = _fields()
    if "opens" in fields:
        asked = {"opens": policy.asked_opens(fields["opens"])}
    else:
        asked = {"expires_in": policy.asked_expiry(fields.get("expires", ""))}
    services().vault.change(share, owner, asked)
    return redirect(url_for("pages.manage", share=share, owner=owner), code=303)


@pages.get("/manage/<share>/<owner>/delete")
def delete(share: str, owner: str) -> Response:
    """The question before a share is deleted."""
    return _owner_page(services().vault.owned(share, owner), share, owner, confirm=True)


@pages.post("/manage/<share>/<owner>/delete")
def deleted(share: str, owner: str) -> Response:
    """Delete a share for good."""
    services().vault.delete(share, owner)
    kind = policy.answer_kind()
    if kind == "application/json":
        return jsonify(deleted=True)
    if kind == "text/html":
        return Response(render_template("deleted.html"))
    return Response("The share is deleted.\n", mimetype="text/plain")


def _fields() -> dict[str, str]:
    """The fields of one of our own small forms. Raises BadRequest and what Body does."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise BadRequest("This is not a form that can be read here.")
    sent = b"".join(forms.Body(request, _MAX_FORM))
    try:
        found = parse_qs(sent.decode(errors="replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        raise BadRequest("This form has too many fields.") from None
    return {name: values[0] for name, values in found.items()}


def _owner_page(record: Owned, share: str, owner: str, *, confirm: bool) -> Response:
    longest = services().settings.max_expiry
    page = render_template(
        "manage.html",
        size=words.size(record.size),
        created=words.moment(record.created),
        created_iso=words.iso(record.created),
        expires=words.moment(record.expires),
        expires_iso=words.iso(record.expires),
        opens=record.opens,
        opened=record.opened,
        last_opened=words.moment(record.last_opened),
        last_opened_iso=words.iso(record.last_opened),
        needs_password=record.needs_password,
        sealed_only=record.sealed_only,
        most_opens=MOST_OPENS,
        unlimited=policy.UNLIMITED,
        max_expiry=words.span(longest) if longest is not None else None,
        delete_url=url_for("pages.deleted", share=share, owner=owner),
        change_url=url_for("pages.change", share=share, owner=owner),
        confirm=confirm,
        **_expiry_choices(),
    )
    return Response(page)


@pages.get("/sharex.sxcu")
def sharex() -> Response:
    """A ready ShareX configuration for this host, with a place for the secret and never the secret."""
    base = policy.base_url()
    arguments = {"secret": "put the upload secret here"} if services().settings.secrets else {}
    response = jsonify(
        {
            "Version": "15.0.0",
            "Name": f"onekey ({base.partition('://')[2]})",
            "DestinationType": "ImageUploader, TextUploader, FileUploader",
            "RequestMethod": "POST",
            "RequestURL": f"{base}/",
            "Headers": {"Accept": "application/json"},
            "Body": "MultipartFormData",
            "Arguments": arguments,
            "FileFormName": "file",
            "URL": "{json:url}",
            "DeletionURL": "{json:delete_url}",
            "ErrorMessage": "{json:message}",
        }
    )
    response.headers["Content-Disposition"] = 'attachment; filename="onekey.sxcu"'
    return response


@pages.get("/robots.txt")
def robots() -> Response:
    """Nothing here is for search engines."""
    return Response("User-agent: *\nDisallow: /\n", mimetype="text/plain", headers={"Cache-Control": "max-age=86400"})


@pages.get("/favicon.ico")
def favicon() -> Response:
    """The mark, where browsers look for it unasked."""
    return current_app.send_static_file("favicon.ico")


@pages.get("/healthz")
def healthz() -> Response:
    """Whether this server can serve: asks the database and the disk."""
    services().vault.check()
    return jsonify(status="ok", version=__version__)

"""What holds for every request and every answer: which hosts we answer to, who may upload, and the headers."""

import hmac
import re
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Request, Response, request

from onekey.errors import BadRequest, Forbidden, WrongHost
from onekey.settings import Settings, expiry
from onekey.vault import expires_at
from onekey.web.services import services

SECRET_HEADERS: Final = ("X-Onekey-Secret", "X-Wonkey-Secret")
PAGE_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
_PORT: Final = re.compile(r":[0-9]+$")
_LOOPBACK: Final = re.compile(r"localhost|.+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\]")
_EVERYWHERE: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex"),
)
CONTENT: Final = (
    ("Content-Security-Policy", "sandbox"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Cache-Control", "private, no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
)
"""The headers of every answer that is a share's content."""
_ELSEWHERE: Final = (
    ("Content-Security-Policy", PAGE_CSP),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


def check_host() -> None:
    """Refuse a request for a host that is not ours: links would be built from it. Raises WrongHost."""
    if request.endpoint == "pages.healthz":  # asked by whoever watches the machine, by any name, and holds no link
        return
    match = _HOST.fullmatch(request.environ.get("HTTP_HOST") or request.host)
    name = match["name"].lower() if match else ""
    if name not in services().hosts and not _LOOPBACK.fullmatch(name):
        raise WrongHost(
            "This server does not go by that name. Its operator can say by which it does: in PUBLIC_URL, or further "
            "names in TRUSTED_HOSTS."
        )


def hosts(settings: Settings) -> frozenset[str]:
    """The names that PUBLIC_URL, TRUSTED_HOSTS and BIND give this server."""
    public = urlsplit(settings.public_url).netloc if settings.public_url else ""
    addresses = [public if _PORT.search(public) else f"{public}:", *settings.bind]
    named = {address.rpartition(":")[0].lower() for address in addresses}
    return frozenset(named | set(settings.trusted_hosts or ())) - {""}


def base_url() -> str:
    """Where links point: PUBLIC_URL, or what the request asked for, whose host `check_host` let through."""
    return services().settings.public_url or f"{request.scheme}://{request.host}"


def check_site() -> None:
    """Refuse an upload that a browser sends from another site, where no secret would stop it. Raises Forbidden."""
    if services().settings.upload_secret is not None:
        return
    if not _same_site(request):
        raise Forbidden("Uploads from pages of other sites are refused here.")


def _same_site(sent: Request) -> bool:
    site = sent.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = sent.headers.get("Origin")
    return origin is None or origin.partition("://")[2] in {sent.host, base_url().partition("://")[2]}


class Gate:
    """Whether an upload may be finished: opened by the secret, which may come at any time before the end."""

    def __init__(self) -> None:
        """Reads the headers. Raises Forbidden for a wrong secret there."""
        secret = services().settings.upload_secret
        self._secret = secret.encode() if secret is not None else None
        self.open = self._secret is None
        for name in SECRET_HEADERS:
            if name in request.headers:
                self.show(request.headers[name].encode("latin-1"))

    def show(self, secret: bytes) -> None:
        """Raises Forbidden for a wrong secret; any will do where none is needed."""
        if self._secret is not None and not hmac.compare_digest(secret, self._secret):
            raise Forbidden("This is not the upload secret of this server.")
        self.open = True

    def check(self) -> None:
        """Raises Forbidden where the secret has not come."""
        if not self.open:
            raise Forbidden("Uploads here need a secret: in the field secret, or in the header X-Onekey-Secret.")


def finish(response: Response) -> Response:
    """The headers of every answer; what a view set stays."""
    response.headers.extend(_EVERYWHERE)
    if "Content-Security-Policy" not in response.headers:
        for name, value in _ELSEWHERE:
            response.headers.setdefault(name, value)
        if response.mimetype == "text/html":
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if request.scheme == "https":
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


def request_id() -> str:
    """A name for this request, by which an operator finds in the log what a client saw."""
    name: str = request.environ.setdefault("onekey.request", secrets.token_hex(4))
    return name


def answer_kind() -> str:
    """What the client takes: `application/json` or `text/html` if it asks for it, else `text/plain`."""
    return request.accept_mimetypes.best_match(["text/plain", "application/json", "text/html"]) or "text/plain"


def asked_expiry(text: str) -> int | None:
    """Seconds until a share is to expire, None for never. Raises BadRequest for what cannot be or may not be here."""
    try:
        after = expiry(text)
    except ValueError as error:
        raise BadRequest(f"The field expires takes {error}.") from None
    expires_at(0, after, services().settings.max_expiry)
    return after


def not_yet(option: str) -> BadRequest:
    """The error for an option that this version does not have: never ignored, or it would be a promise broken."""
    return BadRequest(f"The option {option!r} does not work here yet: leave it out, or keep the file for later.")

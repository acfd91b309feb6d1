"""What holds for every request and every answer: which hosts we answer to, who may upload, and the headers."""

import hmac
import ipaddress
import re
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Request, Response, request

from onekey.errors import BadRequest, Forbidden, WrongHost
from onekey.settings import Settings, expiry
from onekey.vault import MOST_OPENS, expires_at
from onekey.web.services import services

UNLIMITED: Final = "unlimited"
SECRET_HEADERS: Final = ("X-Onekey-Secret", "X-Wonkey-Secret")
PAGE_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
_WITH_PORT: Final = re.compile(r"\[([^]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_PORT: Final = re.compile(r":[0-9]+$")
_LOOPBACK: Final = re.compile(r"localhost|.+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\]")
_EVERYWHERE: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex"),
)
FORM: Final = {"Referrer-Policy": "strict-origin"}
"""For pages whose form `_same_site` looks at: with no-referrer a browser says `Origin: null` of them. The Referer is
the bare origin then, and no page links to another."""
CONTENT: Final = (
    ("Content-Security-Policy", "sandbox"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Cache-Control", "private, no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
)
"""The headers of every answer that is a share's content."""
_PRIVATE: Final = ("Cache-Control", "private, no-store, no-transform")
_ELSEWHERE: Final = (
    ("Content-Security-Policy", PAGE_CSP),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


def check_host() -> None:
    """Refuse a request for a host that is not ours: links would be built from it. Raises WrongHost."""
    if request.endpoint == "pages.healthz" or may_measure():
        return  # asked by whoever watches the machine, by any name, and holds no link
    match = _HOST.fullmatch(request.environ.get("HTTP_HOST") or request.host)
    name = match["name"].lower() if match else ""
    if name not in services().hosts and not _LOOPBACK.fullmatch(name):
        raise WrongHost(
            "This server does not go by that name. Its operator can say by which it does: in PUBLIC_URL, or further "
            "names in TRUSTED_HOSTS."
        )


def may_measure() -> bool:
    """Whether the request is for /metrics and shows METRICS_TOKEN."""
    wanted = services().settings.metrics_token
    if wanted is None or request.endpoint != "metrics.show":
        return False
    kind, _, shown = request.headers.get("Authorization", "").partition(" ")
    return hmac.compare_digest(shown.strip().encode("latin-1", "replace"), wanted.encode()) and kind.lower() == "bearer"


def hosts(settings: Settings) -> frozenset[str]:
    """The names that PUBLIC_URL, TRUSTED_HOSTS and BIND give this server."""
    public = urlsplit(settings.public_url).netloc if settings.public_url else ""
    addresses = [public if _PORT.search(public) else f"{public}:", *settings.bind]
    named = {address.rpartition(":")[0].lower() for address in addresses}
    return frozenset(named | set(settings.trusted_hosts or ())) - {""}


def base_url() -> str:
    """Where links point: PUBLIC_URL, or what the request asked for, whose host `check_host` let through."""
    return services().settings.public_url or f"{request.scheme}://{request.host}"


def client() -> bytes:
    """16 bytes that stand for who asks: the address that PROXY_HOPS proxies vouch for, of IPv6 its /64."""
    address, hops = request.remote_addr or "", services().settings.proxy_hops
    told = [hop.strip() for value in request.headers.getlist("X-Forwarded-For") for hop in value.split(",")]
    if hops:  # fewer than there should be: the request came past the proxy
        address = told[-hops] if len(told) >= hops else address
    return _pseudonym("client", _network(address))


def _network(address: str) -> str:
    match = _WITH_PORT.fullmatch(address)  # as some proxies write it: else each port would be a client of its own
    try:
        found = ipaddress.ip_address((match[1] or match[2] if match else address).partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False).network_address
    return str(found)


def _pseudonym(kind: str, text: str, size: int = 16) -> bytes:
    key = services().client_key
    return hmac.digest(key, f"{kind}:{text}".encode("utf-8", "surrogateescape"), "sha256")[:size]


def check_site() -> None:
    """Refuse an upload that a browser sends from another site, where no secret would stop it. Raises Forbidden."""
    if not services().settings.secrets and not _same_site(request):
        raise Forbidden("Uploads from pages of other sites are refused here.")


def check_own_page() -> None:
    """Refuse what a browser sends from a page of another site: it would act in its reader's name. Raises Forbidden."""
    if not _same_site(request):
        raise Forbidden("A page of another site sent this. Follow the link yourself to open what it leads to.")


def _same_site(sent: Request) -> bool:
    site = sent.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = sent.headers.get("Origin")
    return origin is None or origin.partition("://")[2] in {sent.host, base_url().partition("://")[2]}


class Gate:
    """Whether an upload may be finished: opened by a secret, which may come at any time before the end."""

    def __init__(self) -> None:
        """Reads the headers. Raises Forbidden for a wrong secret there, TooMany."""
        self._secrets = services().settings.secrets
        self._label: str | None = None
        self.open = not self._secrets
        for name in SECRET_HEADERS:
            if name in request.headers:
                self.show(request.headers[name].encode("latin-1"))

    def show(self, secret: bytes) -> None:
        """Raises Forbidden for a wrong secret; any will do where none is needed. Raises TooMany after too many."""
        guess = _pseudonym("secret", secret.decode("latin-1"), 32)
        if self._secrets and not services().vault.try_secret(client(), guess, lambda: self._is_right(secret)):
            raise Forbidden("This is not an upload secret of this server.")
        self.open = True

    def _is_right(self, secret: bytes) -> bool:
        found = [label for label, text in self._secrets if hmac.compare_digest(secret, text.encode())]
        self._label = found[0] if found else self._label
        return bool(found)

    def check(self) -> None:
        """Raises Forbidden where the secret has not come."""
        if not self.open:
            raise Forbidden("Uploads here need a secret: in the field secret, or in the header X-Onekey-Secret.")

    @property
    def uploader(self) -> bytes:
        """16 bytes that stand for who uploads: by which secret, or from where."""
        return client() if self._label is None else _pseudonym("label", self._label)


def finish(response: Response) -> Response:
    """The headers of every answer; what a view set stays."""
    for name, value in _EVERYWHERE:
        response.headers.setdefault(name, value)
    if "Content-Security-Policy" not in response.headers:
        for name, value in _ELSEWHERE:
            response.headers.setdefault(name, value)
        if response.mimetype == "text/html":
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if base_url().startswith("https:"):  # also where a proxy speaks TLS for us
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


def content(is_private: bool) -> list[tuple[str, str]]:
    """The headers of content; of shares with a password or with limited opens nobody is to keep a copy."""
    return [_PRIVATE if is_private and name == "Cache-Control" else (name, value) for name, value in CONTENT]


def request_id() -> str:
    """A name for this request, by which an operator finds in the log what a client saw."""
    name: str = request.environ.setdefault("onekey.request", secrets.token_hex(4))
    return name


def answer_kind() -> str:
    """What the client takes: `application/json` or `text/html` if it asks for it, else `text/plain`."""
    if request.path.startswith("/api/"):  # which speaks nothing else
        return "application/json"
    return request.accept_mimetypes.best_match(["text/plain", "application/json", "text/html"]) or "text/plain"


def asked_expiry(text: str) -> int | None:
    """Seconds until a share is to expire, None for never. Raises BadRequest for what cannot be or may not be here."""
    try:
        after = expiry(text)
    except ValueError as error:
        raise BadRequest(f"The field expires takes {error}.") from None
    expires_at(0, after, services().settings.max_expiry)
    return after


def asked_opens(text: str) -> int | None:
    """How often a share may be opened, None for any number of times. Raises BadRequest for what cannot be."""
    if text.strip().lower() == UNLIMITED:
        return None
    if not re.fullmatch(r"\s*[0-9]{1,7}\s*", text) or not 1 <= int(text) <= MOST_OPENS:
        raise BadRequest(f"The field opens takes a whole number from 1 to {MOST_OPENS}, or {UNLIMITED}.")
    return int(text)

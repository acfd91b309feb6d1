"""The checks of what is in front of a server: asked through PUBLIC_URL, as a visitor's program would."""

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from onekey.doctor.findings import Finding, Found
from onekey.doctor.local import SKEW, about, is_loopback
from onekey.doctor.probe import Answer, Log, Unreachable, ask, invited, logged
from onekey.settings import Settings

_EXAMPLE: Final = "docs/nginx.conf shows how."
_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 (where to ask, not to bind)
_REFUSALS: Final[Mapping[int, tuple[str, str]]] = {
    400: (
        "refuses the host name that it is asked for",
        "Set PUBLIC_URL for the server too, and let the proxy pass the name on (nginx: proxy_set_header Host $host).",
    ),
    404: (
        "is another server, or one with another CONTENT_DIR",
        "Look at what PUBLIC_URL's name and port lead to, and whether this runs with the server's own settings.",
    ),
    502: (
        "is a proxy that does not reach onekey",
        "Start `onekey serve`; the proxy is to ask BIND's address (nginx: proxy_pass).",
    ),
}


class Front:
    """A server and what is in front of it. `base` is where it was asked, None where there is nobody to ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answer: Answer | None = None
        self.base = settings.public_url

    def reached(self) -> Found:
        """Whether the server answers; to be asked before the rest."""
        here = _listening(self._settings)
        if here is None:
            yield Finding("note", "Nothing listens at BIND.", "Start `onekey serve`, and ask again.")
        if self.base is None:
            yield Finding(
                "note",
                "PUBLIC_URL is not set: what is in front of the server cannot be looked at.",
                "Set PUBLIC_URL if a proxy is in front, or if others are to use it.",
            )
            self.base = here if here and here.startswith("http:") else None
        if self.base is not None:
            yield from self._asked(self.base)

    def _asked(self, base: str) -> Found:
        content = self._settings.content_dir.absolute()
        if not content.is_dir():
            yield Finding("note", f"{base} was not asked: without CONTENT_DIR it could not know by whom.")
            return
        try:
            with invited(content) as nonce:
                answer = ask(base, nonce)
        except Unreachable as error:
            yield Finding("problem", f"{base} does not answer: {error}.", "Look at the name, the port and the proxy.")
            return
        if answer.facts is None:
            yield _refused(base, answer.status)
            return
        self._answer = answer
        yield Finding("ok", f"{base} is this server.")

    def checks(self) -> Iterator[tuple[str, Found, str]]:
        """What can be told from its answer: name, findings and what to say where there are none."""
        if self._answer is None or self._answer.facts is None:
            return
        facts = self._answer.facts
        yield "clock", _same_time(self._answer), "The clock agrees with the server's."
        if self._settings.public_url is not None:
            yield "buffering", _buffered(self._answer), "Nothing in front of the server holds an answer back."
            yield "clients", _clients(facts, self._settings), "PROXY_HOPS is what the way to the server is like."
            yield "host", _host(facts, self._settings.public_url), "The server is asked by its own name."


def _listening(settings: Settings) -> str | None:
    """Where a server listens on this machine."""
    for address in settings.bind:
        host, _, port = address.rpartition(":")
        host = _EVERYWHERE.get(host, host)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except OSError:
            continue
        return f"{'https' if settings.tls_cert else 'http'}://{host}:{port}"
    return None


def _refused(base: str, status: int) -> Finding:
    if 300 <= status < 400:
        return Finding(
            "problem", f"{base} sends its visitors elsewhere ({status}).", "Set PUBLIC_URL to where it sends them."
        )
    status = 502 if status in (503, 504) else 404 if status == 200 else status
    what, do = _REFUSALS.get(status, (f"answers with {status}", "Look at what is in front of the server."))
    return Finding("problem", f"{base} {what}.", do)


def _same_time(answer: Answer) -> Found:
    ahead = round(time.time() - answer.date) if answer.date is not None else 0
    if abs(ahead) > SKEW:
        yield Finding(
            "warning",
            f"This clock is {about(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of the server in front.",
            "Set the wrong one of the two (timedatectl set-ntp true).",
        )


def _buffered(answer: Answer) -> Found:
    if answer.held:
        yield Finding(
            "problem",
            "A proxy holds answers back: it may write what is decrypted to its own disk, and downloads that break off "
            "do not look broken.",
            "nginx: proxy_buffering off, and no proxy_ignore_headers X-Accel-Buffering. Caddy: flush_interval -1. "
            + _EXAMPLE,
        )


def _clients(facts: Mapping[str, Any], settings: Settings) -> Found:
    """Whether clients are told apart, by as many entries of X-Forwarded-For as there are proxies."""
    came, hops = int(facts["forwarded"]), int(facts["proxy_hops"])
    one = "all clients look like one, so limits on guessing hit everybody"
    if hops != settings.proxy_hops:
        yield Finding(
            "note", f"The server runs with PROXY_HOPS={hops}, which is not what is set here.", "Start it again."
        )
    if came < hops:
        yield Finding(
            "problem",
            f"X-Forwarded-For arrives with {came} of {hops} addresses: clients can choose theirs.",
            f"Set PROXY_HOPS={came}, or let every proxy add its client's address.",
        )
    elif came > hops:
        yield Finding(
            "warning",
            f"X-Forwarded-For arrives with {came}, and PROXY_HOPS is {hops}: {one}.",
            f"Set PROXY_HOPS={came}.",
        )
    elif not came and _is_proxied(facts, settings):
        yield Finding(
            "note",
            f"A proxy does not say for whom it asks: {one}.",
            "nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for. Then set PROXY_HOPS=1.",
        )
    if came and facts["loopback"] and not all(is_loopback(bind.rpartition(":")[0]) for bind in settings.bind):
        yield Finding(
            "note",
            "The proxy is on this machine, and BIND is open to others, who need not ask the proxy.",
            "Set BIND to 127.0.0.1:8000.",
        )


def _is_proxied(facts: Mapping[str, Any], settings: Settings) -> bool:
    return bool(facts["proto"]) or urlsplit(settings.public_url or "").scheme != facts["scheme"]


def _host(facts: Mapping[str, Any], public_url: str) -> Found:
    asked, name = urlsplit(f"//{facts['host']}").hostname, urlsplit(public_url).hostname
    if asked != name:
        yield Finding(
            "note",
            f"The proxy asks the server for {asked!r}, where visitors ask for {name!r}.",
            "nginx: proxy_set_header Host $host.",
        )


def logs_of(base: str | None, paths: Sequence[Path]) -> Found:
    """Whether logs keep links, which are keys: asks for one that never was, and looks for it."""
    opened = []
    for path in paths:
        try:
            opened.append(Log(path))
        except OSError as error:
            yield Finding("warning", f"{path} cannot be read: {error.strerror}.", "Run this as who may read it.")
    if base is None:
        yield Finding("warning", "No log was looked at: there is no server to ask.", "Start `onekey serve`.")
        return
    try:
        found = logged(base, opened)
    except Unreachable as error:
        yield Finding("warning", f"No log was looked at: {base} does not answer ({error}).", "See above.")
        return
    for log in opened:
        yield _kept(log.path) if log.path in found else _not_kept(log.path)


def _kept(path: Path) -> Finding:
    return Finding(
        "problem",
        f"{path} holds links, and a link is a key.",
        "nginx: access_log off, or a log_format without $request, $uri and $args. Caddy: no log, or a filter that "
        f"deletes request>uri. Then remove what was logged. {_EXAMPLE}",
    )


def _not_kept(path: Path) -> Finding:
    return Finding("ok", f"{path}: the link that was asked for is not in it, after 3 s.")

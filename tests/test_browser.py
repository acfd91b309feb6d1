"""The pages in a real browser, with JavaScript and without: Chromium, driven by Playwright."""

import re
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    FilePayload,
    Page,
    Response,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.conftest import needs
from tests.sealing import HttpDoor, seal, store
from tests.servers import Server

NEIGHBOUR = "files.lan"
"""A name that is not loopback's: browsers trust it less without TLS."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    f"--host-resolver-rules=MAP {NEIGHBOUR} 127.0.0.1",
]
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1280, "height": 800}
SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])


def _png() -> bytes:
    """A picture of 3 by 2 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 3, 2, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\xff\0\0" * 3) * 2
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE = _png()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    needs("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield running
        running.close()


class Tab:
    """A fresh page, and what went wrong on it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.icon = page, f"{base}/favicon.ico"
        self.wrong: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium counts as errors that a page has an error's status, and that content in its sandbox gets no icon.
        where, failed = message.location.get("url", ""), message.text.startswith("Failed to load resource")
        if message.type in {"error", "warning"} and not (failed and where in {self.page.url, self.icon}):
            self.wrong.append(f"{message.type}: {message.text} ({where})")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.wrong.append(f"{response.status} for {response.url}")


@pytest.fixture
def open_tab(browser: Browser, server: Server) -> Iterator[Callable[..., Tab]]:
    """Opens tabs on the shared server; whatever goes wrong in one of them fails the test in the end."""
    with _tabs(browser, server.url) as opener:
        yield opener


@contextmanager
def _tabs(browser: Browser, base: str) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def opener(*, scripts: bool = True, viewport: ViewportSize = DESK, **more: Any) -> Tab:
        context = browser.new_context(base_url=base, java_script_enabled=scripts, viewport=viewport, **more)
        tabs.append(Tab(context.new_page(), base))
        return tabs[-1]

    yield opener
    for tab in tabs:
        tab.page.context.close()
    assert [wrong for tab in tabs for wrong in tab.wrong] == []


def choose(page: Page, *files: tuple[str, str, bytes]) -> None:
    """Choose files in the form: their names, types and content."""
    page.set_input_files("#file", [FilePayload(name=name, mimeType=media, buffer=data) for name, media, data in files])


def upload(page: Page, *files: tuple[str, str, bytes], **fields: str) -> None:
    """Upload by the form, as a person does it."""
    page.goto("/")
    choose(page, *files)
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your share is ready")


def share(server: Server, *files: tuple[str, str, bytes], **fields: str) -> dict[str, str]:
    """Upload as a program does it, with fields before the files; gives the links."""
    with requests.Session() as session:
        session.trust_env = False
        sent = [("file", (name, data, media)) for name, media, data in files]
        told = session.post(server.url, data=fields, files=sent, headers={"Accept": "application/json"}).json()
    assert isinstance(told, dict)
    return told


def fetch(link: str) -> bytes:
    """What a program gets under a link."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(link)
    return answer.content if answer.status_code == 200 else b""


@SCRIPTS
def test_a_file_goes_up_by_the_form(open_tab: Callable[..., Tab], scripts: bool) -> None:
    page = open_tab(scripts=scripts).page
    upload(page, ("pïcture.png", "image/png", PICTURE))
    link = page.locator("#link").input_value()
    assert re.search(r"/[A-Za-z0-9_-]{32}\.png$", link)
    assert fetch(link) == PICTURE


@SCRIPTS
def test_several_files_become_a_list(open_tab: Callable[..., Tab], scripts: bool) -> None:
    page = open_tab(scripts=scripts).page
    upload(page, ("a.png", "image/png", PICTURE), ("b.txt", "text/plain", b"text"))
    page.goto(page.locator("#link").input_value())
    expect(page.get_by_role("heading", level=1)).to_have_text("2 files")
    expect(page.locator(".files li")).to_have_count(2)


@SCRIPTS
def test_the_chosen_expiry_goes_with_it(open_tab: Callable[..., Tab], scripts: bool) -> None:
    page = open_tab(scripts=scripts).page
    page.goto("/")
    page.select_option("#expires", "7d")
    choose(page, ("a", "text/plain", b"x"))
    page.get_by_role("button", name="Share").click()
    expect(page.locator(".lede")).to_contain_text(re.compile(r"expires 20\d\d-\d\d-\d\d \d\d:\d\d UTC"))


def test_the_secret_goes_with_it(browser: Browser, make_server: Callable[..., Server]) -> None:
    with _tabs(browser, make_server(UPLOAD_SECRET="open sesame").url) as opener:
        page = opener().page
        page.goto("/")
        page.fill("#secret", "open sesame")
        choose(page, ("a", "text/plain", b"x"))
        page.get_by_role("button", name="Share").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your share is ready")


def test_a_wrong_secret_is_told_on_a_page(browser: Browser, make_server: Callable[..., Server]) -> None:
    with _tabs(browser, make_server(UPLOAD_SECRET="open sesame").url) as opener:
        page = opener().page
        page.goto("/")
        page.fill("#secret", "wrong")
        choose(page, ("a", "text/plain", b"x"))
        page.get_by_role("button", name="Share").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Forbidden")


def test_chosen_files_are_listed_before_they_are_sent(open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    page.goto("/")
    choose(page, ("<b>.bin", "a/b", bytes(1536)))
    expect(page.locator("#chosen li")).to_have_text(["<b>.bin1.5 KiB"])
    expect(page.locator("#status")).to_have_text("1 file, 1.5 KiB in all.")


def test_what_is_too_large_is_not_even_sent(browser: Browser, make_server: Callable[..., Server]) -> None:
    with _tabs(browser, make_server(MAX_UPLOAD_SIZE="1 KiB").url) as opener:
        page = opener().page
        page.goto("/")
        choose(page, ("a", "a/b", bytes(2048)))
        page.get_by_role("button", name="Share").click()
        expect(page.locator("#status")).to_have_text("This is 2.0 KiB; a share holds at most 1 KiB.")
        expect(page.get_by_role("heading", level=1)).to_have_text("Share files")


@pytest.mark.parametrize("field", ["link", "owner-link"])
def test_the_copy_button_copies(open_tab: Callable[..., Tab], field: str) -> None:
    page = open_tab(permissions=["clipboard-read", "clipboard-write"]).page
    upload(page, ("a.txt", "text/plain", b"text"))
    button = page.locator(f"button[data-copy={field}]")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(f"#{field}").input_value()


def test_without_scripts_there_is_no_copy_button(open_tab: Callable[..., Tab]) -> None:
    page = open_tab(scripts=False).page
    upload(page, ("a.txt", "text/plain", b"text"))
    expect(page.locator("#link")).to_be_visible()
    expect(page.locator("button:visible")).to_have_count(0)


@SCRIPTS
def test_the_owner_link_deletes(open_tab: Callable[..., Tab], scripts: bool) -> None:
    page = open_tab(scripts=scripts).page
    upload(page, ("a.txt", "text/plain", b"text"))
    link = page.locator("#link").input_value()
    page.goto(page.locator("#owner-link").input_value())
    assert fetch(link) == b"text"
    page.get_by_role("button", name="Delete for ever").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The share is deleted")
    assert fetch(link) == b""


@SCRIPTS
def test_the_owner_link_changes_when_it_expires(open_tab: Callable[..., Tab], scripts: bool) -> None:
    page = open_tab(scripts=scripts).page
    upload(page, ("a.txt", "text/plain", b"text"))
    page.goto(page.locator("#owner-link").input_value())
    expect(page.locator(".facts")).to_contain_text("never")
    page.select_option("#expires", "1d")
    page.locator("form", has=page.locator("#expires")).get_by_role("button", name="Change").click()
    expect(page.locator(".facts")).not_to_contain_text("never")


@SCRIPTS
def test_the_owner_link_changes_how_often_it_opens(open_tab: Callable[..., Tab], server: Server, scripts: bool) -> None:
    told = share(server, ("a.txt", "text/plain", b"text"), opens="2")
    page = open_tab(scripts=scripts).page
    page.goto(told["owner_url"])
    expect(page.locator(".facts")).to_contain_text("0 of 2 times")
    page.fill("#opens", "5")
    page.locator("form", has=page.locator("#opens")).get_by_role("button", name="Change").click()
    expect(page.locator(".facts")).to_contain_text("0 of 5 times")
    page.get_by_role("button", name="Allow any number of times").click()
    expect(page.locator(".facts")).to_contain_text("not yet")
    assert fetch(told["url"]) == b"text"


def test_the_browser_itself_refuses_a_limit_below_what_was_used(open_tab: Callable[..., Tab], server: Server) -> None:
    told = share(server, ("a.txt", "text/plain", b"text"), opens="5")
    for _ in range(3):
        assert requests.post(told["url"], timeout=60).content == b"text"
    page = open_tab().page
    page.goto(told["owner_url"])
    page.fill("#opens", "2")
    page.locator("form", has=page.locator("#opens")).get_by_role("button", name="Change").click()
    assert page.locator("#opens").evaluate("field => field.validity.rangeUnderflow")
    expect(page.locator(".facts")).to_contain_text("3 of 5 times")


@SCRIPTS
@pytest.mark.parametrize(("viewport", "scheme"), [(PHONE, "dark"), (DESK, "light")], ids=["phone", "desk"])
def test_a_link_with_a_password_that_opens_once_goes_up_by_the_form_and_opens_once(
    open_tab: Callable[..., Tab], scripts: bool, scheme: str, viewport: ViewportSize
) -> None:
    page = open_tab(scripts=scripts, color_scheme=scheme, viewport=viewport).page
    page.goto("/")
    choose(page, ("a.txt", "text/plain", b"for one reader"))
    page.fill("#password", "pässwörd")
    page.fill("#opens", "1")
    page.get_by_role("button", name="Share").click()
    expect(page.locator(".lede")).to_contain_text("opens once, needs its password")
    link = page.locator("#link").input_value()

    credentials = {"username": "", "password": "pässwörd"}
    reader = open_tab(scripts=scripts, color_scheme=scheme, viewport=viewport, http_credentials=credentials)
    for _ in range(2):  # to look at the page and to load it again spends nothing
        reader.page.goto(link)
    expect(reader.page.get_by_role("heading", level=1)).to_have_text("This share opens once")
    reader.page.get_by_role("button", name="Open it now").click()
    reader.page.wait_for_url("**/*.txt?lease=*")
    assert reader.page.inner_text("body") == "for one reader"
    reader.page.reload()
    assert reader.page.inner_text("body") == "for one reader"
    reader.page.goto(link)
    expect(reader.page.get_by_role("heading", level=1)).to_have_text("Not Found")
    reader.wrong = [wrong for wrong in reader.wrong if "401 (Unauthorized)" not in wrong]


def test_several_files_behind_a_button_open_one_by_one(open_tab: Callable[..., Tab], server: Server) -> None:
    told = share(server, ("a.txt", "text/plain", b"one"), ("b.txt", "text/plain", b"two"), opens="1")
    page = open_tab().page
    page.goto(told["url"])
    page.get_by_role("button", name="Open it now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 files")
    page.get_by_role("link", name="Open b.txt").click()
    page.wait_for_url("**/2/b.txt?lease=*")
    assert page.inner_text("body") == "two"


def test_a_picture_with_limited_opens_is_not_spent_by_a_page_that_shows_it(
    open_tab: Callable[..., Tab], server: Server
) -> None:
    tab, told = open_tab(), share(server, ("a.png", "image/png", PICTURE), opens="1")
    with another_site(f'<link rel="icon" href="data:,"><img src="{told["url"]}">') as site:
        tab.page.goto(site)
        tab.page.wait_for_load_state("load")
    assert ["Failed to load resource" in wrong for wrong in tab.wrong] == [True]
    tab.wrong.clear()
    tab.page.goto(told["owner_url"])
    expect(tab.page.locator(".facts")).to_contain_text("0 of 1 time")


def test_a_link_whose_hash_was_changed_gets_it_back(open_tab: Callable[..., Tab], server: Server) -> None:
    page = open_tab().page
    page.goto(f"/%23{'x' * 32}")
    expect(page.locator("#link")).to_have_value(f"{server.url}/#{'x' * 32}")
    expect(page.get_by_role("button", name="Copy sealed link")).to_be_visible()


def test_on_a_name_of_the_neighbourhood_without_tls_forms_work_too(
    browser: Browser, make_server: Callable[..., Server]
) -> None:
    server = make_server(TRUSTED_HOSTS=NEIGHBOUR)
    with _tabs(browser, f"http://{NEIGHBOUR}:{server.port}") as opener:
        tab = opener()
        page = tab.page
        upload(page, ("a.txt", "text/plain", b"hello"), opens="1")
        page.goto(page.input_value("#link"))
        page.get_by_role("button", name="Open it now").click()
        expect(page.locator("body")).to_have_text("hello")
        assert all("Cross-Origin-Opener-Policy" in wrong for wrong in tab.wrong)  # it means nothing without TLS
        tab.wrong.clear()


def test_a_picture_is_shown(open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    upload(page, ("a.png", "image/png", PICTURE))
    page.get_by_role("link", name="Open").click()
    page.wait_for_url("**/*.png")
    assert page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == [3, 2]


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """A site of somebody else, of one page; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode() if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://localhost:{site.server_port}/"
        site.shutdown()
        thread.join()


def test_a_picture_is_shown_on_pages_of_other_sites(open_tab: Callable[..., Tab], server: Server) -> None:
    page = open_tab().page
    link = share(server, ("a.png", "image/png", PICTURE))["url"]
    with another_site(f'<link rel="icon" href="data:,"><img src="{link}">') as site:
        page.goto(site)
        expect(page.locator("img")).to_have_js_property("naturalWidth", 3)


def test_scripts_of_other_sites_cannot_read_it(open_tab: Callable[..., Tab], server: Server) -> None:
    tab = open_tab()
    link = share(server, ("a.png", "image/png", PICTURE))["url"]
    with another_site('<link rel="icon" href="data:,">') as site:
        tab.page.goto(site)
        read = tab.page.evaluate("link => fetch(link).then(() => 'read', () => 'refused')", link)
    assert read == "refused"
    assert any("CORS policy" in wrong for wrong in tab.wrong)
    tab.wrong.clear()


@pytest.mark.parametrize(
    ("name", "media"), [("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.xhtml", "application/xhtml+xml")]
)
def test_what_could_run_is_saved_and_not_shown(open_tab: Callable[..., Tab], name: str, media: str) -> None:
    page = open_tab().page
    upload(page, (name, media, b"<script>alert(1)</script>"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Open").click()
    assert download.value.suggested_filename == name
    assert Path(download.value.path()).read_bytes() == b"<script>alert(1)</script>"


def test_text_that_looks_like_a_page_is_text(open_tab: Callable[..., Tab]) -> None:
    page = open_tab().page
    upload(page, ("a.txt", "text/plain", b"<b>bold</b><script>document.title = 'ran'</script>"))
    page.get_by_role("link", name="Open").click()
    page.wait_for_url("**/*.txt")
    assert "<b>bold</b>" in page.inner_text("body")
    assert page.title() != "ran"


LONG = "a-very-long-name-without-any-place-to-break-it-" * 5
NAMES = [f"{LONG}.png", "\u202egpj.exe", "<img src=x onerror=alert(1)>.txt", "\u0e4a" * 70 + ".txt", "два слова.png"]


def visit(page: Page, server: Server, where: str) -> None:
    """Go to a page of a share of files with troublesome names, or to another."""
    files = [(name, "image/png", PICTURE) for name in NAMES]
    if where == "answer":
        upload(page, *files)
    elif where in {"url", "owner_url", "delete_url"}:
        page.goto(share(server, *files)[where])
    elif where == "once":
        page.goto(share(server, *files, opens="1")["url"])
    elif where == "limited":
        told = share(server, *files, opens="1000000")
        assert requests.post(told["url"], timeout=60).status_code == 200
        page.goto(told["owner_url"])
    elif where == "protected":
        upload(page, *files, password="p", opens="1")
    elif where == "sealed only":
        page.goto(f"/{store(HttpDoor(server.url), seal(sealed_only=True)).token}")
    elif where == "deleted":
        page.goto(share(server, *files)["owner_url"])
        page.get_by_role("button", name="Delete for ever").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The share is deleted")
    else:
        page.goto(where)


SEEN = f"/%23{'x' * 32}"
LIMITED = ["once", "limited", "protected", "sealed only", SEEN]
EVERYWHERE = pytest.mark.parametrize(
    "where", ["/", "answer", "url", "owner_url", "delete_url", "deleted", "/nothing", *LIMITED]
)


@EVERYWHERE
def test_on_a_phone_nothing_has_to_be_moved_sideways(open_tab: Callable[..., Tab], server: Server, where: str) -> None:
    page = open_tab(viewport=PHONE).page
    visit(page, server, where)
    for details in page.locator("details:not([open]) summary").all():
        details.click()
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]") == [360, 360]


@pytest.mark.parametrize("where", ["/", "delete_url", "once", SEEN])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_background(
    open_tab: Callable[..., Tab], server: Server, where: str, scheme: str
) -> None:
    page = open_tab(color_scheme=scheme).page
    visit(page, server, where)
    luminance = """() => ['color', 'backgroundColor'].map(name => {
        const [r, g, b] = getComputedStyle(document.body)[name].match(/[0-9.]+/g).map(value => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    })"""
    text, background = page.evaluate(luminance)
    assert (text < background) is (scheme == "light")
    assert (max(text, background) + 0.05) / (min(text, background) + 0.05) >= 7


@SCRIPTS
@EVERYWHERE
def test_no_page_breaks_its_own_rules(open_tab: Callable[..., Tab], server: Server, where: str, scripts: bool) -> None:
    tab = open_tab(scripts=scripts)
    visit(tab.page, server, where)
    tab.page.wait_for_load_state("load")
    assert tab.wrong == []

"""Settings: what each variable takes and refuses, which source wins, and that every document names the same ones."""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onekey.errors import BadSetting
from onekey.settings import VARIABLES, Settings, duration, from_environment, load, size
from tests.servers import ROOT

DAY = 86_400
KIB, MIB, GIB, TIB = (1 << 10 * power for power in (1, 2, 3, 4))
NOT_SIZES = ["x", "-1", "1.5", "1 XB", "0x10", "1 GiB 2", "1e3", "MiB", "1" * 16]
NOT_DURATIONS = ["0", "-1", "1.5h", "1y", "h", "1h30m", "36501d", "1" * 13, "soon"]
NOT_COUNTS = ["0", "-1", "1.5", "x", "1 2", "1" * 10]

GOOD: Mapping[str, list[tuple[str, Any]]] = {
    "BIND": [
        ("127.0.0.1:80", ("127.0.0.1:80",)),
        (":9000", (":9000",)),
        ("[::1]:8000", ("[::1]:8000",)),
        ("localhost:0", ("localhost:0",)),
        ("0.0.0.0:65535", ("0.0.0.0:65535",)),
        (" 127.0.0.1:1 , [::1]:2,", ("127.0.0.1:1", "[::1]:2")),
    ],
    "PUBLIC_URL": [
        ("https://files.example.org", "https://files.example.org"),
        ("https://files.example.org/", "https://files.example.org"),
        (" http://localhost:8000 ", "http://localhost:8000"),
        ("HTTPS://Files.Example.ORG", "https://files.example.org"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://host:65535", "https://host:65535"),
    ],
    "TRUSTED_HOSTS": [
        ("files.example.org", ("files.example.org",)),
        ("A.example, b.example ,", ("a.example", "b.example")),
        ("[2001:DB8::1]", ("[2001:db8::1]",)),
    ],
    "CONTENT_DIR": [("/srv/onekey", Path("/srv/onekey")), ("with space", Path("with space")), ("~", Path.home())],
    "CHUNK_SIZE": [
        ("4096", 4096),
        ("4194304", 4_194_304),
        ("1 MiB", MIB),
        ("64k", 64 * KIB),
    ],
    "UPLOAD_SECRET": [("x", "x"), ("a b", "a b"), ("gehéim 🗝", "gehéim 🗝"), ("x" * 1024, "x" * 1024)],
    "UPLOAD_REDIRECT": [
        ("https://example.org/", "https://example.org/"),
        (" https://example.org/a?b=c#d ", "https://example.org/a?b=c#d"),
    ],
    "MAX_UPLOAD_SIZE": [
        ("0", 0),
        ("1", 1),
        ("1048576", MIB),
        ("10 b", 10),
        ("1k", KIB),
        ("1 K", KIB),
        ("1KiB", KIB),
        ("1 KB", 1000),
        ("500 mb", 500_000_000),
        ("2m", 2 * MIB),
        ("4 GiB", 4 * GIB),
        ("4gb", 4_000_000_000),
        ("1TiB", TIB),
        ("1 TB", 10**12),
        (" 7 ", 7),
    ],
    "MAX_FILES": [("1", 1), ("10000", 10_000), (" 7 ", 7)],
    "DEFAULT_EXPIRY": [("never", None), ("NEVER", None), ("7d", 7 * DAY), ("1", 1)],
    "MAX_EXPIRY": [("never", None), (" Never ", None), ("30d", 30 * DAY), ("90", 90)],
    "MIN_FREE_SPACE": [("0", 0), ("512 MiB", 512 * MIB)],
    "MAX_STORED_BYTES": [("0", 0), ("2 TiB", 2 * TIB)],
    "LEASE_TIME": [("1", 1), ("30m", 1800), ("1d", DAY)],
    "SWEEP_INTERVAL": [("1", 1), ("90s", 90), ("10m", 600), ("2H", 7200), ("1 d", DAY), ("1w", 7 * DAY)],
    "WORKERS": [("1", 1), ("256", 256)],
    "THREADS": [("1", 1), ("1000", 1000)],
    "STALL_TIME": [("1s", 1), ("5m", 300)],
    "STOP_TIME": [("1s", 1), ("36500d", 36_500 * DAY)],
    "PROXY_HOPS": [("0", 0), ("2", 2)],
    "UPLOAD_SECRETS": [
        ("phone:geheim", (("phone", "geheim"),)),
        (" phone:a b:c , laptop-2:ü,", (("phone", "a b:c"), ("laptop-2", "ü"))),
    ],
    "METRICS_TOKEN": [("geheim", "geheim")],
}
BAD: Mapping[str, list[str]] = {
    "BIND": ["8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "::1:8000", "a b:1", ",", "1:2, 3"],
    "PUBLIC_URL": [
        "files.example.org",
        "ftp://files.example.org",
        "https://",
        "https://files.example.org/path",
        "https://files.example.org?a=b",
        "https://files.example.org#a",
        "https://user@files.example.org",
        "https://user:password@files.example.org",
        "https://a b",
        "https://fïles.example.org",
        "https://host:65536",
        "https://host:x",
        "https://[::1",
        "https://a\u2100b",
        "javascript:alert(1)",
    ],
    "TRUSTED_HOSTS": ["a b", "https://a", "a:80", "a/b", "ä.example", "[::1", "a, b c"],
    "TLS_CERT": ["/does/not/exist", "/", "\0", "~nobody-has-this-name/cert.pem"],
    "TLS_KEY": ["/does/not/exist", "/", "\0", "~nobody-has-this-name/key.pem"],
    "CONTENT_DIR": ["a\0b", "~nobody-has-this-name/content"],
    "CHUNK_SIZE": ["4095", "4097", "2048", "8388608", "0", "300000", "1 MB", *NOT_SIZES],
    "UPLOAD_SECRET": [
        "geheim\n",
        " geheim",
        "geheim ",
        "ge\theim",
        "geheim" * 200,
        "é" * 513,
        "geheim\udcff",
        "geheim\0",
    ],
    "UPLOAD_REDIRECT": [
        "example.org",
        "/path",
        "ftp://example.org/",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://example.org/a b",
        "https://example.org/\r\nSet-Cookie: a",
        "https://example.org/ü",
        "https://[::1",
    ],
    "MAX_UPLOAD_SIZE": NOT_SIZES,
    "MAX_FILES": ["10001", *NOT_COUNTS],
    "DEFAULT_EXPIRY": ["ever", *NOT_DURATIONS],
    "MAX_EXPIRY": ["none", *NOT_DURATIONS],
    "MIN_FREE_SPACE": NOT_SIZES,
    "MAX_STORED_BYTES": NOT_SIZES,
    "LEASE_TIME": ["never", "25h", "2d", *NOT_DURATIONS],
    "SWEEP_INTERVAL": ["never", *NOT_DURATIONS],
    "WORKERS": ["257", *NOT_COUNTS],
    "THREADS": ["1001", *NOT_COUNTS],
    "STALL_TIME": ["never", *NOT_DURATIONS],
    "STOP_TIME": ["never", *NOT_DURATIONS],
    "PROXY_HOPS": ["-1", "10", "1.5", "one"],
    "UPLOAD_SECRETS": [
        "geheim",
        ":geheim",
        "phone:",
        "my phone:geheim",
        "phone:geheim,phone:other",
        "phone:geheim,laptop",
        "phone: geheim",
        "phone:geheim\n",
        f"phone:{'geheim' * 200}",
    ],
    "METRICS_TOKEN": ["geheim\n", " geheim", "geheim" * 200],
}
SECRETS = [name for name, variable in VARIABLES.items() if variable.is_secret]
DEFAULTS: Mapping[str, Any] = {
    "bind": ("127.0.0.1:8000",),
    "public_url": None,
    "trusted_hosts": None,
    "proxy_hops": 0,
    "tls_cert": None,
    "tls_key": None,
    "content_dir": Path("content"),
    "chunk_size": 262_144,
    "upload_secret": None,
    "upload_secrets": None,
    "upload_redirect": None,
    "max_upload_size": 4 * GIB,
    "max_files": 1000,
    "default_expiry": None,
    "max_expiry": None,
    "min_free_space": GIB,
    "max_stored_bytes": None,
    "lease_time": 3600,
    "sweep_interval": 600,
    "workers": 2,
    "threads": 64,
    "stall_time": 60,
    "stop_time": 60,
    "metrics_token": None,
}


def pairs(table: Mapping[str, list[Any]]) -> list[Any]:
    """Each variable with each of its values, as parameters of a test."""
    found = [(name, value) for name, values in table.items() for value in values]
    return [pytest.param(*pair, id=ascii(pair)[:60]) for pair in found]


def refusal(environ: Mapping[str, str]) -> str:
    """What is said of settings that are refused."""
    with pytest.raises(BadSetting) as caught:
        Settings.read(environ)
    return str(caught.value)


class TestValues:
    """What each variable takes and refuses."""

    def test_every_variable_is_tried(self) -> None:
        assert set(GOOD) | {"TLS_CERT", "TLS_KEY"} == set(BAD) == set(VARIABLES)

    @pytest.mark.parametrize(("name", "case"), pairs(GOOD))
    def test_a_good_value_is_read(self, name: str, case: tuple[str, Any]) -> None:
        text, value = case
        assert getattr(Settings.read({name: text}), name.lower()) == value

    @pytest.mark.parametrize(("name", "text"), pairs(BAD))
    def test_a_bad_value_is_refused_by_its_name(self, name: str, text: str) -> None:
        assert refusal({name: text}).startswith(f"{name} cannot be ")

    @pytest.mark.parametrize(("name", "text"), [case for case in pairs(BAD) if case.values[0] not in SECRETS])
    def test_the_refusal_shows_the_value(self, name: str, text: str) -> None:
        assert f" {text!r}: " in refusal({name: text})

    @pytest.mark.parametrize(("name", "text"), pairs(BAD))
    def test_the_refusal_says_what_would_do(self, name: str, text: str) -> None:
        would_do = refusal({name: text}).partition(": what would do is ")[2]
        assert re.match(r"(a|an|addresses|host names|secrets|up to 1024 bytes)\b", would_do)

    @pytest.mark.parametrize(("name", "text"), pairs({name: BAD[name] for name in SECRETS}))
    def test_the_refusal_of_a_secret_does_not_show_it(self, name: str, text: str) -> None:
        said = refusal({name: text})
        assert [part for part in ("geheim", "heim", "é", "udcff", "\udcff") if part in said] == []

    @pytest.mark.parametrize(("name", "text"), pairs(BAD))
    def test_the_refusal_is_one_sentence_that_can_be_printed(self, name: str, text: str) -> None:
        said = refusal({name: text})
        assert (said[-1], said.isprintable()) == (".", True)

    @pytest.mark.parametrize(("name", "text"), pairs(BAD))
    def test_no_other_error_is_behind_a_refusal(self, name: str, text: str) -> None:
        with pytest.raises(BadSetting) as caught:
            Settings.read({name: text})
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


class TestTogether:
    """Settings that only make sense with others."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, str]:
        """A certificate and its key, as far as settings look at them."""
        (tmp_path / "cert.pem").touch()
        (tmp_path / "key.pem").touch()
        return {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")}

    def test_certificate_and_key_go_together(self, files: dict[str, str]) -> None:
        found = Settings.read(files)
        assert (str(found.tls_cert), str(found.tls_key)) == (files["TLS_CERT"], files["TLS_KEY"])

    @pytest.mark.parametrize("alone", ["TLS_CERT", "TLS_KEY"])
    def test_one_without_the_other_is_refused(self, files: dict[str, str], alone: str) -> None:
        said = refusal({alone: files[alone]})
        assert "TLS_CERT" in said
        assert "TLS_KEY" in said

    @pytest.mark.parametrize(("default", "longest"), [("7d", "7d"), ("1", "7d"), ("never", "7d"), ("7d", "never")])
    def test_a_default_expiry_within_the_longest_is_taken(self, default: str, longest: str) -> None:
        Settings.read({"DEFAULT_EXPIRY": default, "MAX_EXPIRY": longest})

    def test_a_default_expiry_beyond_the_longest_is_refused(self) -> None:
        said = refusal({"DEFAULT_EXPIRY": "8d", "MAX_EXPIRY": "7d"})
        assert [text for text in ("DEFAULT_EXPIRY", "691200", "MAX_EXPIRY", "604800") if text not in said] == []


class TestDefaults:
    """With nothing set, it works."""

    def test_nothing_set_gives_the_defaults(self) -> None:
        assert dataclasses.asdict(Settings.read({})) == DEFAULTS

    @pytest.mark.parametrize("name", VARIABLES)
    def test_an_empty_variable_counts_as_not_set(self, name: str) -> None:
        assert Settings.read({name: ""}) == Settings.read({})

    def test_other_variables_are_no_matter(self) -> None:
        assert Settings.read({"PATH": "/bin", "bind": ":1", "BIND_": ":1"}) == Settings.read({})

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Settings.read({}).workers = 3  # type: ignore[misc]

    @pytest.mark.parametrize("show", [repr, str, "{}".format], ids=["repr", "str", "format"])
    def test_the_secret_is_not_shown(self, show: Any) -> None:
        secrets = {"UPLOAD_SECRET": "geheim", "UPLOAD_SECRETS": "phone:geheim", "METRICS_TOKEN": "geheim"}
        assert "geheim" not in show(Settings.read(secrets))


class TestFile:
    """A file of settings, and the environment, which wins."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Where a test writes its settings."""
        return tmp_path / "onekey.env"

    def test_it_is_read(self, file: Path) -> None:
        file.write_text("BIND=:1\nWORKERS=3\n")
        found = load({}, file)
        assert (found.bind, found.workers) == ((":1",), 3)

    @pytest.mark.parametrize(
        "text",
        [
            "UPLOAD_SECRET=a b",
            "UPLOAD_SECRET = a b",
            "  UPLOAD_SECRET=a b  ",
            "UPLOAD_SECRET='a b'",
            'UPLOAD_SECRET="a b"',
            "export UPLOAD_SECRET=a b",
            "UPLOAD_SECRET=a b # a comment",
            "# UPLOAD_SECRET=c\n\n\nUPLOAD_SECRET=a b\n",
            "UPLOAD_SECRET=a b\r\nWORKERS=2\r\n",
        ],
    )
    def test_in_the_ways_in_which_such_files_are_written(self, file: Path, text: str) -> None:
        file.write_bytes(text.encode())
        assert load({}, file).upload_secret == "a b"

    @pytest.mark.parametrize("secret", ["$HOME", "${HOME}", "a$b", "a#b", "a=b", "gehéim", "a\\nb"])
    def test_a_value_is_taken_as_it_is_written(self, file: Path, secret: str) -> None:
        file.write_bytes(f"UPLOAD_SECRET={secret}\n".encode())
        assert load({}, file).upload_secret == secret

    def test_a_byte_order_mark_is_no_part_of_a_name(self, file: Path) -> None:
        file.write_bytes(b"\xef\xbb\xbfWORKERS=3\n")
        assert load({}, file).workers == 3

    def test_the_environment_wins(self, file: Path) -> None:
        file.write_text("BIND=:1\nWORKERS=3\n")
        found = load({"BIND": ":2"}, file)
        assert (found.bind, found.workers) == ((":2",), 3)

    def test_what_the_file_says_badly_is_no_matter_where_the_environment_wins(self, file: Path) -> None:
        file.write_text("WORKERS=many\n")
        assert load({"WORKERS": "3"}, file).workers == 3

    @pytest.mark.parametrize("text", ["UPLOAD_SECRET=", "UPLOAD_SECRET", ""])
    def test_an_empty_line_counts_as_not_set(self, file: Path, text: str) -> None:
        file.write_text(text)
        assert load({}, file).upload_secret is None

    def test_an_empty_variable_does_not_hide_what_the_file_sets(self, file: Path) -> None:
        file.write_text("UPLOAD_SECRET=geheim\n")
        assert load({"UPLOAD_SECRET": ""}, file).upload_secret == "geheim"

    def test_a_bad_value_in_it_is_refused(self, file: Path) -> None:
        file.write_text("WORKERS=many\n")
        with pytest.raises(BadSetting, match="WORKERS cannot be 'many'"):
            load({}, file)

    @pytest.mark.parametrize("name", ["WORKER", "workers", "ONEKEY_CONFIG", "PATH"])
    def test_a_name_that_is_no_setting_is_refused(self, file: Path, name: str) -> None:
        file.write_bytes(f"{name}=3\n".encode())
        with pytest.raises(BadSetting, match=re.escape(repr(name))):
            load({}, file)

    def test_the_refusal_of_a_name_shows_those_that_would_do(self, file: Path) -> None:
        file.write_text("SECRET=geheim\n")
        with pytest.raises(BadSetting) as caught:
            load({}, file)
        assert [name for name in VARIABLES if name not in str(caught.value)] == []

    def test_the_refusal_of_a_name_does_not_show_its_value(self, file: Path) -> None:
        file.write_text("SECRET=geheim\n")
        with pytest.raises(BadSetting) as caught:
            load({}, file)
        assert "geheim" not in str(caught.value)

    @pytest.mark.parametrize(
        "line", ["UPLOAD_SECRET: geheim", "UPLOAD_SECRET geheim", "UPLOAD_SECRET='geheim", "=geheim"]
    )
    def test_a_line_that_sets_nothing_is_refused_by_its_number(self, file: Path, line: str) -> None:
        file.write_text(f"WORKERS=3\n\n  \n{line}\nTHREADS=3\n")
        with pytest.raises(BadSetting, match="line 4") as caught:
            load({}, file)
        assert "geheim" not in str(caught.value)

    def test_a_file_that_is_no_text_is_refused(self, file: Path) -> None:
        file.write_bytes(b"UPLOAD_SECRET=gehe\xffim\n")
        with pytest.raises(BadSetting, match=re.escape(str(file))) as caught:
            load({}, file)
        assert "gehe" not in str(caught.value)

    @pytest.mark.parametrize("missing", ["none.env", "."])
    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path, missing: str) -> None:
        with pytest.raises(BadSetting, match=re.escape(str(tmp_path / missing))):
            load({}, tmp_path / missing)

    def test_without_one_the_environment_is_all(self) -> None:
        assert load({"WORKERS": "3"}) == Settings.read({"WORKERS": "3"})


class TestProcess:
    """The settings of this process."""

    @pytest.fixture(autouse=True)
    def nothing_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An environment without settings."""
        for name in (*VARIABLES, "ONEKEY_CONFIG"):
            monkeypatch.delenv(name, raising=False)

    def test_they_are_those_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORKERS", "3")
        assert from_environment().workers == 3

    @pytest.mark.parametrize("empty", [False, True], ids=["not set", "empty"])
    def test_without_a_file_they_are_the_defaults(self, monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
        if empty:
            monkeypatch.setenv("ONEKEY_CONFIG", "")
        assert from_environment() == Settings.read({})

    def test_the_file_is_the_one_that_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "onekey.env").write_text("WORKERS=3\nTHREADS=4\n")
        monkeypatch.setenv("ONEKEY_CONFIG", str(tmp_path / "onekey.env"))
        monkeypatch.setenv("THREADS", "5")
        found = from_environment()
        assert (found.workers, found.threads) == (3, 5)

    def test_a_secret_that_is_no_utf_8_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(os.environb, b"UPLOAD_SECRET", b"gehe\xffim")
        with pytest.raises(BadSetting, match="UPLOAD_SECRET cannot be what is set"):
            from_environment()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1), ("90", 90), ("1s", 1), ("2m", 120), ("3h", 10_800), ("7D", 7 * DAY), (" 1 w ", 7 * DAY)],
)
def test_a_duration_is_seconds(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "never", *NOT_DURATIONS])
def test_what_is_no_duration_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        duration(text)


@pytest.mark.parametrize("text", ["", " ", *NOT_SIZES])
def test_what_is_no_size_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="a number of bytes such as"):
        size(text)


def written(text: str) -> list[tuple[str, str]]:
    """Each variable that a file in the form of config.example.env names, and what it sets it to."""
    return re.findall(r"^#?([A-Z][A-Z_]*)=(.*)$", text, re.MULTILINE)


class TestDocuments:
    """Code, config.example.env and README name the same settings, with the same defaults."""

    EXPECTED = sorted((name, variable.default) for name, variable in VARIABLES.items())

    @pytest.fixture
    def example(self) -> str:
        """The settings by example."""
        return (ROOT / "config.example.env").read_text()

    def test_the_example_has_every_setting_once_with_its_default(self, example: str) -> None:
        assert sorted(written(example)) == self.EXPECTED

    def test_the_example_changes_nothing(self) -> None:
        assert load({}, ROOT / "config.example.env") == Settings.read({})

    def test_the_example_without_its_comment_signs_changes_nothing(self, example: str, tmp_path: Path) -> None:
        lines = [f"{name}={text}" for name, text in written(example)]
        (tmp_path / "all.env").write_text("\n".join(lines))
        assert load({}, tmp_path / "all.env") == Settings.read({})

    def test_the_readme_has_every_setting_once_with_its_default(self) -> None:
        readme = (ROOT / "README.md").read_text()
        rows = re.findall(r"^\| *`([A-Z][A-Z_]*)` *\| *(?:`([^`]*)`|[-–—]) *\|", readme, re.MULTILINE)
        assert sorted(rows) == self.EXPECTED

    def test_each_is_a_field_of_the_settings(self) -> None:
        assert {field.name for field in dataclasses.fields(Settings)} == {name.lower() for name in VARIABLES}

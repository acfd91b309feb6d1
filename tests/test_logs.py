"""What may be logged: words and numbers, and of an exception its class and its place; never what a request said."""

import io
import json
import logging
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from onekey import logs
from onekey.app import App
from tests.servers import ROOT, clean_environment

TOKEN = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
FOREIGN = ["gunicorn.error", "gunicorn", "werkzeug", "onekey.web", "onekeyish", "root", "sqlalchemy.engine.Engine"]


class Sink:
    """What a handler at the root of all loggers writes."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    @property
    def text(self) -> str:
        """All of it."""
        return self._stream.getvalue()

    @property
    def message(self) -> str:
        """The message of the one line that was written."""
        (line,) = self.text.splitlines()
        return line.partition(": ")[2]


@pytest.fixture
def sink() -> Iterator[Sink]:
    """The record factory installed, as a server does, and what is logged under it."""
    before, made = logging.getLogRecordFactory(), Sink()
    logging.setLogRecordFactory(logging.LogRecord)
    logs.install()
    logging.getLogger().addHandler(made.handler)
    yield made
    logging.getLogger().removeHandler(made.handler)
    logging.setLogRecordFactory(before)


@pytest.fixture
def foreign() -> logging.Logger:
    """The logger of somebody else."""
    return logging.getLogger("gunicorn.error")


class TestOthers:
    """What other libraries say keeps its words and numbers, and nothing else."""

    @pytest.mark.parametrize("name", FOREIGN)
    def test_a_text_that_was_put_in_is_hidden(self, sink: Sink, name: str) -> None:
        logging.getLogger(name).error("Error handling request %s", "cat")
        assert sink.message == "Error handling request …"

    def test_level_and_name_of_the_logger_stay(self, sink: Sink, foreign: logging.Logger) -> None:
        foreign.error("Bad")
        assert sink.text == "ERROR gunicorn.error: Bad\n"

    @pytest.mark.parametrize(
        ("message", "arguments", "shown"),
        [
            ("Worker exiting", (), "Worker exiting"),
            ("Worker %s exiting (pid: %d)", (2, 17), "Worker 2 exiting (pid: 17)"),
            ("%.2f seconds", (1.256,), "1.26 seconds"),
            ("%5d|%-5s|%x", (3, 4, 255), "    3|4    |ff"),
            ("100%", (), "100%"),
            ("100%% of %d", (5,), "100% of 5"),
            ("%s", (True,), "True"),
        ],
    )
    def test_words_and_numbers_stay(
        self, sink: Sink, foreign: logging.Logger, message: str, arguments: tuple[Any, ...], shown: str
    ) -> None:
        foreign.error(message, *arguments)
        assert sink.message == shown

    @pytest.mark.parametrize(
        "argument",
        ["cat", b"cat", bytearray(b"cat"), ["cat"], ("cat",), {"cat"}, ValueError("cat"), None, object(), 1j],
        ids=lambda argument: type(argument).__name__,
    )
    def test_whatever_is_no_number_is_hidden(self, sink: Sink, foreign: logging.Logger, argument: object) -> None:
        foreign.error("Got %s and %r.", argument, argument)
        assert sink.message.replace("'", "") == "Got … and …."

    @pytest.mark.parametrize("kind", [dict, UserDict, MappingProxyType], ids=lambda kind: str(kind.__name__))
    def test_a_dictionary_is_hidden(
        self, sink: Sink, foreign: logging.Logger, kind: Callable[[dict[str, object]], Mapping[str, object]]
    ) -> None:
        foreign.error("Got %(what)s", kind({"what": "cat", "count": 5}))
        assert "cat" not in sink.message

    def test_numbers_in_a_dictionary_stay(self, sink: Sink, foreign: logging.Logger) -> None:
        foreign.error("Got %(count)d of %(what)s", {"what": "cat", "count": 5})
        assert sink.message == "Got 5 of …"

    def test_a_dictionary_among_others_is_hidden(self, sink: Sink, foreign: logging.Logger) -> None:
        foreign.error("Got %s of %d", {"what": "cat"}, 5)
        assert sink.message == "Got … of 5"

    @pytest.mark.parametrize(
        ("message", "arguments"),
        [
            ("one %s", ("cat", "dog")),
            ("two %s %s", ("cat",)),
            ("none", ("cat",)),
            ("a number: %d", ("cat",)),
            ("a key: %(key)s", ("cat",)),
            ("%(key)s", ({"other": "cat"},)),
            ("%", ("cat",)),
            ("%q", ("cat",)),
        ],
    )
    def test_arguments_that_do_not_fit_are_no_failure_and_hidden(
        self,
        sink: Sink,
        foreign: logging.Logger,
        capsys: pytest.CaptureFixture[str],
        message: str,
        arguments: tuple[Any, ...],
    ) -> None:
        foreign.error(message, *arguments)
        assert (sink.message, capsys.readouterr().err) == (message, "")

    @pytest.mark.parametrize(
        "said",
        [
            f"GET /{TOKEN}.png",
            f"GET /{TOKEN}.png HTTP/1.1",
            f"Invalid request: http://127.0.0.1:8000/{TOKEN}?a=b#c",
            f"Invalid request: https://files.example.org/{TOKEN}",
            f"at {TOKEN}.",
            f"'{TOKEN}'",
            f"x{TOKEN}x",
            f"https://files.example.org/#{TOKEN}",
            f"path=/manage/0123456789abcdef0123456789abcdef/{TOKEN} status=500",
            f"b'/{TOKEN}'",
            f"303 to ?lease={TOKEN}",
            f"Authorization: Bearer {TOKEN}",
            f"X-Onekey-Lease: {TOKEN}",
        ],
    )
    def test_a_token_in_the_words_is_hidden(self, sink: Sink, foreign: logging.Logger, said: str) -> None:
        foreign.error(said)
        assert TOKEN not in sink.message

    @pytest.mark.parametrize(
        "said",
        [
            "GET /cat.png",
            "GET /cat.png?secret=cat",
            "GET /a/b/cat.png HTTP/1.1",
            "GET /some/file of a cat.png",
            "GET /%63at.png/cat",
            "PUT http://127.0.0.1:8000/cat.png",
            "open('/srv/cat.png')",
            "/cat",
            "//cat",
        ],
    )
    def test_a_path_in_the_words_is_hidden(self, sink: Sink, foreign: logging.Logger, said: str) -> None:
        foreign.error(said)
        assert "cat" not in sink.message

    def test_words_before_a_path_stay(self, sink: Sink, foreign: logging.Logger) -> None:
        foreign.error("Cannot read: GET /cat.png")
        assert sink.message == "Cannot read: GET …"

    @pytest.mark.parametrize("error", [ValueError("cat"), OSError(2, "No such file", "cat.png"), KeyError("cat")])
    def test_an_exception_as_the_message_is_hidden(
        self, sink: Sink, foreign: logging.Logger, error: BaseException
    ) -> None:
        foreign.error(error)
        assert "cat" not in sink.message

    def test_a_message_that_is_no_text_is_hidden(self, sink: Sink, foreign: logging.Logger) -> None:
        foreign.error(["cat"])
        assert "cat" not in sink.message

    def test_a_message_whose_text_fails_is_no_failure(self, sink: Sink, foreign: logging.Logger) -> None:
        class Broken:
            def __str__(self) -> str:
                raise ValueError("cat")

        foreign.error(Broken())
        assert "cat" not in sink.message

    def test_a_logger_that_was_there_before_is_covered(self) -> None:
        code = (
            "import logging; logging.basicConfig(format='%(message)s'); log = logging.getLogger('a.b.c');"
            "log.propagate = True; log.error('%s', 'before'); from onekey import logs; logs.install();"
            "log.error('%s', 'after'); logging.getLogger('a.b.c.d').error('%s', 'child')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stderr == "before\n…\n…\n"


class TestExceptions:
    """An exception is told by its class and its place."""

    @pytest.mark.parametrize("name", ["gunicorn.error", "onekey"])
    def test_its_text_is_hidden_and_class_and_place_are_told(self, sink: Sink, name: str) -> None:
        try:
            raise ValueError("cat")
        except ValueError as error:
            line = error.__traceback__.tb_lineno if error.__traceback__ else 0
            logging.getLogger(name).exception("It failed")
        assert sink.message == f"It failed [ValueError at test_logs.py:{line}]"

    @pytest.mark.parametrize("name", ["gunicorn.error", "onekey"])
    @pytest.mark.parametrize("how", ["true", "instance", "tuple"])
    def test_in_whatever_way_it_is_handed_over(self, sink: Sink, name: str, how: str) -> None:
        try:
            raise ValueError("cat")
        except ValueError as error:
            info: dict[str, Any] = {"true": True, "instance": error, "tuple": sys.exc_info()}
            logging.getLogger(name).warning("It failed", exc_info=info[how])
        assert sink.message.startswith("It failed [ValueError at test_logs.py:")

    @pytest.mark.parametrize("name", ["gunicorn.error", "onekey"])
    def test_where_there_is_none_that_is_said(self, sink: Sink, name: str) -> None:
        logging.getLogger(name).error("It failed", exc_info=True)
        assert sink.message == "It failed [no exception]"

    def test_one_that_was_never_raised_has_no_place(self, sink: Sink) -> None:
        logging.getLogger("onekey").error("It failed", exc_info=ValueError("cat"))
        assert sink.message == "It failed [ValueError at nowhere]"

    def test_the_place_is_where_it_was_raised(self, sink: Sink) -> None:
        try:
            json.loads("cat")
        except ValueError:
            logging.getLogger("onekey").exception("It failed")
        assert sink.message.startswith("It failed [JSONDecodeError at decoder.py:")

    def test_what_it_was_raised_from_is_hidden(self, sink: Sink, foreign: logging.Logger) -> None:
        try:
            try:
                raise KeyError("cat")
            except KeyError as error:
                error.add_note("dog")
                raise ValueError("bird") from error
        except ValueError as error:
            error.add_note("fish")
            foreign.exception("It failed")
        assert [text for text in ("cat", "dog", "bird", "fish", "KeyError") if text in sink.text] == []

    def test_a_group_of_them_is_hidden(self, sink: Sink, foreign: logging.Logger) -> None:
        try:
            raise ExceptionGroup("cat", [ValueError("dog")])
        except ExceptionGroup:
            foreign.exception("It failed")
        assert sink.message.startswith("It failed [ExceptionGroup at test_logs.py:")

    def test_one_with_arguments_beside_it_hides_them_too(self, sink: Sink, foreign: logging.Logger) -> None:
        try:
            raise ValueError("cat")
        except ValueError as error:
            foreign.exception("It failed %d times: %s", 3, error)
        assert sink.message.startswith("It failed 3 times: … [ValueError at test_logs.py:")

    def test_a_percent_sign_in_its_message_is_no_failure(
        self, sink: Sink, foreign: logging.Logger, capsys: pytest.CaptureFixture[str]
    ) -> None:
        try:
            raise ValueError("cat")
        except ValueError:
            foreign.exception("It failed at 100% %s")
        assert sink.message.startswith("It failed at 100% %s [ValueError at ")
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("name", ["gunicorn.error", "onekey"])
    def test_the_stack_is_not_told(self, sink: Sink, name: str) -> None:
        logging.getLogger(name).error("It failed", stack_info=True)
        assert sink.message == "It failed"

    def test_place_tells_of_no_exception(self) -> None:
        assert logs.place(None) == "no exception"


class TestOurs:
    """What onekey itself says stays as it is: whoever wrote it knows what it holds."""

    @pytest.mark.parametrize(
        ("message", "arguments", "shown"),
        [
            ("A sweep failed: %s.", ("OSError at blobs.py:7",), "A sweep failed: OSError at blobs.py:7."),
            ("It stores in /srv/onekey", (), "It stores in /srv/onekey"),
            ("%d of %s", (5, "cat"), "5 of cat"),
            ("%(what)s", ({"what": "cat"},), "cat"),
        ],
    )
    def test_it_is_kept(self, sink: Sink, message: str, arguments: tuple[Any, ...], shown: str) -> None:
        logs.log.error(message, *arguments)
        assert sink.message == shown


class TestInstall:
    """The factory is installed once, by whoever serves."""

    def test_twice_is_once(self, sink: Sink) -> None:
        factory = logging.getLogRecordFactory()
        logs.install()
        assert logging.getLogRecordFactory() is factory

    def test_a_factory_that_was_there_before_still_makes_the_records(self, sink: Sink) -> None:
        class Record(logging.LogRecord):
            pass

        logging.setLogRecordFactory(Record)
        logs.install()
        assert isinstance(logging.getLogRecordFactory()("a", 20, "b", 1, "c", (), None), Record)

    def test_an_application_installs_it(self, sink: Sink, make_app: Callable[[], App]) -> None:
        logging.setLogRecordFactory(logging.LogRecord)
        make_app()
        logging.getLogger("werkzeug").error("GET %s", "cat")
        assert sink.message == "GET …"

    def test_wsgi_installs_it(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        code = "import wsgi, logging; logging.basicConfig(); logging.getLogger('a').error('GET %s', 'cat')"
        environment = clean_environment(CONTENT_DIR=str(tmp_path_factory.mktemp("content")))
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
        assert done.stderr == "ERROR:a:GET …\n"

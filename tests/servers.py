"""Real servers for the tests: each a process of its own, on a free port of 127.0.0.1, with its own CONTENT_DIR."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

ONEKEY = [sys.executable, "-m", "onekey"]
ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
T = TypeVar("T")


def wait_for(what: Callable[[], T | None], patience: float = PATIENCE) -> T:
    """What `what` gives, once it gives something; fails the test if it never does."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without any setting of onekey, and with `more`."""
    from onekey.settings import VARIABLES

    kept = {name: text for name, text in os.environ.items() if name not in VARIABLES and name != "ONEKEY_CONFIG"}
    return {**kept, **more}


class Process:
    """A server process. Use it as a context manager: it is ended, by its id, when the block is."""

    def __init__(self, command: Sequence[str], folder: Path, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.content = Path(settings.get("CONTENT_DIR", folder / "content"))
        self.log_file = folder / "log"
        environment = clean_environment(**{"CONTENT_DIR": str(self.content), "MIN_FREE_SPACE": "0", **settings})
        environment["PYTHONPATH"] = str(ROOT)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        """All that the process printed."""
        return self.log_file.read_text(errors="replace")

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, how: int = signal.SIGQUIT) -> int:
        """End it, at once unless told otherwise; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def children(self) -> list[int]:
        """The ids of the worker processes."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]


class Server(Process):
    """`onekey serve`, ready to answer at `url`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__([*ONEKEY, "serve"], folder, **{"BIND": "127.0.0.1:0", **settings})
        self.url = wait_for(self._address)
        self.port = int(self.url.rpartition(":")[2])
        wait_for(lambda: self._answers() or None)

    def __enter__(self) -> "Server":
        return self

    def _address(self) -> str | None:
        assert self.process.poll() is None, f"the server did not start: {self.log}"
        found = re.search(r"listens on (https?://[0-9.:]+)", self.log)
        return found[1] if found else None

    def _answers(self) -> bool:
        return len(self.children()) >= 1 and can_connect(self.port)

    def connect(self) -> socket.socket:
        """A fresh connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


def can_connect(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nobody listened on a moment ago, for servers that cannot say which they took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def curl(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run curl, silent but for errors; its exit status, output and errors."""
    command = ["curl", "--silent", "--show-error", "--max-time", "120", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=180)

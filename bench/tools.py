"""Servers, clients and clocks for the benchmarks. Everything listens on 127.0.0.1."""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


class Server:
    """A server process and its workers."""

    def __init__(self, command: list[str], folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BIND": f"127.0.0.1:{self.port}", **settings}
        environment |= {"CONTENT_DIR": str(folder / "content"), "BENCH_FOLDER": str(folder), "MIN_FREE_SPACE": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(port=self.port) for word in command)],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 30
        while not self._answers():
            if time.monotonic() > end:
                raise TimeoutError("a server did not start")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            request(self.port, b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def processes(self) -> list[int]:
        """The master's id and those of its workers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        return sum(_cpu(pid) for pid in self.processes())

    def memory(self) -> int:
        """Resident bytes, of all its processes together."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in self.processes())


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def onekey(folder: Path, **settings: str) -> Server:
    """`onekey serve`."""
    return Server(["onekey", "serve"], folder, **{"MAX_UPLOAD_SIZE": "8 GiB", **settings})


def baseline(folder: Path, **settings: str) -> Server:
    """The baseline application under the same settings."""
    return Server(["gunicorn", "-c", "python:bench.gunicorn_baseline", "bench.baseline:app"], folder, **settings)


def stock(folder: Path) -> Server:
    """The baseline application under gunicorn's own worker, which stops for slow clients and is faster for others."""
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "64", "--no-control-socket"]
    return Server(["gunicorn", *options, "--bind", "127.0.0.1:{port}", "bench.baseline:app"], folder)


def request(port: int, head: bytes, body: Iterable[bytes] = ()) -> tuple[bytes, int, float]:
    """Send a request and read its answer: its head, how many bytes followed, and seconds to the first of them."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as client:
        began = time.perf_counter()
        client.sendall(head)
        for piece in body:
            client.sendall(piece)
        into = memoryview(bytearray(MIB))
        got = bytearray()
        while b"\r\n\r\n" not in got:
            count = client.recv_into(into)
            if not count:
                raise ConnectionError("no answer")
            got += into[:count]
        answer, _, rest = bytes(got).partition(b"\r\n\r\n")
        length = int((re.search(rb"(?i)content-length: *(\d+)", answer) or [b"", b"0"])[1])
        size = len(rest)
        while not size and length:
            size += client.recv_into(into)
        first = time.perf_counter() - began
        while size < length:
            count = client.recv_into(into)
            if not count:
                raise ConnectionError("cut short")
            size += count
        return answer, size, first


def get(port: int, path: str, span: str = "") -> tuple[int, float]:
    """Bytes of the body, and seconds to the first of them."""
    asked = f"Range: bytes={span}\r\n" if span else ""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{asked}\r\n"
    _, size, first = request(port, head.encode())
    return size, first


def zeros(size: int) -> Iterator[bytes]:
    """A body of random-looking pieces, without the cost of drawing them."""
    piece = os.urandom(MIB)
    for _ in range(size // MIB):
        yield piece


def put(port: int, name: str, size: int) -> str:
    """Upload a raw body to onekey; the path of its direct link."""
    head = f"PUT /{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    answer, _, _ = request(port, head.encode(), zeros(size))
    found = re.search(rb"Location: http://localhost(/\S+)", answer)
    assert found, answer
    return found[1].decode()


def post_form(port: int, size: int) -> None:
    """Upload one file of a form."""
    before = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    after = b"\r\n--xx--\r\n"

    def body() -> Iterator[bytes]:
        yield before
        yield from zeros(size)
        yield after

    length = len(before) + size + len(after)
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=xx\r\nContent-Length: {length}\r\n\r\n"
    )
    answer, _, _ = request(port, head.encode(), body())
    assert re.match(rb"HTTP/1.1 (200|303)", answer), answer


def timed(what: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def alternately(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Medians of two measures taken in turn, after one of each that does not count."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def hammer(port: int, path: str, count: int) -> None:
    """Ask `count` times over each of 8 connections that are kept alive, from a process of its own for each two."""
    command = [sys.executable, "-m", "bench.hammer", str(port), path, str(count)]
    clients = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    if any(client.wait(300) for client in clients):
        raise RuntimeError("a client failed")

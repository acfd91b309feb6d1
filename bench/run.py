"""The benchmarks that the README quotes: `make bench`. Each is a ratio of two things measured in turn, in one run."""

import argparse
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from bench import tools
from bench.tools import MIB, Server

Row = tuple[str, str, str]


class Bench:
    """Two servers side by side, in one folder."""

    def __init__(self, folder: Path, rounds: int, scale: int) -> None:
        self.folder, self.rounds, self.scale = folder, rounds, scale
        self.ours = tools.onekey(folder / "onekey")
        self.theirs = tools.baseline(folder / "baseline")

    def close(self) -> None:
        """End both."""
        self.ours.stop()
        self.theirs.stop()

    def both(self, name: str, size: int) -> tuple[str, str]:
        """Paths of the same content at both."""
        with (self.folder / "baseline" / name).open("wb") as file:
            file.writelines(tools.zeros(size) if size >= MIB else [bytes(size)])
        if size >= MIB:
            return tools.put(self.ours.port, name, size), f"/{name}"
        small = self.folder / "baseline" / name
        return _put_small(self.ours.port, small), f"/{name}"

    def download(self) -> list[Row]:
        """A whole download, and the processor time that it costs."""
        size = 1024 * MIB // self.scale
        ours, theirs = self.both("big.png", size)
        cpu: dict[int, list[float]] = {self.ours.port: [], self.theirs.port: []}

        def measure(server: Server, path: str) -> Callable[[], float]:
            def once() -> float:
                before = server.cpu()
                seconds = tools.timed(lambda: tools.get(server.port, path))
                cpu[server.port].append(server.cpu() - before)
                return seconds

            return once

        one, other = tools.alternately(measure(self.ours, ours), measure(self.theirs, theirs), self.rounds)
        stock = tools.stock(self.folder / "baseline")
        mine, plain = tools.alternately(
            lambda: tools.timed(lambda: tools.get(self.ours.port, ours)),
            lambda: tools.timed(lambda: tools.get(stock.port, theirs)),
            self.rounds,
        )
        stock.stop()
        spent = sorted(cpu[self.ours.port])[self.rounds // 2], sorted(cpu[self.theirs.port])[self.rounds // 2]
        return [
            (f"download of {size // MIB} MiB", f"{other / one:.2f} of send_file", _speed(size, one, other)),
            ("against gunicorn's own worker", f"{plain / mine:.2f} of send_file", _speed(size, mine, plain)),
            (
                "the server's processor time",
                f"{spent[0] / spent[1]:.2f}× send_file",
                f"{spent[0]:.2f} s, {spent[1]:.2f} s",
            ),
        ]

    def upload(self) -> list[Row]:
        """A form with one file, against the same body written as it is."""
        size = 512 * MIB // self.scale
        one, other = tools.alternately(
            lambda: tools.timed(lambda: tools.post_form(self.ours.port, size)),
            lambda: tools.timed(lambda: tools.post_form(self.theirs.port, size)),
            self.rounds,
        )
        what = f"multipart upload of {size // MIB} MiB"
        return [(what, f"{other / one:.2f} of write and fsync", _speed(size, one, other))]

    def images(self) -> list[Row]:
        """Requests a second for small images over connections that are kept alive."""
        ours, theirs = self.both("small.png", 100 << 10)
        count = 400
        one, other = tools.alternately(
            lambda: tools.timed(lambda: tools.hammer(self.ours.port, ours, count)),
            lambda: tools.timed(lambda: tools.hammer(self.theirs.port, theirs, count)),
            2 * self.rounds + 1,
        )
        rates = ", ".join(f"{8 * count / seconds:.0f}/s" for seconds in (one, other))
        return [("images of 100 KiB, 8 connections", f"{other / one:.2f} of send_file", rates)]

    def ranges(self) -> list[Row]:
        """The first byte of a range far into a large file."""
        size = 4096 * MIB // self.scale
        ours, theirs = self.both("huge.png", size)

        def first(server: Server, path: str, at: float) -> Callable[[], float]:
            start = int(size * at)
            return lambda: tools.get(server.port, path, f"{start}-{start + 65535}")[1]

        far, near = tools.alternately(first(self.ours, ours, 0.9), first(self.ours, ours, 0), 101)
        ours_far, theirs_far = tools.alternately(first(self.ours, ours, 0.9), first(self.theirs, theirs, 0.9), 101)
        name = f"first byte of a range at 90 % of {size // MIB} MiB"
        return [
            (name, f"{far / near:.2f}× one at its start", f"{far * 1e3:.2f} ms, {near * 1e3:.2f} ms"),
            (name, f"{ours_far / theirs_far:.2f}× send_file", f"{ours_far * 1e3:.2f} ms, {theirs_far * 1e3:.2f} ms"),
        ]

    def memory(self) -> list[Row]:
        """How much the server grows over a large upload and download, and over many at once."""
        size, part = 4096 * MIB // self.scale, 256 * MIB // self.scale
        port = self.ours.port

        def there_and_back(size: int) -> None:
            tools.get(port, tools.put(port, "a.bin", size))

        there_and_back(64 * MIB)
        alone = self._growth(lambda: there_and_back(size))
        crowd = self._growth(lambda: _at_once(32, lambda: there_and_back(part)))
        return [
            (f"memory over {size // MIB} MiB up and down", f"+{alone // MIB} MiB", ""),
            (f"memory over 32 of {part // MIB} MiB at once", f"+{crowd // MIB} MiB", ""),
        ]

    def _growth(self, what: Callable[[], object]) -> int:
        before, most, done = self.ours.memory(), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                most[0] = max(most[0], self.ours.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            what()
        finally:
            done.set()
            watcher.join()
        return max(most[0] - before, 0)


def _at_once(count: int, what: Callable[[], object]) -> None:
    threads = [threading.Thread(target=what) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _put_small(port: int, file: Path) -> str:
    length = file.stat().st_size
    head = f"PUT /{file.name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    answer, _, _ = tools.request(port, head.encode() + file.read_bytes())
    return answer.partition(b"Location: http://localhost")[2].split()[0].decode()


def _speed(size: int, *seconds: float) -> str:
    return ", ".join(f"{size / MIB / each:.0f} MiB/s" for each in seconds)


def main() -> None:
    """Run what is asked for and print a table."""
    names = ["download", "upload", "images", "ranges", "memory"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(names)}; all of them if none is named")
    parser.add_argument("--rounds", type=int, default=7, help="how often each pair is measured")
    parser.add_argument("--scale", type=int, default=1, help="divide all sizes by this, for a quick look")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; 20 GiB are needed")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="onekey-bench-", dir=asked.folder))
    bench = Bench(folder, asked.rounds, asked.scale)
    try:
        print("| what | ratio | ours, theirs |\n| --- | --- | --- |")
        for name in asked.which or names:
            for row in getattr(bench, name)():
                print(f"| {' | '.join(row)} |", flush=True)
    finally:
        bench.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

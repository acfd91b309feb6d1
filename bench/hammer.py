"""A client with four connections that are kept alive: `python -m bench.hammer PORT PATH COUNT`."""

import selectors
import socket
import sys


def main(port: int, path: str, count: int) -> None:
    """`count` requests over each connection, the next as soon as the last is answered."""
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    poller = selectors.DefaultSelector()
    into = memoryview(bytearray(1 << 20))
    left = {}
    for _ in range(4):
        client = socket.create_connection(("127.0.0.1", port))
        poller.register(client, selectors.EVENT_READ)
        left[client] = [count, 0]
        client.sendall(asked)
    while left:
        for key, _ in poller.select():
            client = key.fileobj  # type: ignore[assignment]
            size = client.recv_into(into)
            if not size:
                raise ConnectionError("cut short")
            state = left[client]
            if state[1] <= 0:
                head, _, rest = bytes(into[:size]).partition(b"\r\n\r\n")
                state[1] = int(head.lower().partition(b"content-length: ")[2].split()[0]) - len(rest)
            else:
                state[1] -= size
            if state[1] <= 0:
                state[0] -= 1
                if state[0]:
                    client.sendall(asked)
                else:
                    poller.unregister(client)
                    client.close()
                    del left[client]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

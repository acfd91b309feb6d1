"""Slots, and the sockets that hand them round: who waits longest goes first, and nobody keeps one from the others."""

import threading
from collections.abc import Callable

import pytest
import requests

from onekey.pacing import MAX_HEAD, Slots
from tests.servers import Server, wait_for


def waiting(slots: Slots, order: list[str], name: str) -> threading.Thread:
    """A thread that waits for a slot, notes that it got one, and gives it back."""

    def wait() -> None:
        with slots:
            order.append(name)

    before = len(slots._queue)
    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: len(slots._queue) > before)
    return thread


def test_slots_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    slots, order = Slots(1), list[str]()
    slots.acquire()
    threads = [waiting(slots, order, name) for name in "abcdef"]
    slots.release()
    for thread in threads:
        thread.join()
    assert order == list("abcdef")


def test_a_slot_that_is_given_up_and_asked_for_again_goes_to_who_waited() -> None:
    slots, order = Slots(1), list[str]()
    slots.acquire()
    thread = waiting(slots, order, "other")
    slots.release()
    slots.acquire()
    thread.join()
    assert order == ["other"]


def test_as_many_slots_are_given_at_once_as_there_are() -> None:
    slots = Slots(3)
    for _ in range(3):
        slots.acquire()
    assert not slots.wanted
    thread = waiting(slots, [], "fourth")
    assert slots.wanted
    slots.release()
    thread.join()


@pytest.mark.parametrize("uploads", [1, 3])
def test_uploads_as_fast_as_the_server_shut_nobody_out(make_server: Callable[..., Server], uploads: int) -> None:
    server = make_server(THREADS="1", WORKERS="1")
    stop, sent = threading.Event(), [0] * uploads

    def upload(number: int) -> None:
        with server.connect() as sock:
            sock.sendall(b"PUT /big.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000000\r\n\r\n")
            while not stop.is_set():
                sent[number] += sock.send(bytes(1 << 20))

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(uploads)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: all(count > 32 << 20 for count in sent))
        for _ in range(5):
            assert requests.get(f"{server.url}/robots.txt", timeout=30).status_code == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_head_that_is_too_large_is_refused(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Filler: 12345678\r\n" * (MAX_HEAD // 20))
        assert sock.recv(1000).startswith(b"HTTP/1.1 431 ")


def test_what_is_asked_for_in_vain_is_refused_before_it_is_sent(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"PUT /a.bin?expires=soon HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")

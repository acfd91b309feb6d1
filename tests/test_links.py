"""Tokens have one spelling, and what is derived from them is what every other implementation derives."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onekey import links
from onekey.errors import BadRequest, BadToken

SEED = bytes(range(24))
TOKEN = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
DASHED = b"\xfb" + bytes(23)  # begins with a -

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "vectors.json").read_text())


def entropy_of(*draws: bytes) -> Callable[[int], bytes]:
    """Entropy that gives these draws in turn, the last one for ever."""
    rest = list(draws)
    return lambda size: (rest.pop(0) if len(rest) > 1 else rest[0])[:size]


def test_the_token_of_the_worked_example() -> None:
    assert links.write_token(SEED) == TOKEN


def test_the_seed_of_the_worked_example() -> None:
    assert links.read_token(TOKEN) == SEED


def test_the_blob_id_of_the_worked_example() -> None:
    assert links.blob_id(SEED) == "49c1b179cc60a412747f4a716703b574"


def test_the_knock_of_the_worked_example() -> None:
    assert links.knock(SEED).hex() == "3bfb782912582793fffd559bad729485"


@pytest.mark.parametrize("vector", VECTORS, ids=[str(vector["file"]) for vector in VECTORS])
def test_the_blob_id_and_knock_of_a_vector(vector: dict[str, Any]) -> None:
    seed = links.read_token(vector["token"])
    assert (links.blob_id(seed), links.knock(seed).hex()) == (vector["blob_id"], vector["knock"])


@settings(deadline=None)
@given(st.binary(min_size=24, max_size=24))
def test_a_token_read_gives_the_seed_that_was_written(seed: bytes) -> None:
    assert links.read_token(links.write_token(seed)) == seed


@pytest.mark.parametrize(
    "token",
    [
        "",
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN[:-1] + "=",
        TOKEN + "=",
        TOKEN + "\n",
        " " + TOKEN[1:],
        TOKEN[:-1] + "+",
        TOKEN[:-1] + "/",
        TOKEN[:-1] + ".",
        TOKEN[:16] + "\n" + TOKEN[17:],
        TOKEN[:-1] + "\0",
        TOKEN[:-1] + "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
        TOKEN[:-1] + "\N{ARABIC-INDIC DIGIT ONE}",
        TOKEN[:-1] + "\ud800",
    ],
    ids=ascii,
)
def test_any_other_spelling_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        links.read_token(token)


def test_a_refused_token_is_a_bad_request() -> None:
    assert issubclass(BadToken, BadRequest)


def test_a_refusal_does_not_repeat_the_token() -> None:
    with pytest.raises(BadToken) as caught:
        links.read_token(TOKEN[:-1] + "!")
    assert TOKEN[:-1] not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_=+/-]{30,34}"))
def test_whatever_is_read_has_that_one_spelling(text: str) -> None:
    try:
        seed = links.read_token(text)
    except BadToken:
        return
    assert links.write_token(seed) == text


@pytest.mark.parametrize("draw", [links.new_seed, links.new_owner])
class TestDraw:
    def test_takes_24_bytes_of_the_entropy(self, draw: Callable[..., bytes]) -> None:
        assert draw(entropy_of(SEED)) == SEED

    @pytest.mark.parametrize(
        "ugly", [DASHED, b"\xff" + bytes(23), bytes(23) + b"\x3e", bytes(23) + b"\x3f"], ids=bytes.hex
    )
    def test_draws_again_while_a_dash_begins_or_ends_it(self, draw: Callable[..., bytes], ugly: bytes) -> None:
        assert draw(entropy_of(ugly, ugly, SEED)) == SEED

    def test_ends_even_if_the_entropy_never_gives_a_good_one(self, draw: Callable[..., bytes]) -> None:
        assert draw(entropy_of(DASHED)) == DASHED

    def test_differs_each_time(self, draw: Callable[..., bytes]) -> None:
        assert draw() != draw()

    def test_spells_without_a_dash_at_the_ends(self, draw: Callable[..., bytes]) -> None:
        tokens = [links.write_token(draw()) for _ in range(500)]
        assert [token for token in tokens if not re.fullmatch("[A-Za-z0-9].{30}[A-Za-z0-9]", token)] == []


def test_a_fingerprint_is_sha_256() -> None:
    assert links.fingerprint(b"proof") == hashlib.sha256(b"proof").digest()


@pytest.mark.parametrize("base", ["https://host", "https://host/"])
def test_a_direct_link_carries_token_and_ending_in_its_path(base: str) -> None:
    assert links.direct(base, TOKEN, ".png") == f"https://host/{TOKEN}.png"


def test_a_direct_link_needs_no_ending() -> None:
    assert links.direct("http://host:8000/under", TOKEN) == f"http://host:8000/under/{TOKEN}"


@pytest.mark.parametrize("base", ["https://host", "https://host/"])
def test_a_sealed_link_carries_the_token_in_its_fragment(base: str) -> None:
    assert links.sealed(base, TOKEN) == f"https://host/#{TOKEN}"

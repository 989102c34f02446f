"""The agreement: differences are named on both sides, hostile statements are refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net import (
    Agreement,
    Channel,
    FrameTooLarge,
    HandshakeError,
    ProtocolError,
    Timeout,
    handshake,
    memory_pair,
)
from net.handshake import _DIGEST_TAG, _FIELDS_TAG, Scalar
from tests.net.helpers import outcomes, zmq_pair

FIELDS: dict[str, Scalar] = {
    "protocol_version": 1,
    "ring": 64,
    "frac_bits": 16,
    "profile": "exact",
    "causal": False,
}
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.text(max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False)
)


def meet(
    ours: dict[str, Scalar], theirs: dict[str, Scalar], pair: tuple[Channel, Channel] | None = None
) -> list[str]:
    """What both sides say, empty if they agree."""
    client, server = pair or memory_pair(timeout_s=5.0)
    results = outcomes(
        lambda: handshake(client, Agreement(ours)), lambda: handshake(server, Agreement(theirs))
    )
    for result in results:
        assert result is None or isinstance(result, HandshakeError)
    return [str(result) for result in results if result is not None]


@given(st.dictionaries(st.text(max_size=20), scalars, max_size=8), st.randoms())
def test_the_same_in_any_order_agrees(fields: dict[str, Scalar], random: object) -> None:
    shuffled = list(fields.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert meet(fields, dict(shuffled)) == []


def test_it_costs_one_round_and_is_booked_apart() -> None:
    client, server = memory_pair()
    meet(FIELDS, FIELDS, (client, server))
    report = client.traffic.report()
    assert report.rounds_by_phase == {"handshake": 1}
    assert report.phase("handshake").sent == report.sent
    assert report.sent.payload == 32


def test_each_difference_is_named_on_both_sides() -> None:
    ours, theirs = meet(FIELDS, {**FIELDS, "frac_bits": 12, "profile": "fast\x1b"})
    assert "server is set up differently" in ours
    assert "field 'frac_bits': expected 16, got 12" in ours
    assert r"""field 'profile': expected "exact", got "fast\u001b";""" in ours.replace('".', '";')
    assert "field 'frac_bits': expected 12, got 16" in theirs
    assert "ring" not in ours
    assert "same version and settings" in ours


def test_a_missing_field_is_named() -> None:
    ours, theirs = meet(FIELDS, {k: v for k, v in FIELDS.items() if k != "ring"})
    assert "field 'ring': expected 64, got nothing" in ours
    assert "field 'ring': expected nothing, got 64" in theirs


@pytest.mark.parametrize(("first", "second"), [(1, 1.0), (1, True), (1, "1"), (None, "null"), (0.0, -0.0)])
def test_values_of_different_types_differ(first: Scalar, second: Scalar) -> None:
    assert len(meet({"x": first}, {"x": second})) == 2


def test_roles_are_part_of_it() -> None:
    client, other = memory_pair("client", "dealer")
    client._session.peer = "server"
    ours, theirs = meet(FIELDS, FIELDS, (client, other))
    assert 'role: expected "server facing client", got "dealer facing client"' in ours
    assert 'role: expected "client facing dealer", got "client facing server"' in theirs


def test_two_clients_do_not_agree() -> None:
    first, second = memory_pair("client", "client")
    first._session.peer = second._session.peer = "server"
    assert len(meet(FIELDS, FIELDS, (first, second))) == 2


def test_over_sockets_both_sides_stop_cleanly() -> None:
    with zmq_pair() as pair:
        assert len(meet(FIELDS, {**FIELDS, "ring": 32}, pair)) == 2


def test_timeout_names_the_handshake() -> None:
    client, _ = memory_pair()
    with pytest.raises(Timeout, match=r"timeout_s of the handshake = 0\.05 s"):
        handshake(client, Agreement(FIELDS), timeout_s=0.05)


@pytest.mark.parametrize(
    "fields",
    [
        {f"f{i}": 0 for i in range(65)},
        {"x" * 257: 0},
        {"x": "y" * 257},
        {"x": math.nan},
        {"x": math.inf},
        {"x": 2**64},
        {"x": [1]},
        {"x": {}},
        {1: 1},
    ],
    ids=range(9),
)
def test_what_an_agreement_cannot_hold(fields: dict[str, Scalar]) -> None:
    with pytest.raises(ValueError, match="field"):
        Agreement(fields)


def test_an_agreement_does_not_change() -> None:
    fields = dict(FIELDS)
    agreement = Agreement(fields)
    fields["ring"] = 32
    assert agreement.fields["ring"] == 64


STATEMENT = {"role": "server facing client", "fields": {}}


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"role":"x"}',
        b'{"role":"x","fields":[1]}',
        b'{"role":"x","fields":{"a":NaN}}',
        b'{"role":"x","fields":{"a":[1]}}',
        b'{"role":"x","fields":{"a":1' + b"0" * 5000 + b"}}",
        json.dumps({"role": "x", "fields": {str(i): 0 for i in range(65)}}).encode(),
        bytes(1 << 19),
    ],
    ids=range(12),
)
def test_hostile_statements_are_refused(statement: bytes) -> None:
    client, server = memory_pair()
    server.send(_DIGEST_TAG, [bytes(32)])
    server.send(_FIELDS_TAG, [statement])
    with pytest.raises((ProtocolError, FrameTooLarge)):
        handshake(client, Agreement(FIELDS))


def test_a_hostile_role_is_shown_harmlessly() -> None:
    client, server = memory_pair()
    server.send(_DIGEST_TAG, [bytes(32)])
    server.send(_FIELDS_TAG, [json.dumps({"role": "\x1b[2J" + "x" * 5000, "fields": {}}).encode()])
    with pytest.raises(HandshakeError) as caught:
        handshake(client, Agreement({}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000

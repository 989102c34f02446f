"""What the tests of products in fields share: two ends in one process, and what the client sees of noise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from gpu_ss.backend import Backend
from gpu_ss.field import FIELD53, Field
from gpu_ss.party import Party
from gpu_ss.provider.correlation import Correlation, Dealing, combine
from gpu_ss.simulate import simulate
from he_bridge.field_ring import FieldRing
from he_bridge.field_sets import params_of
from he_bridge.field_slots import FieldClient, FieldServer
from he_bridge.field_steps import SLOTS, FieldEngine, Name, Spare, Step, Vectors
from he_bridge.params import A_DIGITS, B_DIGITS
from he_bridge.products import Engine
from he_bridge.provider import with_products
from he_bridge.rlwe import Reply, SecretKey
from net import memory_pair
from tests.he_bridge.lattice import Words, opened

ONE = [Step((("a", 0),), (((("a", 0), ("a", 0)),),))]
Engines = Sequence[Callable[[Backend, Any], FieldEngine]]


def random_elements(field: Field, *shape: int, seed: int = 3) -> Words:
    """Uniform, with the extremes among them."""
    found = np.random.default_rng(seed).integers(0, field.prime, shape, dtype=np.uint64)
    found[..., :4] = [0, field.prime - 1, field.prime // 2, field.prime // 2 + 1]
    return found


def named(backend: Backend, own: dict[Name, Words]) -> Vectors:
    """These vectors, by name; they may be shorter than others."""

    def vectors(names: Sequence[Name], spare: Spare) -> Any:
        out = np.array(backend.to_host(spare(len(names))))
        for row, name in zip(out, names, strict=True):
            row[: own[name].size] = own[name]
        return backend.asarray(out)

    return vectors


def exchanged(
    backends: Sequence[Backend],
    engines: Engines,
    own: Sequence[dict[Name, Words]],
    steps: Sequence[Sequence[Step]],
    tamper: Callable[[Any], None] | None = None,
    times: int = 1,
) -> list[list[Words]]:
    """Both ends' results of the last of some exchanges, step by step, on the host; what either raises is raised."""
    ends = memory_pair("client", "server", timeout_s=20.0)
    if tamper is not None:
        tamper(ends)
    results: list[Any] = [None, None]
    failures: list[BaseException] = []

    def work(rank: int) -> None:
        backend = backends[rank]
        backend.activate()
        try:
            with ends[rank] as channel:
                engine = engines[rank](backend, channel)
                for _ in range(times):
                    found = engine.exchange(steps[rank], named(backend, own[rank]))
                results[rank] = [np.array(backend.to_host(replies)) for replies in found]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def engines(field: Field) -> Any:
    """Both ends of the own engine."""
    params = params_of(field)
    return partial(FieldClient, params=params), partial(FieldServer, params=params)


def pair(
    own: Any, steps: Any, field: Field = FIELD53, tamper: Any = None, backend: str = "cpu", times: int = 1
) -> list[list[Words]]:
    """`exchanged` with it."""
    backends = [opened(backend)] * 2
    return exchanged(backends, engines(field), own, steps, tamper, times)


def check_sums(field: Field, own: Sequence[dict[Name, Words]], steps: Sequence[Step], results: Any) -> None:
    """Both ends' shares add up to the sums of products."""
    full = [{name: np.pad(v, (0, SLOTS - v.size)).astype(object) for name, v in side.items()} for side in own]
    for step, mine, theirs in zip(steps, *results, strict=True):
        assert mine.shape == theirs.shape == (len(step.replies), SLOTS)
        for reply, left, right in zip(step.replies, mine, theirs, strict=True):
            expected = sum(full[0][u] * full[1][v] for u, v in reply)
            used = min(min(own[0][u].size, own[1][v].size) for u, v in reply)
            found = (left.astype(object) + right) % field.prime
            assert (found[:used] == expected[:used] % field.prime).all()
            assert max(left.max(), right.max()) < field.prime


def noise(ring: FieldRing, secret: SecretKey, b: Words, a: Words) -> Any:
    """b + a s - round(q m / t) of coefficients at the ring's primes, for the m they decrypt to: [polys, N]."""
    shift = ring.coefficients(secret.times(ring.values(a)))
    clean = ring.add_message(np.zeros_like(b), ring.message(shift, b))
    q, total = prod(ring.primes), np.zeros(b.shape[1:], object)
    for p, *rows in zip(ring.primes, shift, b, clean, strict=True):
        x, y, z = (row.astype(object) for row in rows)
        total += (x + y - z) % p * (q // p * pow(q // p, -1, p))
    return (total + q // 2) % q - q // 2


def reply_noise(ring: FieldRing, secret: SecretKey, reply: Reply) -> Words:
    """That of a reply, in units of the plaintext [polys, N]."""
    kept = ring.at(ring.params.kept)
    b, a = kept.from_digits(reply.b, B_DIGITS), kept.from_digits(reply.a, A_DIGITS)
    return np.asarray(noise(kept, secret, b, a) * ring.field.prime / prod(kept.primes), float)


def assert_made(
    *specs: Correlation, backends: Sequence[str] = ("cpu", "cpu"), engine: Engine = "native"
) -> int:
    """What was made is what a dealer would deal for these masks; payload bytes, both ways."""

    def run(party: Party) -> Any:
        party.provider.prepare(specs)
        sent = party.channel.traffic.report().sent.payload
        found = [party.provider.take(spec).only for spec in specs]
        return [None if x is None else np.array(party.backend.to_host(x)) for x in found], sent

    simulation = simulate(
        run,
        extend=partial(with_products, engine=engine),
        timeout_s=60,
        backends=(opened(backends[0]), opened(backends[1])),
    )
    (left, sent0), (right, sent1) = simulation.results
    clear = [
        combine(opened(), spec.outputs()[0], a, b) for spec, a, b in zip(specs, left, right, strict=True)
    ]
    dealing = Dealing(opened(), [], [], lambda number: clear[number])
    for spec, found in zip(specs, clear, strict=True):
        if not spec.is_mask:
            (expected,) = spec.deal(dealing)
            assert np.array_equal(found, expected), spec
    for a, spec in zip(left, specs, strict=True):
        assert a is None or int(a.max()) < spec.outputs()[0].prime
    return int(sent0 + sent1)

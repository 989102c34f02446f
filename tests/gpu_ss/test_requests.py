"""Requests for correlations that make no sense, as a hostile server may send them: one error, nothing is dealt."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_ss.backend import get_backend
from gpu_ss.errors import CorrelationError
from gpu_ss.prg import fresh_key
from gpu_ss.provider.correlation import Correlation, Mask
from gpu_ss.provider.dealing import DealingEngine
from gpu_ss.provider.specs.bits import MaskView
from gpu_ss.provider.specs.counts import CountChoices, DigitUnits
from gpu_ss.provider.specs.curve import CurveLookup
from gpu_ss.provider.specs.extended import ExtendedMask
from gpu_ss.provider.specs.inverse import InverseLookup
from gpu_ss.provider.wire import decode_specs, encode_specs

N, BITS = 64, 20
VIEW = MaskView(0, N, BITS, BITS)
SENSELESS: list[Callable[[], Correlation]] = [
    lambda: ExtendedMask(0, N, 30, BITS),
    lambda: ExtendedMask(0, N, 0, BITS),
    lambda: CurveLookup(0, 0, 0, 0, N, BITS, 7, 9, (60, 12), 48, 39),
    lambda: CurveLookup(0, 0, 0, 0, N, BITS, 7, 5, (27, 12), 48, 39),
    lambda: CurveLookup(0, 0, 0, 0, N, BITS, 7, 10, (27, 12), 48, 39),
    lambda: CountChoices(0, 64, VIEW, 15),
    lambda: CountChoices(0, 2, VIEW, 0),
    lambda: DigitUnits(VIEW, (0,), (64,), 2),
    lambda: InverseLookup(0, 0, 0, 0, N, BITS, (1, 2), (3, 4), 5, 12, (35, 16), 2),
    lambda: InverseLookup(0, 0, 0, 0, N, BITS, (1,), (3, 4), 12, 12, (35, 16), 2),
    lambda: InverseLookup(0, 0, 0, 0, N, BITS, (), (), 12, 12, (35, 16), 2),
]


@pytest.mark.parametrize("make", SENSELESS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_senseless_requests_are_one_error(make: Callable[[], Correlation], backend: str) -> None:
    engine = DealingEngine(get_backend(backend), fresh_key(), fresh_key())
    engine.deal(0, Mask((N,), BITS))
    with pytest.raises(CorrelationError, match=r"out of bounds|asks for more than|cannot be made"):
        engine.deal(1, decode_specs(encode_specs(1, [make()]))[1][0])

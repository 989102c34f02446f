"""GeLU as other systems approximate it, to compare with: the functions that their profiles run, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gpu_ss.functions import fourier
from gpu_ss.functions.fitting.polynomials import Function
from gpu_ss.functions.published import BOLT, BUMBLEBEE, FASTLMPI_PAPER, PUMA

#: name -> (approximation, its segments between the tails and their degree or form)
GELU: Mapping[str, tuple[Function, str]] = MappingProxyType(
    {
        "FASTLMPI": (FASTLMPI_PAPER, "3, degree 4"),
        "BOLT": (BOLT, "2, degree 4"),
        "PUMA": (PUMA, "2, degree 6"),
        "BumbleBee": (BUMBLEBEE, "2, degree 6"),
        "SecFormer": (fourier.clear, "1, seven sines"),
    }
)
#: published fits by the function they are of
PUBLISHED: Mapping[str, Mapping[str, tuple[Function, str]]] = MappingProxyType({"gelu": GELU})

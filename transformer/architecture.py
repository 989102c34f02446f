"""What both parties may know of a model: its shape, its task, and the ranges its numbers keep.

Weights are not here. Everything here is sent to the client in clear.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Task = Literal["features", "embedding", "classification", "masked-lm"]
Activation = Literal["gelu", "gelu_tanh", "relu"]
Pooling = Literal["mean", "cls"]


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a name holds characters that cannot be printed")
    return text


#: A server's word that its clients print: nothing in it may drive a terminal.
Name = Annotated[str, Field(max_length=200), AfterValidator(_shown)]


class Architecture(BaseModel):
    """A BERT-type encoder (post-LayerNorm, learned absolute positions) and what is asked of it.

    `task`: "features" gives the last hidden states and, with `pooler`, the pooled first token; "embedding"
    one vector per text (`pooling`, then unit length if `normalise`); "classification" logits of `labels`
    classes; "masked-lm" logits over the vocabulary for each token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(ge=1, le=512)
    hidden: int = Field(ge=2, le=1 << 14)
    heads: int = Field(ge=1, le=1 << 10)
    ffn: int = Field(ge=1, le=1 << 17)
    vocab: int = Field(ge=1, le=1 << 21)
    max_length: int = Field(ge=1, le=1 << 16)
    types: int = Field(ge=0, le=1 << 10)
    eps: float = Field(ge=0, le=1)
    activation: Activation
    task: Task
    pooler: bool = False
    pooling: Pooling | None = None
    normalise: bool = False
    labels: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a hidden size of {self.hidden}")
        if (self.task == "embedding") != (self.pooling is not None):
            raise ValueError("pooling belongs to the task 'embedding'")
        if (self.task == "classification") != bool(self.labels):
            raise ValueError("labels belong to the task 'classification'")
        return self

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @property
    def uses_pooler(self) -> bool:
        return self.pooler and self.task in ("features", "classification")


class Ranges(BaseModel):
    """Powers of two that bound the real values of a model, proven from its weights when it is loaded.

    They size the rings, so they are public: per model six small numbers, rounded up to even ones.
    embedding: entries of the summed embeddings. score: attention scores in units of log2. distance: exponents of a
    Gaussian kernel in the same units (for the profile that has one). value: entries of
    the value vectors. activation: entries of the feed-forward pre-activations and of head layers. norm: the
    L2 norm of any row that is normalised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: int = Field(default=4, ge=1, le=16)
    score: int = Field(default=10, ge=4, le=24)
    distance: int = Field(default=12, ge=4, le=28)
    value: int = Field(default=6, ge=1, le=12)
    activation: int = Field(default=10, ge=4, le=24)
    norm: int = Field(default=10, ge=2, le=20)


class Numbers(BaseModel):
    """Rings and scales of every tensor of a model: derived from Architecture, Ranges and a maximal length.

    Scales (fractional bits): ACTIVATION for what enters a product, PRODUCT for what leaves one. Each ring is the
    smallest that holds its tensor with the two bits of room that truncation and comparison need.
    """

    model_config = ConfigDict(frozen=True)

    arch: Architecture
    ranges: Ranges

    ACTIVATION: int = 12
    PRODUCT: int = 28
    SCORE: int = 24
    EMBEDDING: int = 18

    @property
    def log_hidden(self) -> int:
        """Bits of the next power of two from the hidden size."""
        return (self.arch.hidden - 1).bit_length()

    @property
    def unit_frac(self) -> int:
        """Fractional bits of normalised rows t (|t| <= 1): sqrt(hidden) t has about ACTIVATION of them."""
        return self.ACTIVATION + (self.log_hidden + 1) // 2

    @property
    def unit_weight_frac(self) -> int:
        """Fractional bits of weights that multiply normalised rows (they carry sqrt(hidden) * gamma)."""
        return self.PRODUCT - self.unit_frac

    @property
    def weight_frac(self) -> int:
        """Fractional bits of weights that multiply activations."""
        return self.PRODUCT - self.ACTIVATION

    @property
    def embedding_bits(self) -> int:
        return self.EMBEDDING + self.ranges.embedding + 2

    @property
    def score_bits(self) -> int:
        """Ring of Q K^T at scale SCORE; the scores themselves live in ACTIVATION bits less."""
        return self.SCORE + self.ranges.score + 4

    @property
    def kernel_bits(self) -> int:
        """Ring of a Gaussian kernel's exponents at scale SCORE."""
        return self.SCORE + max(self.ranges.score, self.ranges.distance) + 4

    @property
    def hidden_bits(self) -> int:
        """Ring of what is normalised, at scale PRODUCT: entries times the hidden size must fit."""
        return min(64, self.PRODUCT + self.log_hidden + self.ranges.norm + 3)

    @property
    def compare_bits(self) -> int:
        """Bits that comparisons of an activation function look at."""
        return self.ACTIVATION + self.ranges.activation + 2

    @property
    def norm_frac(self) -> int:
        """Fractional bits of centred rows: as many as their norm leaves room for."""
        return min(24, 30 - self.ranges.norm)

    @property
    def sqrt_hidden(self) -> float:
        return math.sqrt(self.arch.hidden)

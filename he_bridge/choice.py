"""Which way a product is made, and what it costs: from shapes and rings alone, so both parties choose alike.

Times are nanoseconds of CPU of both parties together, measured on a server core (AVX-512) with the compiled
kernels; they decide between ways that differ by factors, and pace the display of progress. A byte counts as
`packed.BYTE_NS`.

    weights   packed (LIN64P, LIN24P for rings up to 24 bits): a product of 128 rows with 768 x 768 takes 1.7 s and
              3.6 MB, of 4 rows 0.4 s and 0.7 MB; nearly proportional to rows times columns.
              RowBatch (LIN64): 5.1 s and 230 MB for 8192 rows, and little less for fewer.
    diagonal  Multiplying by a diagonal matrix [k] is a product with k columns of which each needs one tile of one
              ciphertext: it joins the product of the same mask with other weights, so nothing more is sent there,
              and what remains is merging, 0.16 MB back and 0.1 to 0.2 s for each 8192 elements. (In slots it
              would be 0.05 s and 1 MB for each 8192 elements; a dense matrix of zeros twice the time.) RowBatch has
              it as a dense matrix: its share of the exact product is a quarter of what its replies take.
"""

from __future__ import annotations

from he_bridge import matmul, packed, packing
from he_bridge.packing import Shape
from he_bridge.params import A_DIGITS, B_DIGITS, LIN24P, LIN64, LIN64P, ParameterSet
from he_bridge.slot_sets import TripleParams

#: CPU of both parties for each nanosecond of `packing.cost_ns`, which counts one thread in a quiet process.
_PACKED = 1.3
#: RowBatch: an input encrypted, sent, expanded; an output masked, sent, decrypted; a weight times 8192 rows.
_INPUT_NS, _OUTPUT_NS, _WEIGHT_NS = 1.9e6, 3.2e6, 2.0e3
#: In slots, for each prime: a block of an operand encrypted, sent, multiplied; a block masked, sent, decrypted.
_OPERAND_NS, _BLOCK_NS = 6.0e6, 6.5e6


def linear_set(shape: Shape, bits: int) -> ParameterSet:
    """The parameter set, and with it the engine, for products [rows, inputs] [inputs, outputs] modulo 2^bits."""
    sets = [LIN64P, LIN64] if bits > LIN24P.ring_bits else [LIN24P, LIN64P, LIN64]

    def time(params: ParameterSet) -> float:
        return linear_ns(params, shape) + packed.BYTE_NS * linear_bytes(params, shape, bits)

    return min(sets, key=time)


def linear_ns(params: ParameterSet, shape: Shape) -> float:
    """CPU time of a product with weights."""
    if params.special:
        layouts = [layout for _, _, layout in packed.calls(params, shape)]
        return _PACKED * sum(packing.cost_ns(params, layout, 0.0) for layout in layouts)
    weights = shape.inputs * shape.outputs
    batch = _INPUT_NS * shape.inputs + _OUTPUT_NS * shape.outputs + _WEIGHT_NS * weights
    return -(-shape.rows // params.degree) * batch


def linear_bytes(params: ParameterSet, shape: Shape, bits: int) -> int:
    """Bytes of its ciphertexts, both ways, for a result modulo 2^bits."""
    if params.special:
        layouts = [layout for _, _, layout in packed.calls(params, shape)]
        return sum(sum(packing.message_bytes(params, layout, bits)) for layout in layouts)
    places = -(-shape.rows // params.degree) * params.degree
    up, down = (
        places * params.wire_bits(params.primes),
        places * (bits + A_DIGITS) + shape.rows * (bits + B_DIGITS),
    )
    return (shape.inputs * up + shape.outputs * down) // 8


def matrix_ns(shape: Shape, bits: int, terms: matmul.Terms) -> float:
    """CPU time of a product of shared matrices."""
    params = matmul.matrix_params(bits)
    every = [layouts[k] for _, layouts in matmul.parts(params, shape) for k in terms]
    return _PACKED * sum(packing.cost_ns(params, layout, 0.0) for layout in every)


def slots_ns(params: TripleParams, n: int, vectors: int) -> float:
    """CPU time of n sums of products in slots, for which the client sends that many vectors."""
    blocks = -(-n // params.bfv.degree)
    return blocks * params.count * (vectors * _OPERAND_NS + _BLOCK_NS)

"""The table of kernels: where each one is and what it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    `unit` is its CUDA source file. `codes` has a letter per parameter: p for an array of 64-bit words, h for
    one of 32-bit words, u for uint64, i for int64; the last one, always i, is the number of items and is added
    by the launch. `block` is the number of threads of a CUDA block, `threads` how many of them work on an item:
    one, a warp or the whole block, which then shares `shared` bytes of memory. A kernel with a `tile` computes
    that many rows and columns per item.
    """

    unit: str
    codes: str
    block: int = 256
    threads: int = 1
    tile: tuple[int, int] | None = None
    shared: int = 0


_TREE_BYTES = 2 * 16 << 10  # the nodes of two trees: trees.cu

KERNELS = {
    "keystream": Kernel("keystream.cu", "puuuuuuii"),
    "keystreams": Kernel("keystream.cu", "ppuuuuii"),
    "pack": Kernel("pack.cu", "ppiii"),
    "unpack": Kernel("pack.cu", "ppii"),
    "to_planes": Kernel("planes.cu", "ppiii", block=64),
    "difference_planes": Kernel("planes.cu", "pppiiii", block=64),
    "from_planes": Kernel("planes.cu", "ppiii", block=64),
    "matmul": Kernel("matmul.cu", "pppiiiiiii", block=64),
    "beaver_combine": Kernel("ring.cu", "ppppppui"),
    "ntt_forward": Kernel("ntt.cu", "hhhhiiiiii"),
    "ntt_inverse": Kernel("ntt.cu", "hhhhiiiiii"),
    "multiply_add": Kernel("residues.cu", "hhhhhiiuii"),
    "uniform_residues": Kernel("residues.cu", "phhiii"),
    "binomial_residues": Kernel("residues.cu", "phhhiuii"),
    "ternary_residues": Kernel("residues.cu", "phhhiuii"),
    "scale_up": Kernel("residues.cu", "phhhhuiiii"),
    "drop_prime": Kernel("residues.cu", "hhhhhiiuii"),
    "decode_sum": Kernel("residues.cu", "hhphhpiui"),
    "scale_down": Kernel("residues.cu", "hphhpiuuuui"),
    "product_sums": Kernel("packing.cu", "hhhhhhpiiiii"),
    "slots_forward": Kernel("slots.cu", "pppuiiii"),
    "slots_inverse": Kernel("slots.cu", "pppuiiii"),
    "element_residues": Kernel("slots.cu", "phhhhuuuiuii"),
    "decode_elements": Kernel("slots.cu", "hhphhpiuui"),
    "signed_residues": Kernel("packing.cu", "phhhiii"),
    "inner_products": Kernel("packing.cu", "hhhhhiiuii"),
    "digits": Kernel("packing.cu", "hhhiiii"),
    "merge_kept": Kernel("packing.cu", "hhhiiiii"),
    "merge_turned": Kernel("packing.cu", "hhhiiiii"),
    "centred_columns": Kernel("residues.cu", "hpuiiii"),
    "reduced_columns": Kernel("residues.cu", "phuuiiii"),
    "field_reduce": Kernel("fields.cu", "pppuuuuii"),
    "field_multiply_add": Kernel("fields.cu", "ppppuuiii"),
    "field_dots": Kernel("fields.cu", "pppuuiiii", block=64),
    "field_sums": Kernel("fields.cu", "ppuii", block=64),
    "grow_trees": Kernel("trees.cu", "pppuuuuiii", threads=256, shared=_TREE_BYTES + 1024),
    "regrow_trees": Kernel("trees.cu", "ppppuuiiii", threads=256, shared=_TREE_BYTES + 512),
    "xor_rows": Kernel("trees.cu", "ppiii", block=64),
    "lpn_encode": Kernel("lpn.cu", "pppppuuuuuuiiii", block=128),
    "lpn_complete": Kernel("lpn.cu", "pppii"),
    "tree_offers": Kernel("leaves.cu", "ppppuuuuii", block=64),
    "leaf_fixes": Kernel("leaves.cu", "ppppppuuiii", block=64),
    "hash_blocks": Kernel("hash.cu", "ppuuuuuuiii", block=128),
    "hash_planes": Kernel("hash.cu", "ppuuuuuuiiii", block=128, threads=32),
    "choice_planes": Kernel("triples.cu", "ppii"),
    "and_masked": Kernel("triples.cu", "pppppii"),
    "and_opened": Kernel("triples.cu", "ppppppuii"),
    "word_corrections": Kernel("transfers.cu", "ppppppiiii", block=128),
    "word_shares": Kernel("transfers.cu", "ppppiii", block=128),
    "bit_word_corrections": Kernel("transfers.cu", "ppppiiii", block=128),
    "bit_word_shares": Kernel("transfers.cu", "ppppiii", block=128),
    "product_corrections": Kernel("transfers.cu", "pppppppiiiii", block=128),
    "product_shares": Kernel("transfers.cu", "pppppiiiii", block=128),
    "plane_triples": Kernel("hash.cu", "pppppii"),
    "unpack_add": Kernel("pack.cu", "pppii"),
    "pack_difference": Kernel("pack.cu", "pppiii"),
    "pack_sum": Kernel("pack.cu", "pppiii"),
    "unpack_sum": Kernel("pack.cu", "ppppii"),
    "bit_plane": Kernel("steps.cu", "ppiii"),
    "plane_words": Kernel("steps.cu", "ppii"),
    "unwrap": Kernel("steps.cu", "pppppiii"),
    "bit_products": Kernel("steps.cu", "pppiii"),
    "row_squares": Kernel("steps.cu", "pppuii"),
    "row_sums": Kernel("steps.cu", "ppi", block=64),
    "row_scale": Kernel("steps.cu", "ppppppuii"),
    "piecewise": Kernel("choose.cu", "ppppppiiiiiui"),
    "exp_lookup": Kernel("choose.cu", "ppppiiiui"),
    "exp_finish": Kernel("choose.cu", "ppppii"),
    "table_sums": Kernel("choose.cu", "ppppii"),
    "large_table_sums": Kernel("choose.cu", "ppppii"),
    "line_values": Kernel("curves.cu", "pppiiuuui"),
    "gated_line": Kernel("curves.cu", "pppppppiii"),
    "gated_opened": Kernel("curves.cu", "pppppiui"),
    "picked": Kernel("windows.cu", "pppiii"),
    "near_counts": Kernel("windows.cu", "pppuiiii"),
    "picked_product": Kernel("windows.cu", "ppppuiii"),
    "window_counts": Kernel("windows.cu", "ppppppiiui", block=64),
    "window_lines": Kernel("windows.cu", "ppppppiiiii", block=64),
    "signed_units": Kernel("dealing.cu", "pppii"),
    "spread": Kernel("dealing.cu", "pppiii"),
    "curve_words": Kernel("dealing.cu", "ppppppiiiii"),
    "digit_monomials": Kernel("circuits.cu", "pppii", block=64),
    "plane_products": Kernel("circuits.cu", "pppii"),
    "digit_compare": Kernel("circuits.cu", "ppppiiui", block=64),
    "node": Kernel("circuits.cu", "pppiiui", block=64),
    "node_with_eq": Kernel("circuits.cu", "pppiiui", block=64),
    "node_numbers": Kernel("numbers.cu", "pppiiiui", block=128),
    "all_of": Kernel("circuits.cu", "pppiui", block=64),
}

#: The longest polynomials that a block of threads transforms in shared memory, where every 8th place is left free.
MOST_SHARED_DEGREE = 1 << 13
_POLYNOMIAL_BYTES = 4 * 9 * MOST_SHARED_DEGREE // 8

_STAGES = 3  # tensor.cu


def _tensor(codes: str, limbs: int, tile: tuple[int, int], block: int) -> Kernel:
    return Kernel("tensor.cu", codes, block, block, tile, _STAGES * 32 * limbs * sum(tile))


#: Numbers of 8-bit digits that products on tensor cores are compiled for: words of up to 32, 40, ... 64 bits.
LIMBS = (4, 5, 6, 7, 8)
_TILES = {4: (128, 48), 5: (64, 64), 6: (64, 64), 7: (64, 64), 8: (64, 48)}

#: Kernels that a CPU has no use for.
CUDA_KERNELS = {
    "whole_forward": Kernel("blocks_ntt.cu", "hhhhiiii", block=512, threads=512, shared=_POLYNOMIAL_BYTES),
    "whole_inverse": Kernel("blocks_ntt.cu", "hhhhiiii", block=512, threads=512, shared=_POLYNOMIAL_BYTES),
    "split_left": Kernel("tensor.cu", "phiiii"),
    "split_right": Kernel("tensor.cu", "phiiii"),
    **{f"tensor_{limbs}": _tensor("hhpiiiiiii", limbs, _TILES[limbs], 256) for limbs in LIMBS},
    **{f"small_tensor_{limbs}": _tensor("phpiiiiiii", limbs, (32, 32), 128) for limbs in LIMBS},
}

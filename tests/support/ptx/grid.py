"""A launch: all threads of all blocks at once, one instruction after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.ptx.memory import GARBAGE, Arguments, Fault, Space
from tests.support.ptx.operations import (
    AMOUNTS,
    COMPARISONS,
    FUNCTIONS,
    dtype_of,
    function_of,
    multiply_add,
    unsigned,
)
from tests.support.ptx.text import Address, Instruction, Operand, Program

Words = np.ndarray[Any, Any]
_WARP = 32
_ALL_LANES = np.uint32(0xFFFFFFFF)
_NOWHERE = np.iinfo(np.int32).max


class Grid:
    """The threads of a launch of `program`.

    Of the threads that can go on, those at the lowest instruction do, as compilers expect: so those that took
    different branches meet again. `arguments` has values for all parameters: addresses and numbers.
    """

    def __init__(
        self, program: Program, blocks: int, block: int, shared: int, arrays: Arguments, arguments: list[int]
    ) -> None:
        self._program = program
        self._block = block
        self._threads = np.arange(blocks * block)
        self._arrays = arrays
        self._parameters = dict(zip(program.parameters, arguments, strict=True))
        self._shared_bytes = -(-shared // 16) * 16
        self._shared = Space(np.full(blocks * self._shared_bytes, GARBAGE, np.uint8).view(np.uint32))
        self._registers: dict[str, Words] = {
            "%tid.x": (self._threads % block).astype(np.uint32),
            "%ctaid.x": (self._threads // block).astype(np.uint32),
            "%ntid.x": np.full(blocks * block, block, np.uint32),
            "%nctaid.x": np.full(blocks * block, blocks, np.uint32),
        }
        self._at = np.zeros(blocks * block, np.int32)  # each thread's next instruction
        self._left = np.zeros(blocks * block, bool)
        self._waiting = np.zeros(blocks * block, bool)
        self._active = self._threads  # those that execute an instruction
        self._copies: list[
            tuple[Words, Words, Words, Words]
        ] = []  # in the background: threads, batches, to, from
        self._batches = np.zeros(blocks * block, np.int64)

    def run(self) -> None:
        """To the end of all threads."""
        while not self._left.all():
            at = np.where(self._left | self._waiting, _NOWHERE, self._at)
            now = int(at.min())
            if now == _NOWHERE:
                raise Fault("threads wait at a barrier that others never come to")
            others = at[at != now]
            until = int(others.min()) if others.size else _NOWHERE
            self._run_from(now, min(until, len(self._program.instructions)), np.flatnonzero(at == now))

    def _run_from(self, now: int, until: int, threads: Words) -> None:
        """These threads, up to a branch or to where others are."""
        while now < until:
            instruction = self._program.instructions[now]
            self._active = threads[self._allowed(instruction, threads)] if instruction.guard else threads
            now += 1
            try:
                if instruction.name[0] in _CONTROL:
                    self._at[threads] = now
                    _CONTROL[instruction.name[0]](self, instruction)
                    return
                if self._active.size:
                    self._execute(instruction)
            except (Fault, OverflowError) as error:
                raise Fault(f"{self._program.name}: {error} ({instruction.text})") from None
        self._at[threads] = now
        if now == len(self._program.instructions):
            self._left[threads] = True

    def _allowed(self, instruction: Instruction, threads: Words) -> Words:
        return np.not_equal(self._registers[instruction.guard][threads], instruction.if_not)

    @property
    def _all_active(self) -> bool:
        return self._active.size == self._threads.size

    # Operands, of the active threads

    def _value(self, operand: Operand, type_name: str) -> Words:
        assert isinstance(operand, str)
        dtype = dtype_of(type_name)
        if operand in self._registers:
            held = self._registers[operand]
            held = held if self._all_active else held[self._active]
            if held.dtype == dtype:
                return held
            # Registers may be wider than what is taken from them, never narrower.
            assert held.itemsize >= dtype.itemsize, operand
            return held.astype(f"u{dtype.itemsize}").view(dtype)
        if operand.startswith("%"):
            raise Fault(f"register {operand} has no value yet")
        bits = int(operand[2:], 16) if operand[:2].lower() in ("0d", "0f") else self._number(operand)
        words = np.array([bits % 2 ** (8 * dtype.itemsize)], f"u{dtype.itemsize}")
        return np.broadcast_to(words.view(dtype), self._active.shape)

    def _number(self, word: str) -> int:
        """An immediate, or the address of shared memory."""
        return 0 if word == "shared" else int(word, 0)

    def _put(self, operand: Operand, result: Words) -> None:
        assert isinstance(operand, str)
        width = self._program.widths[operand.rstrip("0123456789")]
        dtype = np.dtype(bool) if width == 1 else np.dtype(f"u{width // 8}")
        if operand not in self._registers:
            garbage = np.full(self._threads.size * dtype.itemsize, GARBAGE, np.uint8)
            self._registers[operand] = garbage.view(dtype) if width > 1 else garbage > 0
        if result.itemsize < dtype.itemsize:  # signed ones keep their sign
            result = result.astype(f"{result.dtype.kind}{dtype.itemsize}")
        self._registers[operand][... if self._all_active else self._active] = unsigned(result)

    def _addresses(self, operand: Operand) -> Words:
        assert isinstance(operand, Address)
        base = operand.base
        type_name = "u64" if base not in self._registers else f"u{8 * self._registers[base].itemsize}"
        return self._value(base, type_name).astype(np.int64) + operand.offset

    # Instructions

    def _execute(self, instruction: Instruction) -> None:
        name = instruction.name
        special = _SPECIAL.get(name[0])
        if special:
            special(self, instruction)
            return
        target, *sources = instruction.operands
        key = function_of(name)
        amounts = AMOUNTS.get(key, ())
        values = [self._value(s, "u32" if k in amounts else instruction.type) for k, s in enumerate(sources)]
        self._put(target, FUNCTIONS[key](*values))

    def _compare(self, instruction: Instruction) -> None:
        target, x, y = instruction.operands
        compared = COMPARISONS[instruction.name[1]]
        self._put(target, compared(self._value(x, instruction.type), self._value(y, instruction.type)))

    def _select(self, instruction: Instruction) -> None:
        target, x, y, choice = instruction.operands
        first, second = self._value(x, instruction.type), self._value(y, instruction.type)
        self._put(target, np.where(self._value(choice, "pred"), first, second))

    def _convert(self, instruction: Instruction) -> None:
        target, x = instruction.operands
        self._put(target, self._value(x, instruction.type).astype(dtype_of(instruction.name[-2])))

    def _load(self, instruction: Instruction) -> None:
        target, address = instruction.operands
        targets = target if isinstance(target, tuple) else (target,)
        dtype = dtype_of(instruction.type)
        if instruction.name[1] == "param":
            assert isinstance(address, Address)
            value = np.array([self._parameters[address.base] % 2**64], np.uint64)
            self._put(target, np.broadcast_to(value, self._active.shape))
            return
        results = np.empty((len(targets), self._active.size), f"u{dtype.itemsize}")
        for space, at, here in self._touched(instruction, address):
            results[:, here] = space.load(at, dtype.itemsize, len(targets), self._ids(here))
        for word, result in zip(targets, results, strict=True):
            self._put(word, result.view(dtype))

    def _store(self, instruction: Instruction) -> None:
        address, source = instruction.operands
        sources = source if isinstance(source, tuple) else (source,)
        values = [unsigned(self._value(word, instruction.type)) for word in sources]
        for space, at, here in self._touched(instruction, address):
            space.store(at, values[0].itemsize, [value[here] for value in values], self._ids(here))

    def _atomic(self, instruction: Instruction) -> None:
        *_, address, source = instruction.operands  # what was there before is not used by our kernels
        value = self._value(source, instruction.type)
        if instruction.name[2] != "add":
            raise NotImplementedError(instruction.text)
        for space, at, here in self._touched(instruction, address):
            space.add(at, value.itemsize, value[here])

    def _touched(self, instruction: Instruction, address: Operand) -> list[tuple[Space, Words, Words]]:
        """(memory, bytes from its beginning on, places among the active threads)."""
        at = self._addresses(address)
        if instruction.name[1] == "global":
            return self._arrays.parts(at)
        return [(self._shared, self._of_block(at), np.arange(at.size))]

    def _of_block(self, at: Words) -> Words:
        """Where in all blocks' shared memory an address of the active threads' blocks is."""
        if ((at < 0) | (at >= self._shared_bytes)).any():
            raise Fault(f"shared memory has no byte {at.max()}")
        return at + self._active // self._block * self._shared_bytes

    def _ids(self, here: Words) -> Words:
        return (1 + self._active[here]).astype(np.int32)

    def _copy(self, instruction: Instruction) -> None:
        """To shared memory in the background: garbage until it is waited for."""
        if "commit_group" in instruction.name:
            self._batches[self._active] += 1
        elif "wait_group" in instruction.name:
            self._deliver(int(str(instruction.operands[0])))
        else:
            to, source, size = instruction.operands
            assert size == "16"
            at, come_from = self._of_block(self._addresses(to)), self._addresses(source)
            garbage = np.full(at.size, 0x0101010101010101 * GARBAGE, np.uint64)
            self._shared.store(at, 8, [garbage, garbage], self._ids(np.arange(at.size)))
            self._copies.append((self._active, self._batches[self._active], at, come_from))

    def _deliver(self, pending: int) -> None:
        """All but the last `pending` batches of the active threads."""
        waits = np.zeros(self._threads.size, bool)
        waits[self._active] = True
        kept = []
        for threads, batches, at, come_from in self._copies:
            done = waits[threads] & (batches < self._batches[threads] - pending)
            ids = (1 + threads[done]).astype(np.int32)
            for space, source, here in self._arrays.parts(come_from[done]) if done.any() else []:
                words = space.load(source, 8, 2, ids[here])
                self._shared.store(at[done][here], 8, words, ids[here])
            if not done.all():
                kept.append((threads[~done], batches[~done], at[~done], come_from[~done]))
        self._copies = kept

    # Warps

    def _by_warp(self, operand: Operand, type_name: str) -> Words:
        """[warps, 32] of warps that are all here."""
        lanes = self._active.reshape(-1, _WARP) if self._active.size % _WARP == 0 else None
        if lanes is None or (lanes[:, 0] % _WARP).any() or (lanes[:, -1] - lanes[:, 0] != _WARP - 1).any():
            raise Fault("not all lanes of a warp are here")
        return self._value(operand, type_name).reshape(-1, _WARP)

    def _shuffle(self, instruction: Instruction) -> None:
        target, source, *how = instruction.operands
        step, clamp, members = (self._value(word, "u32") for word in how)
        if instruction.name[2] != "bfly" or (clamp != _WARP - 1).any() or (members != _ALL_LANES).any():
            raise NotImplementedError(instruction.text)
        lanes = np.arange(_WARP) ^ int(step[0])
        self._put(str(target).partition("|")[0], self._by_warp(source, "b32")[:, lanes].reshape(-1))

    def _vote(self, instruction: Instruction) -> None:
        target, source, members = instruction.operands
        if instruction.name[2] != "ballot" or (self._value(members, "u32") != _ALL_LANES).any():
            raise NotImplementedError(instruction.text)
        bits = self._by_warp(source, "pred") << np.arange(_WARP, dtype=np.uint32)
        self._put(target, np.repeat(np.bitwise_or.reduce(bits, axis=1).astype(np.uint32), _WARP))

    def _tensor(self, instruction: Instruction) -> None:
        if instruction.name[3:] != ("m16n8k32", "row", "col", "s32", "s8", "s8", "s32"):
            raise NotImplementedError(instruction.text)
        target, *sources = (word if isinstance(word, tuple) else () for word in instruction.operands)
        parts = [np.stack([self._by_warp(word, "b32") for word in words], axis=-1) for words in sources]
        result = multiply_add(*parts).reshape(self._active.size, -1)
        for k, word in enumerate(target):
            self._put(word, result[:, k])

    # Control

    def _branch(self, instruction: Instruction) -> None:
        self._at[self._active] = self._program.labels[str(instruction.operands[0])]

    def _leave(self, _: Instruction) -> None:
        self._left[self._active] = True

    def _wait(self, _: Instruction) -> None:
        """At a barrier, until all threads of the block are there."""
        self._waiting[self._active] = True
        waiting = self._waiting.reshape(-1, self._block)
        for block in np.unique(self._active // self._block):
            part = slice(block * self._block, (block + 1) * self._block)
            if self._left[part].any() or np.ptp(self._at[part][self._waiting[part]]):
                raise Fault("threads wait at different barriers, or some have left")
            if waiting[block].all():
                self._waiting[part] = False
                self._shared.forget(slice(block * self._shared_bytes, (block + 1) * self._shared_bytes))


_Step = Callable[[Grid, Instruction], None]
_CONTROL: dict[str, _Step] = {"bra": Grid._branch, "ret": Grid._leave, "bar": Grid._wait}
_SPECIAL: dict[str, _Step] = {
    "setp": Grid._compare, "selp": Grid._select, "cvt": Grid._convert,
    "ld": Grid._load, "st": Grid._store, "atom": Grid._atomic, "red": Grid._atomic, "cp": Grid._copy,
    "shfl": Grid._shuffle, "vote": Grid._vote, "mma": Grid._tensor,
}  # fmt: skip

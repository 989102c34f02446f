"""PTX as text, and as the instructions of a kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass

_COMMENT = re.compile(r"//[^\n]*")
_ENTRY = re.compile(r"\.visible \.entry (\w+)\((.*?)\)[^{]*\{(.*?)\n\}\n", re.DOTALL)
_PARAMETER = re.compile(r"\.param \.u64 (?:\.ptr(?: \.\w+)* (?:\.align \d+ )?)?(\w+)")
_REGISTERS = re.compile(r"\.reg \.(pred|[bfsu](\d+))\s+(%[a-z]+)<\d+>")
_LABEL = re.compile(r"^(\$\w+):")
_GUARD = re.compile(r"^@(!?)(%\w+)\s+")
_ADDRESS = re.compile(r"^\[([%\w]+)(?:\s*\+\s*(-?\d+))?\]$")
_OPERAND = re.compile(r"\{[^}]*\}|[^,{}]+")
_IGNORED = (".reg", ".pragma", ".loc")


@dataclass(frozen=True)
class Address:
    """[base + offset]."""

    base: str
    offset: int


Operand = str | Address | tuple[str, ...]


@dataclass(frozen=True)
class Instruction:
    """`name` split at its dots, e.g. ("ld", "global", "u64"), and what it is applied to, results first."""

    name: tuple[str, ...]
    operands: tuple[Operand, ...]
    text: str
    guard: str = ""
    if_not: bool = False

    @property
    def type(self) -> str:
        """What PTX calls the type of the operands."""
        return self.name[-1]


@dataclass(frozen=True)
class Program:
    """A kernel. `widths`: the bits of registers, by their names without digits; of predicates 1."""

    name: str
    parameters: tuple[str, ...]
    widths: dict[str, int]
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]


def parse(text: str) -> dict[str, Program]:
    """The kernels of a module."""
    found = _ENTRY.findall(_COMMENT.sub("", text))
    return {name: _program(name, parameters, body) for name, parameters, body in found}


def _program(name: str, parameters: str, body: str) -> Program:
    widths = {register: int(bits or 1) for _, bits, register in _REGISTERS.findall(body)}
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for statement in body.split(";"):
        words = " ".join(statement.split())
        while label := _LABEL.match(words):
            labels[label[1]] = len(instructions)
            words = words[label.end() :].strip()
        if words and not words.startswith(_IGNORED):
            instructions.append(_instruction(words))
    return Program(name, tuple(_PARAMETER.findall(parameters)), widths, tuple(instructions), labels)


def _instruction(text: str) -> Instruction:
    guard = _GUARD.match(text)
    name, _, rest = text[guard.end() if guard else 0 :].partition(" ")
    operands = tuple(_operand(word.strip()) for word in _OPERAND.findall(rest) if word.strip())
    if not guard:
        return Instruction(tuple(name.split(".")), operands, text)
    return Instruction(tuple(name.split(".")), operands, text, guard[2], guard[1] == "!")


def _operand(word: str) -> Operand:
    if word.startswith("{"):
        return tuple(part.strip() for part in word[1:-1].split(","))
    address = _ADDRESS.match(word)
    return Address(address[1], int(address[2] or 0)) if address else word

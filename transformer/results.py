"""Results of a query for people and for programs: tables on the console, one JSON object in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gpu_ss.provider.holdings import holdings
from gpu_ss.provider.store import Store
from transformer.architecture import Architecture
from transformer.client import Answer
from transformer.inference import Request, Tokens
from transformer.model import InferencePlan
from transformer.reference import cosines, similarity, tokens_only
from transformer.terms import Terms

Real = NDArray[np.float64]
MAIN_OUTPUT = {
    "embedding": "embedding",
    "features": "last_hidden_state",
    "classification": "logits",
    "masked-lm": "logits",
}
COSINE_TASKS = ("embedding", "features")


@dataclass(frozen=True)
class Result:
    """A query's answer beside what the clear-text model says (if it is at hand)."""

    model: str
    arch: Architecture
    texts: Sequence[str] = field(repr=False)
    tokens: Tokens
    answer: Answer
    reference: dict[str, Real] | None = field(repr=False)
    backend: str
    terms: Terms
    #: Where the correlations came from, if there is a choice, for people.
    note: str = ""

    @property
    def main(self) -> Real:
        """The output the comparison is about, padding set to 0."""
        return self._trimmed(self.answer.outputs)

    @property
    def main_reference(self) -> Real | None:
        return None if self.reference is None else self._trimmed(self.reference)

    def _trimmed(self, outputs: dict[str, Real]) -> Real:
        value = outputs[MAIN_OUTPUT[self.arch.task]]
        return tokens_only(value, self.tokens.keep) if value.ndim == 3 else value

    def cosine(self) -> list[float] | None:
        """Cosine to the reference per text."""
        reference = self.main_reference
        return None if reference is None else cosines(self.main, reference)

    def argmax_equal(self) -> list[bool] | None:
        """Whether the likeliest class (word, at every token) is the reference's, per text."""
        reference = self.main_reference
        if reference is None:
            return None
        same = self.main.argmax(axis=-1) == reference.argmax(axis=-1)
        return [bool(row.all()) for row in same.reshape(len(same), -1)]

    def max_abs_error(self) -> float | None:
        """Largest difference of any number to the reference."""
        reference = self.main_reference
        return None if reference is None else float(np.abs(self.main - reference).max())

    # -- for programs --------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` writes; see docs/quickstart.md for its keys."""
        report = self.answer.report
        main, reference = self.main, self.main_reference
        shown = _rows(main, self.arch)
        result: dict[str, Any] = {
            "model": self.model,
            "task": self.arch.task,
            "inputs": list(self.texts),
            "outputs": shown,
            "reference": None if reference is None else _rows(reference, self.arch),
        }
        if self.arch.task in COSINE_TASKS:
            result["cosine"] = self.cosine()
        else:
            result["argmax_equal"] = self.argmax_equal()
        if self.arch.labels:
            result["labels"] = [self.arch.labels[k] for k in main.argmax(axis=-1)]
        result |= {
            "max_abs_error": self.max_abs_error(),
            "setup_s": report.setup_s,
            "offline_s": report.offline_s,
            "online_s": report.online_s,
            "setup_bytes": _both(report.setup),
            "offline_bytes": _both(report.offline) + report.dealer_bytes,
            "dealer_bytes": report.dealer_bytes,
            "online_bytes": _both(report.online),
            "online_bytes_sent": report.online.sent.bytes,
            "online_bytes_received": report.online.received.bytes,
            "rounds": report.rounds,
            "weights": self.terms.weights,
            "products": self.terms.products,
            "linear": self.terms.linear,
            "engine": self.terms.engine,
            "network": self.terms.network,
            "trust": self.terms.trust,
            "privacy": None if self.terms.privacy is None else self.terms.privacy.model_dump(),
            "profile": self.terms.profile,
            "stored": report.stored,
            "backend": self.backend,
        }
        return result

    def write(self, path: Path) -> None:
        """Write the JSON object."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    # -- for people ----------------------------------------------------------------------------------------

    def show(self, console: Console) -> None:
        """Results beside the reference, similarity matrices, and what it cost."""
        console.print(self._comparison())
        if self.arch.task == "embedding" and len(self.texts) > 1:
            console.print("Sentence similarity, private", _matrix(similarity(self.main)), sep="\n")
            if self.main_reference is not None:
                matrix = _matrix(similarity(self.main_reference))
                console.print("Sentence similarity, clear text", matrix, sep="\n")
        console.print(self._costs())
        if self.terms.privacy is not None:
            console.print(
                f"The result has {self.terms.privacy}; neither party knows the noise.", soft_wrap=True
            )
        if self.note:
            console.print(self.note, soft_wrap=True)

    def _comparison(self) -> Table:
        table = Table(title=f"Private inference, {self.model}: what only the client learns")
        table.add_column("#", justify="right")
        table.add_column("text", max_width=48)
        table.add_column("private result")
        reference = self.main_reference
        if reference is not None:
            table.add_column("clear text (torch)")
            table.add_column("cosine" if self.arch.task in COSINE_TASKS else "same choice", justify="right")
        scores = self.cosine() if self.arch.task in COSINE_TASKS else self.argmax_equal()
        for k, text in enumerate(self.texts):
            row = [str(k + 1), text, _brief(self.main[k], self.arch)]
            if reference is not None and scores is not None:
                score = scores[k]
                shown = f"{score:.7f}" if isinstance(score, float) else ("yes" if score else "NO")
                row += [_brief(reference[k], self.arch), shown]
            table.add_row(*row)
        return table

    def _costs(self) -> Table:
        report = self.answer.report
        table = Table(
            title=f"Cost ({self.backend}, trust {self.terms.trust}, weights {self.terms.weights}, "
            f"products by {self.terms.products})"
        )
        dealt = self.terms.trust == "dealer"
        columns = ["phase", "seconds", "client sent", "client received", "rounds"]
        for name in [*columns[:-1], "dealer to server", columns[-1]] if dealt else columns:
            table.add_column(name, justify="left" if name == "phase" else "right")
        rows = [
            ("set-up (once)", report.setup_s, report.setup, None),
            (
                "offline (stored)" if report.stored else "offline",
                report.offline_s,
                report.offline,
                report.dealer_bytes,
            ),
            ("online", report.online_s, report.online, None),
        ]
        for name, seconds, traffic, dealer in rows:
            row = [name, f"{seconds:.2f}", megabytes(traffic.sent.bytes), megabytes(traffic.received.bytes)]
            row += ["" if dealer is None else megabytes(dealer)] if dealt else []
            table.add_row(*row, str(traffic.rounds) if name == "online" else "")
        return table


@dataclass(frozen=True)
class Prepared:
    """What `fastlmpi prepare` has done. bytes: of one query on the disk; used: of the whole store here."""

    request: Request
    queries: int
    seconds: float
    bytes_here: int
    bytes_there: int
    used: int
    held: Mapping[str, int]

    def show(self, console: Console) -> None:
        """What was made, and what there is now."""
        shape = f"{self.request.batch} x {self.request.length}"
        held = ", ".join(f"{count} of {label}" for label, count in sorted(self.held.items()))
        here, there = self.queries * self.bytes_here, self.queries * self.bytes_there
        for line in (
            f"Prepared {self.queries} queries of {shape} tokens in {self.seconds:.1f} s: "
            f"{megabytes(here)} here, {megabytes(there)} at the server.",
            f"In the store for this server and model: {held}; all in all {megabytes(self.used)}.",
            f"Ask with the same --store and --pad-to {self.request.length}.",
        ):
            console.print(line, soft_wrap=True)


def plan_table(name: str, found: InferencePlan) -> Table:
    """What a query will cost, step by step."""
    summary: dict[str, Any] = found.summary()
    ways = {
        "dealer to server": summary["dealer_bytes"],
        "by encryption": summary["encryption_bytes"],
        "by oblivious transfer": summary["transfer_bytes"],
    }
    offline = ", ".join(f"{name} {megabytes(size)}" for name, size in ways.items() if size)
    caption = (
        f"{summary['rounds']} online rounds; set-up {megabytes(summary['setup_bytes'])} once per session; "
        f"offline per query: {offline or 'nothing'}. On the network {summary['network']} these take about "
        f"{summary['network_online_s']} s online, {summary['network_offline_s']} s before; large comparisons are "
        f"made on {'the own shares' if summary['shares_compared'] else 'masked values'}"
    )
    tokens = f"batch {summary['batch']} x {summary['length']} tokens"
    shape = f"{tokens}, profile {summary['profile']}, trust {summary['trust']}, {summary['weights']} weights"
    table = Table(title=f"{name}: {shape}", caption=caption)
    for column in ("step", "messages", "client sends", "server sends"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for tag, row in sorted(found.query.tags.items(), key=lambda kv: -sum(kv[1].sent)):
        table.add_row(tag, str(row.messages), *(megabytes(s) for s in row.sent))
    table.add_row(
        "total", str(summary["rounds"]), megabytes(found.query.sent[0]), megabytes(found.query.sent[1])
    )
    return table


def store_table(name: str, store: Store) -> Table:
    """What a store holds."""
    table = Table(title=f"{name}: {megabytes(store.used_bytes())} of {megabytes(store.limit_bytes)}")
    for column in ("peer", "model and terms", "texts x tokens", "queries", "size", ""):
        table.add_column(column)
    for found in holdings(store):
        note = "" if found.latest else "not used last: --clean removes it"
        count, size = str(found.count), megabytes(found.size)
        table.add_row(found.peer[:8], found.context.hex()[:8], found.label, count, size, note)
    return table


def megabytes(count: int) -> str:
    """Bytes as MB (10^6)."""
    return f"{count / 1e6:.2f} MB"


def _both(traffic: Any) -> int:
    return int(traffic.sent.bytes + traffic.received.bytes)


def _rows(values: Real, arch: Architecture) -> list[Any]:
    """JSON rows: vectors as they are; for masked-lm the likeliest word ids."""
    if arch.task == "masked-lm":
        return [[int(k) for k in row] for row in values.argmax(axis=-1)]
    return [row.tolist() for row in values]


def _brief(row: Real, arch: Architecture) -> str:
    if arch.labels:
        best = int(row.argmax())
        return f"{arch.labels[best]} ({row[best]:+.4f})"
    if arch.task == "masked-lm":
        return "ids " + " ".join(str(int(k)) for k in row.argmax(axis=-1)[:6]) + " ..."
    flat = row.reshape(-1)
    return " ".join(f"{v:+.4f}" for v in flat[:4]) + " ..."


def _matrix(values: Real) -> Table:
    table = Table()
    table.add_column("")
    for k in range(len(values)):
        table.add_column(str(k + 1), justify="right")
    for k, row in enumerate(values):
        table.add_row(str(k + 1), *(f"{v:.4f}" for v in row))
    return table

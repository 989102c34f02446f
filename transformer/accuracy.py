"""`fastlmpi accuracy`: what each profile makes of a model, beside the model in clear, on texts or a labelled file.

All texts are emulated in clear (emulation.py); a sample of them also runs privately, between real processes, and is
compared with both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from transformer import hf
from transformer.architecture import Architecture, Task
from transformer.client import Limits, check_texts, load_tokenizer, tokenize
from transformer.demo import TEXTS, among_processes
from transformer.emulation import Emulator, batches
from transformer.errors import InputError
from transformer.inference import Tokens
from transformer.model import PrivateModel
from transformer.profiles import PROFILES
from transformer.programs import open_client
from transformer.reference import (
    LayerNorms,
    cosines,
    layer_norms,
    load_reference,
    run_with_layers,
    tokens_only,
)
from transformer.results import COSINE_TASKS, MAIN_OUTPUT
from transformer.session import Progress, no_progress
from transformer.settings import Settings
from transformer.terms import ProfileName, Terms, TrustMode

Real = NDArray[np.float64]
PRIVATE_TOKENS = 1024  # of a private query, so that its correlations stay small


@dataclass(frozen=True)
class Sample:
    """A private run of the first texts: seconds, bytes of both directions, and how far it is from the emulation.

    queries: of one session; each takes texts of similar length. rounds: of the query with the most. agreement: how
    often the likeliest class (word) is the clear model's.
    """

    texts: int
    queries: int
    offline_s: float
    online_s: float
    offline_bytes: int
    online_bytes: int
    rounds: int
    max_difference: float
    agreement: float | None


@dataclass(frozen=True)
class Figures:
    """A profile on all texts, against the model in clear.

    layers: relative root mean square error of the hidden states of real tokens, before the first layer and after
    each. cosine: of each text's main output. agreement: how often the likeliest class (word) is the clear model's;
    accuracy, clear_accuracy: how often it is the label's. rounds, bytes: planned for one text of `length` tokens.
    """

    profile: ProfileName
    tuned: str | None
    texts: int
    length: int
    layers: tuple[float, ...]
    cosine_min: float
    cosine_mean: float
    max_abs_error: float
    agreement: float | None
    accuracy: float | None
    clear_accuracy: float | None
    rounds: int
    online_bytes: int
    offline_bytes: int
    emulated_s: float
    private: Sample | None


@dataclass(frozen=True)
class Study:
    """All profiles on one model."""

    model: str
    task: Task
    trust: TrustMode
    figures: tuple[Figures, ...]


def chosen_profiles(names: str) -> list[ProfileName]:
    """The profiles of a comma-separated list, or of "all". Raises InputError."""
    known = get_args(ProfileName)
    wanted = list(known) if names == "all" else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"there is no profile {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return cast(list[ProfileName], list(dict.fromkeys(wanted)))


def read_texts(path: Path) -> list[str]:
    """One text a line; empty lines are left out. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__})") from None
    return [line for line in lines if line.strip()]


def read_labelled(path: Path, arch: Architecture) -> tuple[list[str], list[int]]:
    """Lines LABEL <tab> TEXT; a label is a class's name or number. Raises InputError naming the line."""
    if not arch.labels:
        raise InputError(f"labels are for classification; this model's task is {arch.task}")
    numbers = {name: k for k, name in enumerate(arch.labels)} | {str(k): k for k in range(len(arch.labels))}
    texts, labels = [], []
    for number, line in enumerate(read_texts(path), 1):
        label, tab, text = line.partition("\t")
        if not tab or label not in numbers or not text.strip():
            raise InputError(
                f"{path}, text {number}: expected LABEL, a tab and a text, with a label of the model"
            )
        texts.append(text)
        labels.append(numbers[label])
    return texts, labels


@dataclass(frozen=True)
class Question:
    """What is asked of every profile: a model, texts, perhaps their labels, and how many of them privately."""

    model: str | None
    task: Task | None
    texts: Sequence[str]
    labels: Sequence[int] | None
    trust: TrustMode = "dealer"
    private: int = 0
    backend: str = "cpu"
    widths: Path | None = None


def study(question: Question, profiles: Sequence[ProfileName], progress: Progress = no_progress) -> Study:
    """All figures. Raises ModelError, InputError, and what a private run may raise."""
    check_texts(question.texts)
    folder = hf.find_model(question.model)
    arch = hf.read_architecture(folder, question.task)
    clear = _Clear(question, folder, arch, progress)
    figures = tuple(_figures(question, clear, profile, progress) for profile in profiles)
    return Study(folder.name, arch.task, question.trust, figures)


@dataclass(frozen=True)
class _Part:
    """A batch of texts: which they are, their tokens, the clear model's outputs and hidden states."""

    order: NDArray[np.int64]
    tokens: Tokens
    outputs: Real
    layers: list[Real]


class _Clear:
    """The clear-text model on all texts, in batches."""

    def __init__(
        self, question: Question, folder: hf.ModelFolder, arch: Architecture, progress: Progress
    ) -> None:
        self.arch, self.folder = arch, str(folder.path)
        self.tokens = tokenize(list(question.texts), load_tokenizer(folder.path), Limits(arch))
        model = load_reference(folder, arch)
        self.norms: LayerNorms = layer_norms(model)
        self.parts = list(self._run(model, progress))
        self.outputs = {
            int(k): row for part in self.parts for k, row in zip(part.order, part.outputs, strict=True)
        }

    def _run(self, model: Any, progress: Progress) -> Iterator[_Part]:
        done, total = 0, len(self.tokens.ids)
        for order, tokens in batches(self.tokens):
            outputs, layers = run_with_layers(model, self.arch, tokens)
            yield _Part(order, tokens, _main(outputs, self.arch, tokens), layers)
            done += len(order)
            progress("clear", done, total)


def _main(outputs: dict[str, Real], arch: Architecture, tokens: Tokens) -> Real:
    """The output that a comparison is about, padding set to 0."""
    value = outputs[MAIN_OUTPUT[arch.task]]
    return tokens_only(value, tokens.keep) if value.ndim == 3 else value


def _figures(question: Question, clear: _Clear, profile: ProfileName, progress: Progress) -> Figures:
    terms = _terms(question.trust, profile)
    model = PrivateModel.load(question.model, question.task, terms, question.widths)
    emulator, start = Emulator(model, question.backend), time.perf_counter()
    errors, total = _Errors(clear, model.numbers.row_factor, question.labels), len(question.texts)
    found: dict[int, Real] = {}
    for part in clear.parts:
        emulated = emulator.run(part.tokens)
        outputs = _main(emulated.outputs, clear.arch, part.tokens)
        errors.add(part, outputs, emulated.rows)
        found |= {int(k): row for k, row in zip(part.order, outputs, strict=True)}
        progress(profile, len(found), total)
    seconds = time.perf_counter() - start
    plan = model.plan(1, clear.tokens.ids.shape[1])
    made = plan.made_bytes
    return Figures(
        profile=profile,
        tuned=PROFILES[profile].tuned,
        texts=total,
        length=clear.tokens.ids.shape[1],
        **errors.figures(),
        rounds=plan.query.rounds,
        online_bytes=sum(plan.query.sent),
        offline_bytes=plan.dealer_bytes + made["he"] + made["ot"],
        emulated_s=seconds,
        private=_private(question, clear, profile, found, progress) if question.private else None,
    )


def _terms(trust: TrustMode, profile: ProfileName) -> Terms:
    return Terms(trust=trust, products="he" if trust == "two-party" else "dealer", profile=profile)


class _Errors:
    """Sums up the differences of a profile's outputs to the clear model's, batch by batch."""

    def __init__(self, clear: _Clear, row_factor: float, labels: Sequence[int] | None) -> None:
        self._clear, self._row_factor, self._labels = clear, row_factor, labels
        self._cosines: list[float] = []
        self._largest = 0.0
        self._equal: list[bool] = []
        self._right: list[tuple[bool, bool]] = []
        self._layers = np.zeros((len(clear.norms), 2))

    def add(self, part: _Part, outputs: Real, rows: Sequence[Real]) -> None:
        """One batch."""
        self._cosines += cosines(outputs, part.outputs)
        self._largest = max(self._largest, float(np.abs(outputs - part.outputs).max()))
        for k, (t, (gamma, beta), expected) in enumerate(
            zip(rows, self._clear.norms, part.layers, strict=True)
        ):
            states = t * gamma * self._row_factor + beta
            error, size = (tokens_only(x, part.tokens.keep) for x in (states - expected, expected))
            self._layers[k] += (error**2).sum(), (size**2).sum()
        if self._clear.arch.task in COSINE_TASKS:
            return
        best, clear = outputs.argmax(axis=-1), part.outputs.argmax(axis=-1)
        self._equal += [bool(np.array_equal(a, b)) for a, b in zip(best, clear, strict=True)]
        if self._labels is not None:
            wanted = np.array(self._labels)[part.order]
            self._right += [(bool(a), bool(b)) for a, b in zip(best == wanted, clear == wanted, strict=True)]

    def figures(self) -> dict[str, Any]:
        """The fields of Figures that come from outputs."""
        right = np.array(self._right, np.float64).mean(axis=0) if self._right else (None, None)
        return {
            "layers": tuple(float(e) for e in np.sqrt(self._layers[:, 0] / self._layers[:, 1])),
            "cosine_min": min(self._cosines),
            "cosine_mean": float(np.mean(self._cosines)),
            "max_abs_error": self._largest,
            "agreement": float(np.mean(self._equal)) if self._equal else None,
            "accuracy": right[0] if right[0] is None else float(right[0]),
            "clear_accuracy": right[1] if right[1] is None else float(right[1]),
        }


def _private(
    question: Question, clear: _Clear, profile: ProfileName, emulated: dict[int, Real], progress: Progress
) -> Sample:
    """The first texts between real processes: one session, a query for those of similar length."""
    arch, first = clear.arch, _first(clear.tokens, question.private)
    parts, answers = list(batches(first, PRIVATE_TOKENS)), []
    chosen: dict[str, Any] = {
        "model": clear.folder,
        "task": question.task,
        "profile": profile,
        "weights": "private",
    }
    chosen |= {"backend": question.backend, "trust": question.trust, "widths": question.widths}

    def ask(settings: Settings) -> None:
        with open_client(settings) as client:
            for order, tokens in parts:
                answers.append((order, tokens, client.ask(tokens)))
                progress(f"{profile}, private", sum(len(done) for done, *_ in answers), len(first.ids))

    among_processes(chosen, ask)
    differences, equal = [], []
    for order, tokens, answer in answers:
        rows = _main(answer.outputs, arch, tokens)
        for k, row, count in zip(map(int, order), rows, tokens.keep.sum(axis=1), strict=True):
            found, near, right = (_tokens(x, count) for x in (row, emulated[k], clear.outputs[k]))
            differences.append(float(np.abs(found - near).max()))
            equal.append(np.array_equal(found.argmax(axis=-1), right.argmax(axis=-1)))
    reports = [answer.report for *_, answer in answers]
    return Sample(
        texts=len(first.ids),
        queries=len(reports),
        offline_s=sum(r.offline_s for r in reports),
        online_s=sum(r.online_s for r in reports),
        offline_bytes=sum(r.offline.sent.bytes + r.offline.received.bytes + r.dealer_bytes for r in reports),
        online_bytes=sum(r.online.sent.bytes + r.online.received.bytes for r in reports),
        rounds=max(r.rounds for r in reports),
        max_difference=max(differences),
        agreement=None if arch.task in COSINE_TASKS else float(np.mean(equal)),
    )


def _first(tokens: Tokens, count: int) -> Tokens:
    return Tokens(tokens.ids[:count], tokens.types[:count], tokens.keep[:count])


def _tokens(output: Real, count: int) -> Real:
    """One text's output, of its real tokens where it is per token."""
    return output[:count] if output.ndim == 2 else output


def asked(
    settings: Settings,
    text: Sequence[str] | None,
    texts: Path | None,
    labelled: Path | None,
    private: int,
) -> Question:
    """The question of the command's options: texts given, of a file, labelled, or those of the demo."""
    given = [bool(text), texts is not None, labelled is not None]
    if sum(given) > 1:
        raise InputError("give --text, --texts or --labelled, not several of them")
    labels = None
    if labelled is not None:
        arch = hf.read_architecture(hf.find_model(settings.model), settings.task)
        chosen, labels = read_labelled(labelled, arch)
    else:
        chosen = read_texts(texts) if texts is not None else list(text or TEXTS)
    return Question(
        settings.model,
        settings.task,
        chosen,
        labels,
        settings.trust,
        private,
        settings.backend,
        settings.widths,
    )

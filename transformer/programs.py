"""The party programs behind the commands: sockets, keys, loops, logs."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gpu_ss.backend import get_backend
from gpu_ss.errors import SharingError
from gpu_ss.functions.privacy import Guarantee
from gpu_ss.provider.store import Store
from gpu_ss.session import Opener
from net import Channel, KeyPair, Listener, NetError, connect, report_ready
from transformer import hf
from transformer.client import Client, check_texts, load_tokenizer, tokenize
from transformer.dealer import Dealer
from transformer.errors import InputError, ModelError
from transformer.inference import Request
from transformer.model import PrivateModel, check_request
from transformer.reference import load_reference, run_reference
from transformer.results import Prepared, Result, megabytes
from transformer.server import Server
from transformer.session import Progress as OnProgress
from transformer.session import no_progress
from transformer.settings import Settings, SettingsError
from transformer.stock import label_of, stored_sizes

STAGES = {
    "prepare": "prepare: queries",
    "setup": "set-up: weights under masks",
    "offline": "offline: correlations",
    "ahead": "ahead: the next query's",
    "online": "online: rounds",
}


def run_dealer(settings: Settings, once: bool) -> None:
    """The dealer: one visit after the other. `once`: until the first server has left."""
    dealer = Dealer(get_backend(settings.backend_name), _log)
    with Listener(
        settings.dealer, settings.own_keys("dealer"), settings.visitors(), settings.zmq
    ) as listener:
        _announce("dealer", listener.address)
        _accept_for_ever(listener, dealer.serve, 2 if once else None)


def run_server(settings: Settings, once: bool) -> None:
    """The server: loads its model, then one session after the other."""
    keys, peers, store = settings.own_keys("server"), settings.clients(), settings.open_store()
    if store is not None:
        _log(f"store {settings.store}: {megabytes(store.used_bytes())} of {megabytes(store.limit_bytes)}")
    open_dealer = _dealer_opener(settings, keys)
    model = PrivateModel.load(settings.model, settings.task, settings.terms)
    _log(
        f"model {model.card.name}, task {model.card.arch.task}, weights {settings.weights}, "
        f"trust {settings.trust}, profile {settings.profile}"
    )
    server = Server(
        model,
        open_dealer,
        settings.backend_name,
        settings.material_limit_mb << 20,
        log=_log,
        store=store,
        memory_limit_bytes=settings.memory_limit_mb << 20,
    )
    with Listener(settings.server, keys, peers, settings.zmq) as listener:
        _announce("server", listener.address)
        _accept_for_ever(listener, server.serve, 1 if once else None)


def _accept_for_ever(listener: Listener, serve: Callable[[Channel], object], visits: int | None) -> None:
    """Serve visits; one that fails is logged and the next one is served. With `visits` set, a failure ends
    the program instead.

    Of an error that is not made for people the log says where, and not what: its text may hold secrets.
    """
    done = 0
    while visits is None or done < visits:
        channel = listener.accept()
        try:
            serve(channel)
        except Exception as error:
            if visits is not None:
                raise
            expected = isinstance(error, NetError | SharingError | ModelError)
            _log(f"{channel.peer}: session failed: {error if expected else _where(error)}")
        done += 1


def _where(error: Exception) -> str:
    """The kind of an error that nobody expected, and the lines it came through."""
    lines = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at {' > '.join(lines)}. Please report this"


def run_query(
    settings: Settings, texts: Sequence[str], compare: bool, pad_to: int | None, quiet: bool
) -> Result:
    """The client: one session with one query."""
    keys = settings.own_keys("client")
    open_server = _server_opener(settings, keys)
    return ask(open_server, _dealer_opener(settings, keys), settings, texts, compare, pad_to, quiet)


def run_prepare(settings: Settings, queries: int, request: Request, quiet: bool) -> Prepared:
    """The client: one session in which the correlations of so many queries of a shape are made and stored.

    What was made before an error stays. Raises StoreError if there is no room at either side.
    """
    store = settings.open_store()
    if store is None:
        raise SettingsError("say where to keep what is prepared: --store FOLDER")
    open_server = _server_opener(settings, settings.own_keys("client"))
    with (
        progress_bars(quiet) as progress,
        _client(settings, open_server, None, progress, store) as client,
    ):
        check_request(request, client.card)
        here, there = stored_sizes(client.card, request)
        _log(
            f"{queries} queries of {label_of(request)} tokens take {megabytes(queries * here)} of disk here and "
            f"{megabytes(queries * there)} at the server"
        )
        start = time.perf_counter()
        client.prepare(request, queries)
        held = client.stock.held()
        if client.stock.evicted:
            _log(f"removed {client.stock.evicted} stored queries of another model or other terms: no room")
    return Prepared(request, queries, time.perf_counter() - start, here, there, store.used_bytes(), held)


def run_lines(
    settings: Settings,
    lines: Iterable[str],
    show: Callable[[Result], None],
    pad_to: int | None,
    ahead: int,
    quiet: bool,
) -> int:
    """The client: one session, a query for each line. While it waits for a line, it keeps `ahead` queries prepared.

    They are of the shape of the query before, or, before the first, of one text of `pad_to` tokens. A text that
    does not fit is said, and the next one is asked about; how many these were.
    """
    refused = 0
    store = settings.open_store()
    if ahead and store is None:
        raise SettingsError("say where to keep what is prepared ahead: --store FOLDER")
    keys = settings.own_keys("client")
    with _asking(
        settings, _server_opener(settings, keys), _dealer_opener(settings, keys), quiet, store
    ) as session:
        shape = None
        if ahead and pad_to:
            shape = Request(batch=1, length=pad_to)
            session.client.prepare_in_background(shape, ahead)
        for line in filter(None, map(str.strip, lines)):
            try:
                result = session.ask([line], False, pad_to)
            except InputError as error:  # nothing was sent
                _log(f"error: {error}")
                refused += 1
                continue
            show(result)
            if ahead and shape != result.tokens.request:
                shape = result.tokens.request
                session.client.prepare_in_background(shape, ahead)
    return refused


def _client(
    settings: Settings,
    open_server: Opener,
    open_dealer: Opener | None,
    progress: OnProgress,
    store: Store | None,
) -> Client:
    """A session's client; with public weights it holds the model too."""
    terms, memory = settings.terms, settings.memory_limit_mb << 20
    get_backend(settings.backend_name)  # what does not work is said before anybody is called
    own = PrivateModel.load(settings.model, settings.task, terms) if terms.public else None
    backend, profile = settings.backend_name, settings.profile
    return Client(open_server, open_dealer, backend, own, progress, store, memory, profile)


def _server_opener(settings: Settings, keys: KeyPair) -> Opener:
    """How the client reaches the server."""
    server_key = settings.peer_key("server")
    return lambda: connect(settings.server, keys, server_key, settings.zmq)


def _dealer_opener(settings: Settings, keys: KeyPair) -> Opener | None:
    """How to reach the dealer, if there is one."""
    if settings.trust == "two-party":
        return None
    dealer_key = settings.peer_key("dealer")
    return lambda: connect(settings.dealer, keys, dealer_key, settings.zmq)


def ask(
    open_server: Opener,
    open_dealer: Opener | None,
    settings: Settings,
    texts: Sequence[str],
    compare: bool,
    pad_to: int | None,
    quiet: bool,
) -> Result:
    """One query through open channels."""
    check_texts(texts)
    with _asking(settings, open_server, open_dealer, quiet, settings.open_store()) as session:
        return session.ask(texts, compare, pad_to)


@dataclass(frozen=True)
class _Asking:
    """A session with a server, and what texts need."""

    settings: Settings
    client: Client
    folder: hf.ModelFolder
    tokenizer: Any

    def ask(self, texts: Sequence[str], compare: bool, pad_to: int | None) -> Result:
        """Tokenize, ask, compare if wanted."""
        client, card = self.client, self.client.card
        tokens = tokenize(texts, self.tokenizer, card, pad_to)
        clear = load_reference(self.folder, card.arch) if compare else None
        answer = client.ask(tokens)
        stored = answer.report.stored
        note = client.about_store(tokens.request, stored) if self.settings.store else ""
        reference = None if clear is None else run_reference(clear, card.arch, tokens)
        backend = get_backend(self.settings.backend_name).name
        return Result(card.name, card.arch, texts, tokens, answer, reference, backend, card.terms, note)


@contextmanager
def _asking(
    settings: Settings, open_server: Opener, open_dealer: Opener | None, quiet: bool, store: Store | None
) -> Iterator[_Asking]:
    folder, terms = hf.find_model(settings.model), settings.terms
    tokenizer = load_tokenizer(folder.path)
    with (
        progress_bars(quiet) as progress,
        _client(settings, open_server, open_dealer, progress, store) as client,
    ):
        _check_privacy(terms.privacy, client.card.terms.privacy)
        hf.check_same(folder, client.card.arch)
        yield _Asking(settings, client, folder, tokenizer)


def _check_privacy(asked: Guarantee | None, stated: Guarantee | None) -> None:
    """Who asks for noise gets that noise or an error."""
    if asked not in (None, stated):
        raise SettingsError(
            f"this side asks for {asked}, the server adds {stated or 'none'}; "
            "state the same at both, or nothing here"
        )


@contextmanager
def progress_bars(quiet: bool) -> Iterator[OnProgress]:
    """Bars on stderr, one per stage; silent when asked to or when nobody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield no_progress if quiet else _Milestones(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, object] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(STAGES.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield update


class _Milestones:
    """For logs: a line when a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done == total:
            self._console.print(
                f"{STAGES.get(stage, stage)}: done, {time.perf_counter() - self._start:.1f} s since the start"
            )


def _announce(role: str, address: str) -> None:
    _log(f"{role} listens at {address}")
    report_ready({"address": address})


def _log(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()

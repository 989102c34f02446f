"""The store: what is written is taken once, what is torn or half written never, and never beyond the limit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gpu_ss.errors import StoreError
from gpu_ss.provider import store as module
from gpu_ss.provider.reel import HEADER_BYTES
from gpu_ss.provider.store import Shelf, Store
from tests.support.reels import OTHER, PURPOSE, new_head, packed_words, put, write

ROOT = Path(__file__).parents[3]
PLENTY = 1 << 30
SIZE = new_head().file_bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", PLENTY)


@pytest.fixture
def shelf(store: Store) -> Shelf:
    return store.shelf("a peer's key")


def file_of(shelf: Shelf) -> Path:
    (path,) = shelf._folder.iterdir()
    return path


def test_what_is_written_is_taken(store: Store, shelf: Shelf) -> None:
    seed, head = b"s" * 32, new_head()
    with shelf.draft(head) as draft:
        write(draft, 0, key=seed)
        draft.commit()
    assert store.used_bytes() == file_of(shelf).stat().st_size == head.file_bytes
    assert shelf.heads(PURPOSE) == [head]
    reel = shelf.take(head.id, 0, PURPOSE)
    assert reel is not None
    assert (reel.head, reel.seed) == (head, seed)
    assert np.array_equal(reel.words, packed_words(0))
    assert not list(shelf._folder.iterdir())


def test_once(shelf: Shelf) -> None:
    head = put(shelf)
    assert shelf.take(head.id, 0, PURPOSE) is not None
    assert shelf.take(head.id, 0, PURPOSE) is None
    assert shelf.heads(PURPOSE) == []


def test_it_is_gone_before_it_is_read(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither file nor name on the disk when the first byte after the header is looked at."""
    head = put(shelf)
    synced: list[Path] = []
    real_sync, real_body = module._sync, module._body

    def body(*args: object) -> object:
        assert not list(shelf._folder.iterdir())
        assert synced == [shelf._folder]
        return real_body(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_sync", lambda folder: (synced.append(folder), real_sync(folder)))
    monkeypatch.setattr(module, "_body", body)
    assert shelf.take(head.id, 0, PURPOSE) is not None


def test_oldest_first(shelf: Shelf) -> None:
    heads = [put(shelf) for _ in range(4)]
    for age, head in enumerate(reversed(heads)):
        os.utime(shelf._path(head.id, ".reel"), (1e9 + age, 1e9 + age))
    assert shelf.heads(PURPOSE) == heads[::-1]


def test_only_the_owner_may_read(store: Store, shelf: Shelf, tmp_path: Path) -> None:
    store.key()
    put(shelf)
    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(StoreError, match="chmod 700"):
        Store(tmp_path / "open", PLENTY)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file", PLENTY)


@pytest.mark.parametrize("keep", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 40, SIZE - 1])
def test_cut_off_files_are_refused(shelf: Shelf, keep: int) -> None:
    head = put(shelf)
    os.truncate(file_of(shelf), keep)
    assert shelf.take(head.id, 0, PURPOSE) is None
    assert not list(shelf._folder.iterdir()), "and gone"


@pytest.mark.parametrize(
    "where", [0, 9, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 33, SIZE - 33, SIZE - 1]
)
def test_changed_bytes_are_noticed(shelf: Shelf, where: int) -> None:
    head = put(shelf)
    data = bytearray(file_of(shelf).read_bytes())
    data[where] ^= 1
    file_of(shelf).write_bytes(data)
    assert shelf.take(head.id, 0, PURPOSE) is None


def test_a_size_that_a_header_only_claims_is_not_allocated(shelf: Shelf) -> None:
    head = put(shelf)
    data = bytearray(file_of(shelf).read_bytes())
    data[24:32] = (1 << 60).to_bytes(8, "little")  # words
    file_of(shelf).write_bytes(data)
    assert shelf.take(head.id, 0, PURPOSE) is None


def test_longer_files_are_refused(shelf: Shelf) -> None:
    head = put(shelf)
    with file_of(shelf).open("ab") as file:
        file.write(b"more")
    assert shelf.take(head.id, 0, PURPOSE) is None


def test_a_renamed_reel_is_not_another_one(shelf: Shelf) -> None:
    put(shelf)
    other = new_head()
    file_of(shelf).rename(shelf._path(other.id, ".reel"))
    assert shelf.heads(PURPOSE) == []
    assert shelf.take(other.id, 0, PURPOSE) is None


def test_other_ranks_and_purposes_leave_it_alone(shelf: Shelf) -> None:
    head = put(shelf)
    assert shelf.take(head.id, 1, PURPOSE) is None
    assert shelf.take(head.id, 0, OTHER) is None
    assert shelf.heads(OTHER) == []
    assert shelf.take(new_head().id, 0, PURPOSE) is None
    assert shelf.take(head.id, 0, PURPOSE) is not None


def test_peers_have_shelves_of_their_own(store: Store, shelf: Shelf) -> None:
    head = put(shelf)
    other = store.shelf("another key")
    assert other.heads(PURPOSE) == []
    assert other.take(head.id, 0, PURPOSE) is None
    assert store.shelf("a peer's key").take(head.id, 0, PURPOSE) is not None


def test_what_is_not_committed_is_not_there(store: Store, shelf: Shelf) -> None:
    head = new_head()
    with shelf.draft(head) as draft:
        assert shelf.take(head.id, 0, PURPOSE) is None
        write(draft, 0)
        assert shelf.heads(PURPOSE) == []
        assert shelf.take(head.id, 0, PURPOSE) is None
        assert shelf.has(head.id)
    assert not shelf.has(head.id)
    assert store.used_bytes() == 0


def test_a_draft_is_removed_on_errors(store: Store, shelf: Shelf) -> None:
    with pytest.raises(RuntimeError), shelf.draft(new_head()):
        raise RuntimeError
    with pytest.raises(StoreError, match="size"), shelf.draft(new_head()) as draft:
        draft.seal(bytes(32))
    assert store.used_bytes() == 0


def test_an_id_cannot_be_given_twice(shelf: Shelf) -> None:
    head = put(shelf)
    with pytest.raises(StoreError, match="exist already"), shelf.draft(head):
        pass
    head = new_head()
    with shelf.draft(head), pytest.raises(StoreError, match="exist already"), shelf.draft(head):
        pass
    with pytest.raises(StoreError, match="id"):
        shelf.take(b"short", 0, PURPOSE)


def test_leftovers_are_told_from_what_is_being_written(store: Store, shelf: Shelf, tmp_path: Path) -> None:
    """Drafts of a living writer stay, those of one that is gone are removed when the store is opened next."""
    living, dead = new_head(), new_head()
    with shelf.draft(living):
        for ending in (".tmp", ".pending"):
            shelf._path(dead.id, ending).write_bytes(bytes(100))
        Store(tmp_path / "store", PLENTY)
        assert shelf.has(living.id)
        assert not shelf.has(dead.id)


def test_reels_of_another_version_are_removed(shelf: Shelf, tmp_path: Path) -> None:
    put(shelf)
    data = file_of(shelf).read_bytes()
    file_of(shelf).write_bytes(data[:8] + b"\7" + data[9:])
    kept = put(shelf)
    Store(tmp_path / "store", PLENTY)
    assert file_of(shelf) == shelf._path(kept.id, ".reel")


def test_the_limit_counts_what_is_being_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 3 * SIZE + 10)
    here, there = store.shelf("one"), store.shelf("two")
    head = put(here)
    with there.draft(new_head()), here.draft(new_head()):
        with pytest.raises(StoreError, match="store_limit_mb"), there.draft(new_head()):
            pass
        assert store.used_bytes() == 3 * SIZE
    here.take(head.id, 0, PURPOSE)
    for _ in range(3):
        put(here)
    with pytest.raises(StoreError, match="full"):
        put(there)


def test_a_disk_without_room_is_said(shelf: Shelf, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left"):
        put(shelf)
    assert store.used_bytes() == 0


def test_the_number_of_reels_is_limited(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REELS", 2)
    put(shelf), put(shelf)
    with pytest.raises(StoreError, match="2 sets"):
        put(shelf)


def test_discarding(shelf: Shelf) -> None:
    heads = [put(shelf) for _ in range(3)]
    with shelf.draft(new_head()) as draft:
        gone = [heads[0].id, heads[2].id, new_head().id, draft.head.id]
        assert shelf.discard(gone) == 2
        assert shelf.heads(PURPOSE) == [heads[1]]
        assert shelf.has(draft.head.id), "what is being written is not discarded"


def test_each_store_has_its_key(store: Store, tmp_path: Path) -> None:
    key = store.key()
    assert len(key) == 32
    assert store.key() == Store(tmp_path / "store", PLENTY).key() == key
    assert Store(tmp_path / "other", PLENTY).key() != key
    (tmp_path / "store" / "key").write_bytes(b"cut")
    with pytest.raises(StoreError, match="damaged"):
        store.key()


def test_threads_take_each_reel_once(shelf: Shelf) -> None:
    ids = [put(shelf).id for _ in range(20)]
    won: list[bytes] = []

    def taker() -> None:
        won.extend(id_ for id_ in ids if shelf.take(id_, 0, PURPOSE) is not None)

    threads = [threading.Thread(target=taker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(ids)


TAKER = """
import sys
from pathlib import Path
from gpu_ss.provider.store import Store
from tests.support.reels import PURPOSE
shelf = Store(Path(sys.argv[1]), 1 << 30).shelf("a peer's key")
print("here", flush=True)
sys.stdin.readline()
for head in shelf.heads(PURPOSE):
    reel = shelf.take(head.id, 0, PURPOSE)
    if reel is not None:
        print(reel.head.id.hex(), flush=True)
"""


@pytest.fixture
def takers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    argv = [sys.executable, "-c", TAKER, str(tmp_path / "store")]
    started = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(4)
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_processes_take_each_reel_once(shelf: Shelf, takers: list[subprocess.Popen[str]]) -> None:
    ids = sorted(put(shelf).id.hex() for _ in range(60))
    for process in takers:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    for process in takers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    won = [process.communicate(timeout=60)[0].split() for process in takers]
    assert sorted(id_ for taken in won for id_ in taken) == ids
    assert sum(bool(taken) for taken in won) > 1, "they ran at the same time"

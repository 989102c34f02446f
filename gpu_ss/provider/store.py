"""Correlations on disk: reels that were made ahead of time, each used at most once, whatever happens.

    store = Store(directory, limit_bytes)
    shelf = store.shelf(channel.peer_key)             # what was made with one peer
    with shelf.draft(head) as draft:                  # room is taken before the work begins
        draft.put(place, words)                       # as they get ready, in any order
        draft.seal(seed)                              # on disk under its name, whole, not to be used yet
        ...                                           # the peer says that it has written its part
        draft.commit()                                # to be used
    reel = shelf.take(id, rank, purpose)              # None: not here, or another process was faster

One file per reel, DIRECTORY/PEER/ID with the ending `tmp` while it is written, `pending` when it is whole, `reel`
when both parties have it. Every step is one rename or unlink, followed by an fsync of the directory. `take`
unlinks before it reads: a crash at any point loses a reel and never gives it twice. Several processes may use a
store at the same time: changes happen under a lock file, and a draft is locked by whoever writes it, so that what
a killed process has left is told from what is being written, and is removed.

The files hold masks in clear, readable by their owner only (0600, directories 0700). They must not be brought back
from a backup or a snapshot. Any of them may be deleted at any time. The directory must be on a local file system.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedRandom, FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpu_ss.errors import CorrelationError, StoreError
from gpu_ss.prg import KEY_BYTES, fresh_key
from gpu_ss.provider.reel import DIGEST_BYTES, HEADER_BYTES, ID_BYTES, Head, Purpose, Reel, Words
from net.frame import as_bytes

TMP, PENDING, READY = ".tmp", ".pending", ".reel"
#: Reels of one peer, of any purpose.
MAX_REELS = 4096
_CHUNK = 1 << 24
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Store:
    """A directory of reels. Made if needed; raises StoreError if others may look into it, or it cannot be used."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._root = directory
        self._limit = limit_bytes
        with _explained():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & _OTHERS:
                raise StoreError(f"{directory} can be entered by others. Run: chmod 700 {directory}")
        with self.locked():
            self._sweep()
            self._drop_unreadable()

    def __repr__(self) -> str:
        return f"Store({str(self._root)!r})"

    @property
    def limit_bytes(self) -> int:
        """How large all reels may be together."""
        return self._limit

    def used_bytes(self) -> int:
        """Bytes of all reels, also of those that are being written."""
        return sum(_size(path) for path in self._files())

    def shelf(self, peer: str) -> Shelf:
        """The reels made with one peer: its public key, or another text that tells it from all others."""
        name = hashlib.blake2b(peer.encode(), digest_size=16).hexdigest()
        folder = self._root / name
        with _explained():
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync(self._root)
        return Shelf(self, folder)

    def key(self) -> bytes:
        """A secret key of this store alone, for what must be recognised here and tell others nothing."""
        path = self._root / "key"
        with self.locked():
            if not path.exists():
                _write_whole(path, fresh_key())
            key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise StoreError(f"{path} is damaged. Remove it: reels made under it are not used any more")
        return key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process (and thread) at a time; given up when the process ends, however it ends."""
        with _explained(), _private(self._root / "lock", os.O_APPEND) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def shelves(self) -> list[Shelf]:
        """Those that there are."""
        return [Shelf(self, folder) for folder in sorted(self._root.iterdir()) if folder.is_dir()]

    def make_room(self, size: int, spare: Sequence[Path] = ()) -> int:
        """See that `size` more bytes fit below the limit; how many of the reels in `spare` were removed for that.

        Raises StoreError if they do not fit even so; then none was. Under the lock.
        """
        self._sweep()
        used, free = self.used_bytes(), [_size(path) for path in spare]
        short = used + size - self._limit
        if short > sum(free):
            raise StoreError(
                f"the store is full: {_mb(used)} used, {_mb(size)} needed, and the limit (store_limit_mb) is "
                f"{_mb(self._limit)}"
            )
        count = next(k for k in range(len(free) + 1) if sum(free[:k]) >= short)
        for path in spare[:count]:
            path.unlink()
        return count

    def _files(self) -> Iterator[Path]:
        for ending in (TMP, PENDING, READY):
            yield from self._root.glob(f"*/*{ending}")

    def _sweep(self) -> None:
        """Remove drafts whose writer is gone. Under the lock, so that none is just being made."""
        for path in self._files():
            if path.suffix == READY:
                continue
            with suppress(FileNotFoundError), path.open("rb") as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def _drop_unreadable(self) -> None:
        """Remove reels of another version of the format, and those cut off."""
        for path in self._root.glob(f"*/*{READY}"):
            with path.open("rb", buffering=0) as file:
                head = _head(file)
            if head is None or head.file_bytes != _size(path):
                path.unlink()


class Shelf:
    """The reels made with one peer."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        #: Reels of another context that were removed here to make room.
        self.evicted = 0

    @property
    def name(self) -> str:
        """The peer, hashed."""
        return self._folder.name

    def heads(self, purpose: Purpose) -> list[Head]:
        """The reels that are ready for a purpose, oldest first. They may be gone when they are wanted."""
        return [head for head in self.all_heads() if head.purpose.same(purpose)]

    def all_heads(self) -> list[Head]:
        """All that are ready, for whatever purpose, oldest first."""
        found: list[tuple[int, Head]] = []
        for path in self._folder.glob(f"*{READY}"):
            with suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
                head = _head(file)
                if head is not None and head.id.hex() == path.stem:
                    found.append((os.fstat(file.fileno()).st_mtime_ns, head))
        return [head for _, head in sorted(found, key=lambda item: (item[0], item[1].id))]

    def has(self, id_: bytes) -> bool:
        """Whether there is a file of that id, in any state."""
        return any(self._path(id_, ending).exists() for ending in (TMP, PENDING, READY))

    @contextmanager
    def draft(self, head: Head) -> Iterator[Draft]:
        """Room for a reel; what is not committed when the block ends is removed.

        Where the limit is reached, reels of this peer that are of another context (a model, terms or version that
        is not used now) make room, the oldest first. Raises StoreError if it does not fit below the limit even so,
        or on the disk, or the id is taken.
        """
        path = self._path(head.id, TMP)
        with self._store.locked():
            if self.has(head.id):
                raise StoreError("correlations of that id exist already")
            if sum(1 for _ in self._folder.iterdir()) >= MAX_REELS:
                raise StoreError(f"there are {MAX_REELS} sets of correlations already")
            others = [h for h in self.all_heads() if h.purpose.context != head.purpose.context]
            self.evicted += self._store.make_room(head.file_bytes, [self._path(h.id, READY) for h in others])
            draft = Draft(path, head)
        try:
            draft.allocate()
            yield draft
        finally:
            draft.close()

    def take(self, id_: bytes, rank: int, purpose: Purpose) -> Reel | None:
        """The reel of that id, which is gone from the disk before a byte of it is looked at.

        None if it is not here, is not ready, was damaged, or another process was faster; also if it is there for
        another rank or purpose, and then it stays.
        """
        path = self._path(id_, READY)
        with self._store.locked():
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                return None
            head = _head(file)
            if head is not None and not (head.rank == rank and head.purpose.same(purpose)):
                file.close()
                return None
            path.unlink()
            _sync(self._folder)
        with file:
            return None if head is None or head.id != id_ else _body(file, head)

    def discard(self, ids: Iterable[bytes]) -> int:
        """Remove reels that are ready; how many there were."""
        removed = 0
        with self._store.locked():
            for id_ in ids:
                with suppress(FileNotFoundError):
                    self._path(id_, READY).unlink()
                    removed += 1
            _sync(self._folder)
        return removed

    def _path(self, id_: bytes, ending: str) -> Path:
        if len(id_) != ID_BYTES:
            raise StoreError(f"an id has {ID_BYTES} bytes, not {len(id_)}")
        return self._folder / (id_.hex() + ending)


class Draft:
    """A reel that is being written by this process, which holds the lock of its file until it is closed."""

    def __init__(self, path: Path, head: Head) -> None:
        """Under the store's lock, so that nobody finds the file before it is locked and has its size."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "r+b")
        self._path = path
        self.head = head
        self._committed = False
        self._written = 0
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, head.file_bytes)

    def allocate(self) -> None:
        """Take the room on the disk. Raises StoreError if there is too little."""
        with _explained():
            os.posix_fallocate(self._file.fileno(), 0, self.head.file_bytes)

    def put(self, place: int, words: Words) -> None:
        """Write words of the reel from number `place` on: each once, in any order. Raises StoreError."""
        left, at = _as_bytes(words), HEADER_BYTES + KEY_BYTES + 8 * place
        self._written += words.size
        with _explained():
            while left.nbytes:
                count = os.pwrite(self._file.fileno(), left, at)
                left, at = left[count:], at + count

    def seal(self, seed: bytes) -> None:
        """Write the rest, and make all last, pending. Raises StoreError unless it has the announced size."""
        if self._written != self.head.words:
            raise StoreError("the correlations made do not have the size that was planned")
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        buffer = memoryview(bytearray(_CHUNK))
        with _explained():
            self._file.write(self.head.encode() + seed)
            self._file.seek(0)
            for start in range(0, self.head.file_bytes - DIGEST_BYTES, _CHUNK):
                part = buffer[: self.head.file_bytes - DIGEST_BYTES - start]
                if not _fill(self._file, part):
                    raise StoreError("the file of the correlations made was cut off")
                digest.update(part)
            self._file.write(digest.digest())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._move(PENDING)

    def commit(self) -> None:
        """Make it ready, for any process to take."""
        with _explained():
            self._move(READY)
        self._committed = True

    def close(self) -> None:
        """Remove it unless it was committed."""
        if not self._committed:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _move(self, ending: str) -> None:
        target = self._path.with_suffix(ending)
        self._path.rename(target)
        self._path = target
        _sync(target.parent)


def _head(file: FileIO) -> Head | None:
    """The head of an opened file; None if it is damaged."""
    try:
        return Head.decode(file.read(HEADER_BYTES))
    except CorrelationError:
        return None


def _body(file: FileIO, head: Head) -> Reel | None:
    """What follows the head; None if the size or the checksum is wrong."""
    if os.fstat(file.fileno()).st_size != head.file_bytes:
        return None
    digest = hashlib.blake2b(head.encode(), digest_size=DIGEST_BYTES)
    seed = file.read(KEY_BYTES)
    digest.update(seed)
    words = np.empty(head.words, np.uint64)
    view = _as_bytes(words)
    for start in range(0, len(view), _CHUNK):
        part = view[start : start + _CHUNK]
        if not _fill(file, part):
            return None
        digest.update(part)
    return Reel(head, seed, words) if file.read(DIGEST_BYTES) == digest.digest() else None


def _as_bytes(words: Words) -> memoryview:
    """The memory of words; the machines this runs on are little-endian."""
    return as_bytes(np.ascontiguousarray(words))


def _fill(file: FileIO | BufferedRandom, part: memoryview) -> bool:
    """Read exactly as much as `part` holds."""
    while part.nbytes:
        count = file.readinto(part)
        if not count:
            return False
        part = part[count:]
    return True


def _write_whole(path: Path, data: bytes) -> None:
    """A small file that is there whole or not at all. Under the lock."""
    draft = path.with_suffix(".new")
    with _private(draft, os.O_TRUNC) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _sync(path.parent)


def _private(path: Path, flags: int) -> BinaryIO:
    """A file to be written, made if needed, that only its owner may read from the first moment."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb")


@contextmanager
def _explained() -> Iterator[None]:
    """What the operating system refuses, as a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the store cannot be used: {error.strerror} ({error.filename or 'no file'})"
        ) from None


def _sync(folder: Path) -> None:
    """Changes of names in a directory survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"

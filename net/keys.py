"""Key files: NAME.key (secret, only the owner may read it) and NAME.pub (to be given to the peers).

Both are small JSON objects with a format version. The keys come from libzmq, which takes its randomness
from the operating system.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from net import zeromq
from net.errors import KeyFileError
from net.identity import KeyPair, PublicKey, check_name

_FORMAT = "fastlmpi-key-1"
_MAX_FILE_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def generate(directory: str | Path, name: str) -> KeyPair:
    """Makes a key pair for the party `name` and writes NAME.key (mode 0600) and NAME.pub into `directory`.

    The directory is made if needed. Raises KeyFileError if one of the files exists (a key in use must not
    vanish) or cannot be written, ValueError for a bad name.
    """
    check_name(name)
    folder = Path(directory)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    secret_file, public_file = folder / f"{name}.key", folder / f"{name}.pub"
    for path in (secret_file, public_file):
        if path.exists():
            raise KeyFileError(
                f"{path} exists and is not overwritten. Move it away first or choose another name."
            )
    public, secret = zeromq.new_curve_keys()
    shown = {"format": _FORMAT, "name": name, "public": public}
    _write(secret_file, shown | {"secret": secret}, 0o600)
    try:
        _write(public_file, shown, 0o644)
    except KeyFileError:
        secret_file.unlink()
        raise
    return KeyPair(PublicKey(name, public), secret)


def load_keys(path: str | Path) -> KeyPair:
    """Reads a NAME.key file. Raises KeyFileError if it is malformed or others may read it."""
    path = Path(path)
    content = _read(path, {"format", "name", "public", "secret"}, private=True)
    try:
        keys = KeyPair(PublicKey(content["name"], content["public"]), content["secret"])
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}. Make a new pair.") from None
    if zeromq.curve_public(keys.secret) != keys.public.z85:
        raise KeyFileError(f"{path}: public and secret key do not belong together. Make a new pair.")
    return keys


def load_public(path: str | Path) -> PublicKey:
    """Reads a NAME.pub file. Raises KeyFileError if it is malformed."""
    path = Path(path)
    content = _read(path, {"format", "name", "public"}, private=False)
    try:
        return PublicKey(content["name"], content["public"])
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}. Ask the peer for its .pub file again.") from None


def load_authorised(*paths: str | Path) -> tuple[PublicKey, ...]:
    """The public keys in the given files and in the .pub files of the given directories.

    Raises KeyFileError if there are none, or if two share a name or a key.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files.extend(sorted(path.glob("*.pub")) if path.is_dir() else [path])
    keys = tuple(load_public(path) for path in files)
    if not keys:
        raise KeyFileError(f"no .pub file in {[str(p) for p in paths]}. Copy the peer's NAME.pub there.")
    if len({key.name for key in keys}) < len(keys) or len({key.z85 for key in keys}) < len(keys):
        raise KeyFileError(f"two of {[str(p) for p in files]} share a name or a key. Keep one of them.")
    return keys


def _write(path: Path, content: dict[str, str], mode: int) -> None:
    """Writes a new file that has its final permissions from the first moment, whole or not at all."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
    except OSError as error:
        path.unlink()
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path} cannot be written: {error.strerror}. Choose another folder.")


def _read(path: Path, names: set[str], *, private: bool) -> dict[str, str]:
    """The JSON object in `path`, which must hold exactly `names`, each a string."""
    try:
        with path.open("rb") as file:
            if private and os.fstat(file.fileno()).st_mode & _OTHERS:
                raise KeyFileError(f"{path} can be read by others. Run: chmod 600 {path}")
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read: {error.strerror}. Make keys first, or check the path."
        ) from None
    try:
        content = json.loads(raw) if len(raw) <= _MAX_FILE_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise KeyFileError(f"{path} is not a key file. Check the path.")
    if set(content) != names or content["format"] != _FORMAT:
        raise KeyFileError(
            f"{path}: {_FORMAT} with {sorted(names)} expected. Check that it is the right file."
        )
    return content

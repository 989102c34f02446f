"""Correlations of the next queries, made by a thread while the session has nothing else to do."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gpu_ss.errors import NoRoom


class _Abandoned(Exception):
    """The session ends: what is being made is thrown away, by the other party too."""


class Background:
    """Keeps enough in the store, one set after the other, from `start` to `pause`, as often as they come.

    The thread owns the session's channel meanwhile. `make` makes one set and calls back for each piece of work;
    `lacking` says whether another one is wanted. A set that is begun is finished before `pause` returns: it is just
    what the query that waits for it will use. What is being made when the process is killed is lost at both.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], None]], object],
        lacking: Callable[[], bool],
        hand_over: Callable[[], None],
    ) -> None:
        self._make = make
        self._lacking = lacking
        self._hand_over = hand_over
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._failure: BaseException | None = None
        self._full: str | None = None

    @property
    def full(self) -> str | None:
        """Why no more are made, if a store has no room for them."""
        return self._full

    def start(self) -> None:
        """Go on, in a thread."""
        if self._thread is None and self._full is None:
            self._stop.clear()
            self._hand_over()
            self._thread = threading.Thread(target=self._run, name="correlations ahead", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until enough is there, or a store is full. Raises what went wrong."""
        self._join()

    def pause(self) -> None:
        """Until the set that is being made is there. Raises what went wrong."""
        self._stop.set()
        self._join()

    def abandon(self) -> None:
        """Stop at once. The session cannot go on after that."""
        self._abandon.set()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._lacking():
                self._make(self._step)
        except NoRoom as error:
            self._full = str(error)
        except BaseException as error:
            self._failure = error
        finally:
            self._hand_over()

    def _step(self) -> None:
        if self._abandon.is_set():
            raise _Abandoned

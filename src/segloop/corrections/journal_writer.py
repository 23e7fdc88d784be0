"""The writer: a thread that puts what it is given into journals, and does not give up when the disk refuses."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from segloop.corrections.journal import Journal
from segloop.corrections.journal_blocks import Blocks
from segloop.corrections.journal_records import pack_block

RETRY_SECONDS = 2.0
"""Between two attempts when the disk is full."""

STOP_SECONDS = 20.0
"""For so long the end of the program waits for what is still to be written."""


FEW_BLOCKS = 16
"""Of more blocks than this, packing takes long enough to be felt by who else needs the processor."""

LONGEST_REST = 0.005
"""Seconds between two blocks."""


class Ending(Enum):
    """What becomes of a journal that is no longer written."""

    KEEP = "keep"
    DISCARD = "discard"


@dataclass
class Batch:
    """What waits to be written into one journal; a newer batch goes over an older one."""

    blocks: dict[int, np.ndarray] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    complete: bool = False
    layout: Blocks | None = None

    def over(self, older: Batch) -> Batch:
        """Return both in one; what is older and of another layout is dropped."""
        documents = older.documents | self.documents
        if self.layout is not None:
            return Batch(self.blocks, documents, self.complete, self.layout)
        return Batch(older.blocks | self.blocks, documents, older.complete or self.complete, older.layout)

    def __bool__(self) -> bool:
        return bool(self.blocks or self.documents or self.complete or self.layout)


class Lane:
    """The way into one journal.

    Attributes
    ----------
    checksums : dict of block number to int
        CRC-32 of each block as it was last packed; for finding blocks that changed without a word.
    """

    def __init__(self, make: Callable[[], Journal]) -> None:
        self.checksums: dict[int, int] = {}
        self.folder: Path | None = None
        self._make = make
        self._journal: Journal | None = None
        self._waiting = Batch()
        self._ending: Ending | None = None

    @property
    def waiting_bytes(self) -> int:
        """Size of the blocks that are not on the disk yet."""
        return sum(block.nbytes for block in list(self._waiting.blocks.values()))


class JournalWriter:
    """Writes journals in a thread of its own. Its methods return at once and may be called by the main thread.

    What cannot be written is kept and tried again; meanwhile newer blocks take the place of older ones, so that no more
    waits than the labels are large.
    """

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry = retry_seconds
        self._lanes: list[Lane] = []
        self._busy: Lane | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._trouble: Exception | None = None
        self._thread: threading.Thread | None = None

    @property
    def trouble(self) -> Exception | None:
        """Why what waits cannot be written at present; None if all is well."""
        return self._trouble

    @property
    def backlog(self) -> int:
        """Bytes of pixels that wait."""
        return sum(lane.waiting_bytes for lane in list(self._lanes))

    def begin(self, home: Path, blocks: Blocks) -> Lane:
        """Return the way into a new journal in ``home``; it is made when there is something to write."""
        return self._add(Lane(lambda: Journal.create(home, blocks)))

    def go_on(self, journal: Journal) -> Lane:
        """Return the way into a journal that was taken over."""
        lane = Lane(lambda: journal)
        lane._journal, lane.folder = journal, journal.folder
        return self._add(lane)

    def put(self, lane: Lane, batch: Batch) -> None:
        """Have a batch written. Its arrays belong to the writer from now on.

        Documents may be functions without arguments that return them; they are called in the writer's thread.
        """
        with self._changed:
            lane._waiting = batch.over(lane._waiting)
            self._changed.notify_all()

    def end(self, lane: Lane, ending: Ending) -> None:
        """Write no more into a journal once all that waits is written, and keep or discard it."""
        with self._changed:
            lane._ending = ending
            if ending is Ending.DISCARD:
                lane._waiting = Batch()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until nothing waits, at most so long; return whether nothing does."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, seconds)

    def stop(self, seconds: float = STOP_SECONDS) -> bool:
        """Write what waits, close all journals and end the thread; return whether all is on the disk."""
        with self._changed:
            self._stopping = True
            for lane in self._lanes:
                lane._ending = lane._ending or Ending.KEEP
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive() and self._trouble is None
        return True

    def _add(self, lane: Lane) -> Lane:
        with self._changed:
            self._lanes.append(lane)
            if self._thread is None:
                # the end of the program is waited for in stop()
                self._thread = threading.Thread(target=self._run, name="SegLoop journal", daemon=True)
                self._thread.start()
        return lane

    def _is_idle(self) -> bool:
        return self._busy is None and self._next() is None

    def _next(self) -> Lane | None:
        return next((lane for lane in self._lanes if lane._waiting or lane._ending), None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._next() is not None)
                lane = self._next()
                if lane is None:
                    return
                batch, lane._waiting = lane._waiting, Batch()
                self._busy = lane
            try:
                if batch:
                    self._write(lane, batch)
                self._trouble = None
            except Exception as error:  # whatever it is, what waits must not be lost with this thread
                self._wait_for_room(lane, batch, error)
            finally:
                with self._changed:
                    self._busy = None
                    self._end_if_done(lane)
                    self._changed.notify_all()

    def _write(self, lane: Lane, batch: Batch) -> None:
        if lane._journal is None:
            lane._journal = lane._make()
            lane.folder = lane._journal.folder
        if batch.layout is not None and batch.layout != lane._journal.blocks:
            lane._journal.replace(batch.layout)
            lane.checksums.clear()
        packed = {}
        for number, pixels in batch.blocks.items():
            begun = time.thread_time()
            lane.checksums[number] = checksum(pixels)
            packed[number] = pack_block(pixels)
            if len(batch.blocks) > FEW_BLOCKS and not self._stopping:
                # the window has to paint what was edited, and may need the processor for it
                time.sleep(min(LONGEST_REST, time.thread_time() - begun))
        documents = {name: value() if callable(value) else value for name, value in batch.documents.items()}
        lane._journal.append(packed, documents, batch.complete)

    def _wait_for_room(self, lane: Lane, batch: Batch, error: Exception) -> None:
        with self._changed:
            self._trouble = error
            if lane._ending is not Ending.DISCARD:
                lane._waiting = lane._waiting.over(batch)
            # another lane may have less to write, and find room
            self._lanes.append(self._lanes.pop(self._lanes.index(lane)))
            if self._stopping:
                # nobody can make room any more
                lane._waiting = Batch()
            else:
                self._changed.wait_for(lambda: self._stopping, self._retry)

    def _end_if_done(self, lane: Lane) -> None:
        if lane._ending is None or lane._waiting:
            return
        self._lanes.remove(lane)
        if lane._journal is not None:
            lane._journal.discard() if lane._ending is Ending.DISCARD else lane._journal.close()


def checksum(pixels: np.ndarray) -> int:
    """CRC-32 of the pixels of a block."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def explain_trouble(error: Exception) -> str:
    """Say what a disk that refuses means for the corrections, and what to do."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return (
        f"Your corrections cannot be saved at present: {reason}. What was saved before is safe, and nothing is lost "
        "as long as napari stays open. Make room on the disk; saving then goes on by itself."
    )

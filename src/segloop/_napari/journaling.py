"""Journaling: every edit of every Labels layer in the viewer is on its way to the disk within a moment.

The main thread copies the blocks that were edited, a few megabytes at a time; a thread of its own writes them. A
journal begins with the first edit of a layer, and with it the whole layer is written once, in pieces.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QApplication

from segloop import store
from segloop._napari.journal_followed import MOST_BYTES, MOST_WAITING, Followed
from segloop._napari.journal_layers import describe_review
from segloop._napari.journal_marks import ImageMarks
from segloop._napari.journal_touch import Touch
from segloop._napari.steps.step import Step, timer
from segloop.errors import FileError

if TYPE_CHECKING:
    from segloop._napari.redrawn import Redrawn
    from segloop.corrections.journal import Journal
    from segloop.corrections.journal_writer import Batch, JournalWriter

TICK = 100
"""Milliseconds between two looks for edits."""

HURRY = 15
"""The same while there is more to copy."""

COPY_SECONDS = 0.008
"""For so long, blocks are copied at one look: not felt."""


LEFT = "segloop journal"
"""Under this name, a layer's metadata tell of the journal that a closed dock has left."""

LONGEST_END = 20.0
"""Seconds for which the end of the window waits at most for copies of large layers to be written."""

NOT_SAVED = (
    "“{}” is a dask array: what you edit in it is in memory only, and not saved as you go. Export it first, and "
    "correct what was exported."
)

GONE_SECONDS = 1.0
"""After so long, a layer that was removed is taken for removed by the person, and not by a window that closes."""


class JournalStep(Step):
    """Keeps the journals of a viewer's Labels layers. It is told of nothing, and asks for nothing."""

    trouble_changed = Signal(str)

    def __init__(self, marks: ImageMarks, *args: Any) -> None:
        super().__init__(*args)
        self.marks = marks
        self._followed: dict[napari.layers.Labels, Followed] = {}
        self._writer: JournalWriter | None = None
        self._trouble = self._error = ""
        self._ready = self._released = False
        self._warned: weakref.WeakSet[napari.layers.Labels] = weakref.WeakSet()
        self._timer = timer(self, TICK, self._on_time)
        self.watch.layers_changed.connect(self._on_layers)
        self.session.saving.connect(self._on_saving)
        self.session.saved.connect(self._on_saved)
        self.session.redrawn.connect(self._on_redrawn)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.release)
        self._on_layers()

    def on_ready(self) -> None:
        """Take note that what writes journals is imported."""
        self._ready = True
        self._timer.start()

    @property
    def folder(self) -> Path:
        """Where journals are."""
        return store.home() / "journals"

    def journal_of(self, layer: napari.layers.Labels) -> Path | None:
        """Return the folder of a layer's journal, if it has one."""
        followed = self._followed.get(layer)
        return followed.lane.folder if followed is not None and followed.lane is not None else None

    @property
    def replaced(self) -> set[Path]:
        """Journals that a closed dock has left, of layers that are in the viewer still."""
        return {followed.replaces for followed in self._followed.values() if followed.replaces is not None}

    def resume(self, layer: napari.layers.Labels, journal: Journal, is_whole: bool, edits: int) -> None:
        """Go on with the journal that a layer was restored from; its pixels are those of the journal."""
        followed = Followed(Touch(layer), is_whole=is_whole, edits=edits, origin=self.session.origins.get(layer))
        followed.lane = self._get_writer().go_on(journal)
        followed.review = describe_review(self.session, layer)
        if not is_whole:
            followed.base.extend(range(len(followed.touch.blocks)))
        self._followed[layer] = followed

    def flush(self, seconds: float) -> bool:
        """Have all that was edited on the disk; return whether it is, within so many seconds."""
        for followed in list(self._followed.values()):
            while self._follow(followed):
                pass
        return self._writer is None or self._writer.flush(seconds)

    def release(self) -> None:
        """Write what is left and close the journals; called when the dock, or the program, comes to its end."""
        if self._released:
            return
        self._released = True
        with suppress(RuntimeError):  # Qt may have deleted it already
            self._timer.stop()
        if self._ready:
            self._finish()
        for followed in self._followed.values():
            followed.touch.close()
        self._followed.clear()

    def _finish(self) -> None:
        from segloop.corrections.journal_writer import Batch, Ending

        deadline = time.monotonic() + LONGEST_END
        for followed in self._followed.values():
            while (self._follow(followed) or followed.base) and time.monotonic() < deadline:
                if followed.base and self._writer is not None:
                    self._writer.flush(0.1)
            if followed.lane is None or self._writer is None:
                continue
            if followed.edits == followed.saved:
                self._writer.end(followed.lane, Ending.DISCARD)
            else:
                self._writer.put(followed.lane, Batch(documents={"state": followed.state(closed=True)}))
                if followed.lane.folder is not None:
                    left = {"folder": str(followed.lane.folder), "edits": followed.edits}
                    followed.touch.layer.metadata[LEFT] = left
        if self._writer is not None:
            self._writer.stop()

    # layers

    def _on_layers(self) -> None:
        present = [layer for layer in self.watch.of_type(napari.layers.Labels) if is_journaled(layer)]
        for layer in present:
            followed = self._followed.get(layer)
            if followed is None:
                self._followed[layer] = self._take_up(layer)
            else:
                followed.gone_at = None
        for layer in self.watch.of_type(napari.layers.Labels):
            if is_lost(layer) and layer not in self._warned:
                self._warned.add(layer)
                self.say(NOT_SAVED.format(layer.name), "warning")
        for layer in self._followed.keys() - set(present):
            followed = self._followed[layer]
            if followed.gone_at is None:
                followed.gone_at = time.monotonic()

    def _take_up(self, layer: napari.layers.Labels) -> Followed:
        followed = Followed(Touch(layer), origin=self.session.origins.get(layer))
        # what was reviewed before a closed dock was opened again is no news
        followed.review = describe_review(self.session, layer)
        left = layer.metadata.pop(LEFT, None)
        if left is not None:
            # a dock that was closed while napari went on has kept a journal, which ends where that dock did
            followed.replaces, followed.edits = Path(left["folder"]), left["edits"]
            followed.touch.is_replaced = True
        return followed

    def _on_saving(self, layer: napari.layers.Labels) -> None:
        followed = self._followed.get(layer)
        if followed is not None:
            self._follow(followed)
            followed.saving = followed.edits

    def _on_redrawn(self, layer: napari.layers.Labels, redrawn: Sequence[Redrawn]) -> None:
        """Take note of what thresholds changed past the history; by themselves they are no reason for a journal."""
        followed = self._followed.get(layer)
        if followed is not None and followed.lane is not None:
            for part in redrawn:
                followed.touch.touched.update(dict.fromkeys(followed.touch.blocks.touching(part.box)))

    def _on_saved(self, layer: napari.layers.Labels) -> None:
        followed = self._followed.get(layer)
        if followed is not None:
            followed.saved = followed.saving

    # the beat

    def _on_time(self) -> None:
        more, until = False, time.monotonic() + COPY_SECONDS
        if self._released:
            return
        try:
            for layer, followed in list(self._followed.items()):
                if followed.gone_at is not None and time.monotonic() - followed.gone_at > GONE_SECONDS:
                    self._let_go(layer, followed)
                else:
                    left = self._follow(followed)
                    while left and time.monotonic() < until and followed.has_room(self._get_writer()):
                        left = self._follow(followed)
                    more |= left
            self._tell_trouble()
        except Exception as error:
            # said once; the next beat may go well
            if str(error) != self._error:
                self._error = str(error)
                self.fail(error)
        finally:
            self._timer.start(HURRY if more else TICK)

    def _let_go(self, layer: napari.layers.Labels, followed: Followed) -> None:
        """Discard the journal of a layer that the person removed; it can be put back by hand for some weeks."""
        from segloop.corrections.journal_writer import Ending

        del self._followed[layer]
        followed.touch.close()
        if followed.lane is not None:
            self._get_writer().end(followed.lane, Ending.DISCARD)

    def _follow(self, followed: Followed) -> bool:
        """Put what was edited on its way to the disk; return whether there is more."""
        touch = followed.touch
        if touch.layer in self.session.unfinished:
            touch.forget()
            return False
        if not self._ready:
            return False
        steps, layout = touch.look(), None
        if touch.is_replaced:
            layout = self._take_new_data(followed)
            steps += layout is not None
        else:
            followed.origin = self.session.origins.get(touch.layer)
        steps += followed.look_at_review(self.session)
        if steps:
            followed.edits += steps
            followed.edited_at = datetime.now(UTC).isoformat(timespec="seconds")
        if followed.lane is None:
            if not (steps or touch.is_drawing):
                return False
            followed.lane = self._get_writer().begin(self.folder, touch.blocks)
            touch.has_new_table = True
            followed.base = deque(number for number in range(len(touch.blocks)) if number not in touch.touched)
            layout = None
        followed.scan()
        batch = self._batch(followed)
        batch.layout = layout
        if batch:
            self._get_writer().put(followed.lane, batch)
        if followed.replaces is not None and followed.is_whole and self._get_writer().flush(0):
            from segloop.corrections.journal_orphans import discard

            with suppress(FileError):
                discard(followed.replaces)
            followed.replaces = None
        waiting = bool(followed.base) and self._get_writer().backlog < MOST_WAITING
        return bool(touch.touched or waiting or followed.unscanned)

    def _take_new_data(self, followed: Followed) -> Any:
        """Follow a layer that was given another array; return its layout, or None if it is a model's result."""
        touch, origin = followed.touch, self.session.origins.get(followed.touch.layer)
        before, followed.origin = followed.origin, origin
        touch.forget()
        touch.has_new_table = True
        is_result = origin is not None and bool(origin.model) and followed.replaces is None
        if is_result and (before is None or before.provenance is not origin.provenance):
            if followed.lane is not None:
                from segloop.corrections.journal_writer import Ending

                self._get_writer().end(followed.lane, Ending.DISCARD)
            followed.lane, followed.edits, followed.saved, followed.is_whole = None, 0, 0, False
            followed.base.clear()
            followed.put.clear()
            return None
        followed.unscanned.clear()
        followed.is_whole = False
        followed.base = deque(range(len(touch.blocks)))
        return touch.blocks

    def _batch(self, followed: Followed) -> Batch:
        from segloop.corrections.journal_writer import Batch

        touch = followed.touch
        most = max(1, MOST_BYTES // max(1, touch.blocks.block_bytes))
        numbers = list(touch.touched)[:most]
        if self._get_writer().backlog < MOST_WAITING:
            while followed.base and len(numbers) < most:
                numbers.append(followed.base.popleft())
        blocks = touch.copy(numbers)
        for number in numbers:
            touch.touched.pop(number, None)
        complete = not followed.is_whole and not followed.base and not touch.touched
        followed.is_whole |= complete
        documents = followed.new_documents(self.session, self.marks)
        return Batch(blocks, documents, complete)

    # the writer

    def _get_writer(self) -> JournalWriter:
        if self._writer is None:
            from segloop.corrections.journal_writer import JournalWriter

            self._writer = JournalWriter()
        return self._writer

    def _tell_trouble(self) -> None:
        from segloop.corrections.journal_writer import explain_trouble

        trouble = self._writer.trouble if self._writer is not None else None
        text = explain_trouble(trouble) if trouble is not None else ""
        if text != self._trouble:
            self._trouble = text
            self.trouble_changed.emit(text)


def is_journaled(layer: napari.layers.Labels) -> bool:
    """Whether edits of a layer would be lost with the program: not if they go into a file, as with Zarr on disk."""
    if layer.multiscale:
        return False
    data = layer.data
    if isinstance(data, np.memmap):
        return data.mode == "c"
    if isinstance(data, np.ndarray):
        return True
    # xarray around NumPy, and zarr in memory
    in_memory = isinstance(getattr(data, "data", None), np.ndarray)
    return in_memory or type(getattr(data, "store", None)).__name__ == "MemoryStore"


def is_lost(layer: napari.layers.Labels) -> bool:
    """Whether edits of a layer are neither journaled nor in a file."""
    return not layer.multiscale and not is_journaled(layer) and type(layer.data).__module__.startswith("dask")

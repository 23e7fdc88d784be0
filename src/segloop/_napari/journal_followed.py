"""One layer that is journaled: what of it is on the disk, and what has to go there."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.layers
import numpy as np

from segloop._napari.journal_layers import describe_layer, describe_origin, describe_review, describe_table
from segloop._napari.journal_marks import ImageMarks
from segloop._napari.journal_touch import Touch
from segloop._napari.session import Origin, Session

if TYPE_CHECKING:
    from segloop.corrections.journal_writer import JournalWriter, Lane

MOST_BYTES = 1 << 21
"""How much is copied at once."""

MOST_WAITING = 1 << 28
"""Bytes that may wait for the disk before the first copy of a layer goes on."""

SCAN_SHARE = 0.05
"""Share of the time that may go into looking for changes that no history tells of."""


@dataclass(eq=False)
class Followed:
    """A layer and its journal, which has none as long as nothing was edited."""

    touch: Touch
    lane: Lane | None = None
    base: deque[int] = field(default_factory=deque)
    unscanned: deque[int] = field(default_factory=deque)
    put: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = False
    edits: int = 0
    saved: int = 0
    saving: int = 0
    edited_at: str = ""
    origin: Origin | None = None
    review: dict[str, Any] = field(default_factory=dict)
    scanned_at: float = 0.0
    scan_seconds: float = 0.0
    gone_at: float | None = None
    replaces: Path | None = None

    def has_room(self, writer: JournalWriter) -> bool:
        """Whether there is something that may be copied now."""
        return bool(self.touch.touched) or (bool(self.base) and writer.backlog < MOST_WAITING)

    def state(self, closed: bool = False) -> dict[str, Any]:
        """How many edits there were, the last one when, and whether napari was closed as usual."""
        return {"edits": self.edits, "edited": self.edited_at, "closed": closed}

    def look_at_review(self, session: Session) -> int:
        """Take note of what is reviewed; return 1 if that is news, else 0."""
        review = describe_review(session, self.touch.layer)
        if review == self.review:
            return 0
        before, self.review = self.review, review
        return int(bool(before or review["whole"] or review["regions"]))

    def new_documents(self, session: Session, marks: ImageMarks) -> dict[str, Any]:
        """Return the documents that changed since they were last put."""
        layer = self.touch.layer
        strokes = session.scribbles.get(layer)
        origin = session.origins.get(layer) if strokes is None else strokes
        now = {
            "layer": describe_layer(layer),
            "origin": describe_origin(origin) | ({} if strokes is None else {"scribbles": True}),
            "image": _describe_image(origin, marks),
            "review": self.review,
            "state": self.state(),
        }
        changed: dict[str, Any] = {name: said for name, said in now.items() if self.put.get(name) != said}
        self.put.update(changed)
        if self.touch.has_new_table:
            self.touch.has_new_table = False
            changed["table"] = partial(describe_table, layer.features.copy())
        return changed

    def scan(self) -> None:
        """Look for blocks that changed without a word, a few at a time and not too often."""
        touch, lane = self.touch, self.lane
        now = time.monotonic()
        if touch.suspected_at is not None and not self.unscanned and not self.base:
            waited = now - self.scanned_at
            if waited > max(1.0, self.scan_seconds / SCAN_SHARE) and isinstance(touch.layer.data, np.ndarray):
                self.unscanned.extend(range(len(touch.blocks)))
                self.scanned_at, self.scan_seconds, touch.suspected_at = now, 0.0, None
        if not self.unscanned or lane is None:
            return
        from segloop.corrections.journal_writer import checksum

        for _ in range(max(1, MOST_BYTES // max(1, touch.blocks.block_bytes))):
            if not self.unscanned:
                break
            number = self.unscanned.popleft()
            if number not in touch.touched and checksum(touch.layer.data[touch.blocks.place(number)]) != (
                lane.checksums.get(number)
            ):
                touch.touched[number] = None
        self.scan_seconds += time.monotonic() - now


def _describe_image(origin: Origin | None, marks: ImageMarks) -> dict[str, Any]:
    image = origin.image() if origin is not None else None
    if not isinstance(image, napari.layers.Image):
        return {}
    mark = marks.of(image)
    return {
        "shape": list(mark.shape),
        "dtype": mark.dtype,
        "source": mark.source,
        "name": mark.name,
        "fingerprint": mark.fingerprint,
        "reader": image.source.reader_plugin or "",
        "sample": list(image.source.sample or ()),
    }

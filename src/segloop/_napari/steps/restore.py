"""Restore: corrections that were in the window when napari ended, back onto the image that they belong to."""

from __future__ import annotations

import math
import weakref
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.layers
from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal

from segloop._napari.journal_layers import make_layer, make_origin, make_regions
from segloop._napari.journal_marks import ImageMarks, outline
from segloop._napari.journal_notice import JournalNotice
from segloop._napari.journaling import JournalStep
from segloop._napari.steps.step import Step, guarded
from segloop.corrections.journal_images import ImageMark, Match
from segloop.errors import FileError
from segloop.events import Event

if TYPE_CHECKING:
    from segloop.corrections.journal import Journal, Recovered
    from segloop.corrections.journal_orphans import Orphan

CLOSED_DAYS = 90
"""For so long, corrections are offered that were in the window when napari was closed as usual."""


@dataclass(frozen=True, eq=False)
class Offer:
    """A journal that can be restored.

    Parameters
    ----------
    image : ImageMark or None
        The image it belongs to, if it belongs to one.
    """

    orphan: Orphan
    image: ImageMark | None

    @property
    def state(self) -> dict[str, Any]:
        """How many edits, when, and whether napari was closed as usual."""
        return dict(self.orphan.documents.get("state", {}))

    @property
    def name(self) -> str:
        """Name of the Labels layer."""
        return str(self.orphan.documents.get("layer", {}).get("name", "labels"))


class RestoreStep(Step):
    """Offers what journals hold, one after another."""

    restored = Signal(object)
    regions_changed = Signal(object)

    def __init__(self, notice: JournalNotice, journals: JournalStep, marks: ImageMarks, *args: Any) -> None:
        super().__init__(*args)
        self.notice = notice
        self.job: Any = None
        self._journals = journals
        self._marks = marks
        self._offers: list[Offer] = []
        self._wanted: Offer | None = None
        self._shown: Offer | None = None
        notice.restore_requested.connect(self.restore)
        notice.discard_requested.connect(self.discard)
        notice.later_requested.connect(self.later)
        journals.trouble_changed.connect(self._on_trouble)
        marks.known.connect(self._on_known)
        self.watch.layers_changed.connect(self._show)

    def on_ready(self) -> None:
        """Look for journals that nobody writes."""
        looking = self.begin("SegLoop", partial(_find, self._journals.folder), self._on_found)
        # whatever was found, edits are to be saved from now on
        looking.ended.connect(self._journals.on_ready)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What can be restored, the newest first."""
        return tuple(self._offers)

    @property
    def shown(self) -> Offer | None:
        """What is offered at present."""
        return self._shown

    def _on_found(self, offers: list[Offer]) -> None:
        self._offers = [offer for offer in offers if offer.orphan.folder not in self._journals.replaced]
        self._show()

    def _on_trouble(self, text: str) -> None:
        before = self.notice.trouble.text()
        self.notice.show_trouble(text)
        if text:
            # the notice stays; this is for those who have another dock in front of this one
            show_warning(text)
        elif before:
            self.say("Your corrections are saved again; nothing was lost.", "good")

    # offering

    @guarded
    def _on_known(self) -> None:
        self._show()
        wanted = self._wanted
        if wanted is not None and wanted is self._shown and self._image_of(wanted)[0] is not None:
            self._wanted = None
            self.restore()

    @guarded
    def _show(self) -> None:
        """Offer the newest of those that may be offered now."""
        if self.job is not None:
            return
        self._shown = next((offer for offer in self._offers if self._is_due(offer)), None)
        if self._shown is None:
            self.notice.show_nothing()
            return
        offer = self._shown
        image, match = self._image_of(offer)
        state, due = offer.state, sum(map(self._is_due, self._offers))
        subject = offer.image.name if offer.image is not None else offer.name
        edits = int(state.get("edits", 0))
        parts = [f"“{offer.name}”: {edits} edit{'s' * (edits != 1)}, last on {_when(state.get('edited', ''))}."]
        parts.append(
            "They were not exported before napari was closed." if state.get("closed") else "napari ended unexpectedly."
        )
        if not offer.orphan.complete:
            parts.append("Only what was edited is there; the rest was not yet written.")
        if match is Match.CHANGED:
            parts.append("The file holds other pixels now than when they were made.")
        can_open = image is None and offer.image is not None and self._file_of(offer) is not None
        if image is None and offer.image is not None:
            parts.append("Its image is not open." if can_open else "Open its image to restore them.")
        title = f"Unsaved corrections of {subject}" + (f" (1 of {due})" if due > 1 else "")
        self.notice.show_offer(title, " ".join(parts), "Open image and restore" if can_open else "Restore")
        self.notice.restore.setEnabled(can_open or image is not None or offer.image is None)

    def _is_due(self, offer: Offer) -> bool:
        """Whether to offer it now: what a crash left at once, what was closed as usual with its image only."""
        return offer.image is None or not offer.state.get("closed") or self._image_of(offer)[0] is not None

    def _image_of(self, offer: Offer) -> tuple[napari.layers.Image | None, Match]:
        """Return the open image that it belongs to."""
        if offer.image is None:
            return None, Match.OTHER
        changed = None
        for layer in self.watch.of_type(napari.layers.Image):
            shape, dtype = outline(layer)
            if not offer.image.may_be(ImageMark(shape, dtype)):
                continue
            mark = self._marks.of(layer)
            if not mark.fingerprint:
                continue
            match offer.image.match(mark):
                case Match.SAME:
                    return layer, Match.SAME
                case Match.CHANGED:
                    changed = layer
        return changed, Match.OTHER if changed is None else Match.CHANGED

    @staticmethod
    def _file_of(offer: Offer) -> Path | None:
        path = Path(offer.image.source) if offer.image is not None and offer.image.source else None
        return path if path is not None and path.exists() else None

    # what the person chose

    @guarded
    def restore(self) -> None:
        """Restore what is offered; open its image first if need be."""
        offer = self._shown
        if offer is None or self.job is not None:
            return
        image, _ = self._image_of(offer)
        if image is None and offer.image is not None:
            self._open_image(offer)
            return
        self.notice.allow(False)
        self.say("Restoring …")
        self._start(partial(_read, offer.orphan.folder), partial(self._on_read, offer))

    def _open_image(self, offer: Offer) -> None:
        path = self._file_of(offer)
        if path is None:
            raise FileError(f"the image {offer.name} is not open; open it, and its corrections are offered")
        reader = offer.orphan.documents.get("image", {}).get("reader") or None
        self._wanted = offer
        self.viewer.open(str(path), plugin=reader)
        if not any(
            offer.image is not None and offer.image.may_be(ImageMark(*outline(layer)))
            for layer in self.watch.of_type(napari.layers.Image)
        ):
            self._wanted = None
            raise FileError(f"{path} holds an image of another size now; these corrections do not fit it")
        self._on_known()

    @guarded
    def discard(self) -> None:
        """Discard what is offered; it can be put back by hand for some weeks."""
        offer = self._shown
        if offer is None or self.job is not None:
            return
        self.notice.allow(False)
        self._start(partial(_discard, offer.orphan.folder), partial(self._on_discarded, offer))

    @guarded
    def later(self) -> None:
        """Offer it no more until the dock is opened the next time."""
        if self._shown is not None:
            self._offers.remove(self._shown)
        self._show()

    def _start(self, work: Any, done: Any) -> None:
        self.job = self.begin("SegLoop", work, done)
        self.job.ended.connect(self._on_ended)

    def _on_ended(self) -> None:
        self.job = None
        self.notice.allow(True)
        self._show()

    def fail(self, error: Exception) -> None:
        """Tell the user of an error; a journal that cannot be read is not offered again before the next start."""
        if self.job is not None and self._shown in self._offers:
            self._offers.remove(self._shown)
        super().fail(error)

    def release(self) -> None:
        """Follow the regions no longer; called when the dock is gone."""
        for reference in self.session.regions.values():
            regions = reference()
            if regions is not None:
                regions.events.data.disconnect(self._on_regions)

    def _on_regions(self, event: Any = None) -> None:
        self.regions_changed.emit(event)

    @guarded
    def _on_discarded(self, offer: Offer, _: Any) -> None:
        self._offers.remove(offer)
        self.say(f"The corrections of “{offer.name}” are discarded.")

    @guarded
    def _on_read(self, offer: Offer, read: tuple[Journal, Recovered]) -> None:
        journal, recovered = read
        self._offers.remove(offer)
        documents = recovered.documents
        layer = make_layer(recovered.labels, documents)
        image, _ = self._image_of(offer)
        origin = make_origin(documents.get("origin", {}), layer if image is None else image)
        if origin is not None:
            scribbled = documents["origin"].get("scribbles")
            (self.session.scribbles if scribbled else self.session.origins)[layer] = origin
        review = documents.get("review", {})
        if review.get("whole"):
            self.session.wholly_reviewed.add(layer)
        regions = make_regions(layer, review)
        if regions is not None:
            self.session.regions[layer] = weakref.ref(regions)
            regions.events.data.connect(self._on_regions)
        edits = int(offer.state.get("edits", 0))
        self._journals.resume(layer, journal, recovered.complete, edits)
        self.viewer.add_layer(layer)
        if regions is not None:
            self.viewer.add_layer(regions)
        self.viewer.layers.selection.active = layer
        self.say(f"“{layer.name}” is restored, with {edits} edit{'s' * (edits != 1)}.", "good")
        self.restored.emit(layer)


def _find(home: Path) -> Generator[Event, None, list[Offer]]:
    import segloop.corrections.journal_writer  # noqa: F401 - here, and not in the main thread with the first edit
    from segloop.corrections.journal_orphans import find_orphans

    offers = []
    for orphan in find_orphans(home):
        said = orphan.documents.get("image", {})
        age = (datetime.now(UTC).timestamp() - orphan.modified) / 86_400
        if not (orphan.documents.get("state", {}).get("closed") and age > CLOSED_DAYS):
            offers.append(Offer(orphan, ImageMark.from_json(said) if said else None))
    return offers
    yield


def _read(folder: Path) -> Generator[Event, None, tuple[Journal, Recovered]]:
    from segloop.corrections.journal import Journal

    return Journal.open(folder)
    yield


def _discard(folder: Path) -> Generator[Event, None, None]:
    from segloop.corrections.journal_orphans import discard

    discard(folder)
    return
    yield


def _when(moment: str) -> str:
    """A moment in words, in the time of the place: "22 Nov, 20:31"."""
    try:
        then = datetime.fromisoformat(moment).astimezone()
    except ValueError:
        return "an unknown day"
    day = then.strftime("%d %b").lstrip("0")
    year = "" if math.isclose(then.year, datetime.now().astimezone().year) else f" {then.year}"
    return f"{day}{year}, {then:%H:%M}"

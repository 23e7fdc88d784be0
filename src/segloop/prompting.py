"""Prompting: a box or a point given by hand, filled by the mask head of a model from features that are kept.

The features of a tile are computed once, from the same pixels (scale, intensities, tiles) as a segmentation takes, and
at coarser scales, each half of the one before, which together cost a third as much again. After that a prompt takes
milliseconds, because only the mask head runs, on a few boxes: at each scale, since what is drawn may be many times as
large as the objects that the model knows.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
from scipy import ndimage

from segloop.catalog import Area, Mask
from segloop.doubt import expected_iou
from segloop.errors import ModelError, PromptError
from segloop.events import Event, SegmentStarted, TileDone
from segloop.image import Image
from segloop.looks import looks_of
from segloop.models.protocol import Promptable, Segmenter, Task
from segloop.painting import frozen, paint, pixel_regions
from segloop.planning import Region, network_image
from segloop.segmentation import SegmentSettings, make_plan
from segloop.settings import AUTO

SMALLEST_BOX = 2.0
"""Boxes of a smaller side, in image pixels, are taken for slips of the hand."""

SHARPNESS = 4
"""Scales are averaged, each weighed by the IoU that its mask is expected to have by its own probabilities, to this."""

COARSENESS = 0.5
"""And each by so much of what the scale before it counts: masks of thin things are blurred, and sure, when reduced."""

LARGEST_SHARE = 0.25
"""What takes up more than this of a plane is taken for its surroundings, not for the object that was clicked."""

SIDES = (0.6, 0.85, 1.2, 1.7, 2.4)
"""Sides of boxes that are tried about a click where nothing was found, in typical diameters at each scale."""

LEAST_CERTAINTY = 0.72
"""A guess about a click is given if a mask of its box, at the scale at which it is surest, has this IoU by itself …"""

LEAST_EDGE = 1.05
"""… and the image is so many times as steep along its outline as around; else there is nothing at the click."""

EDGE_MARGIN = 0.1
"""Width of what is looked at around a mask, in sides of a square of its area; a quarter of it is smoothed over."""

CLICK_ROUNDS = 2
"""How often these are fitted to the mask found in them."""


class Prompter:
    """Fills boxes and points of one image.

    Parameters
    ----------
    model : Segmenter
        A model of instances that takes prompts.
    image : Image
    settings : SegmentSettings
        Those of the segmentation that is corrected.

    Raises
    ------
    ModelError
        If the model takes no prompts.
    ImageError
        If the model does not fit the image.
    """

    def __init__(self, model: Segmenter, image: Image, settings: SegmentSettings) -> None:
        if model.spec.task is not Task.INSTANCE or not isinstance(model, Promptable):
            raise ModelError(f"the model {model.spec.name!r} fills no boxes; choose a Mask R-CNN")
        image = network_image(image, model.spec, None if settings.channel is AUTO else settings.channel)
        device = settings.device.resolve()
        model.to(device, settings.precision.resolve(device))
        self._plan = make_plan(model, image, settings, AUTO, [])
        self._device = model.device
        self._blocks = [block for _, block in image.blocks(2)]
        self._looks = looks_of(model, model.device, self._plan, self._blocks)

    @property
    def object_size(self) -> float:
        """Typical diameter of an object, in image pixels."""
        return max(SMALLEST_BOX, (self._plan.spec.object_size or 24.0) / float(self._looks[0].zoom[0]))

    def missing(self, plane: int, region: Region) -> list[tuple[int, int]]:
        """Scales and tiles of a region (rows, columns of the image) that were not looked at yet, finest scale first."""
        return [(scale, n) for scale, look in enumerate(self._looks) for n in look.missing(plane, region)]

    def prepare(self, plane: int, region: Region, most: int = 1 << 30) -> Generator[Event, None, None]:
        """Look at a region, at no more than ``most`` tiles of the finest scale around its middle; an event per tile."""
        waiting = [
            (look, number)
            for scale, look in enumerate(self._looks)
            # so many of a coarser scale show as much of the image
            for number in look.missing(plane, region)[: max(1, most >> (2 * scale))]
        ]
        yield SegmentStarted(len(waiting), self._looks[0].tiles[0].shape, str(self._device))
        for done, (look, number) in enumerate(waiting, 1):
            look.see(plane, number)
            yield TileDone(done, len(waiting))

    def fill(self, plane: int, box: np.ndarray, class_number: int = 1, outline: float = 0.5) -> Mask:
        """Fill a box.

        Parameters
        ----------
        plane : int
            Counted over all axes of the label image but Y and X.
        box : float (4,)
            x0, y0, x1, y1 in image pixels; pixel (i, j) covers [j, j+1] × [i, i+1].
        class_number : int
            1…K.
        outline : float in [0, 1]
            Probability from which on cells belong to the object.

        Returns
        -------
        Mask
            In the image. It may have no pixel.

        Raises
        ------
        PromptError
            If the box is too small or lies outside the image.
        """
        height, width = self._plan.shape
        box = np.clip(np.asarray(box, np.float64), 0, [width, height, width, height])
        if min(box[2] - box[0], box[3] - box[1]) < SMALLEST_BOX:
            raise PromptError(
                f"a box of {box[2] - box[0]:.1f} × {box[3] - box[1]:.1f} pixels within the image; draw a larger one"
            )
        classes = np.array([class_number])
        cells = np.concatenate([look.fill(plane, box[None], classes) for look in self._looks])
        return self._drawn(_joined(cells), box, plane, outline)

    def fill_at(self, plane: int, row: float, column: float, outline: float = 0.5) -> tuple[Mask, int]:
        """Find the object at a point of the image.

        The best object that the model sees there, however unsure it is, gives the box: at the finest scale at which it
        sees any. Where it sees none, squares of several sides are fitted to what is found inside; of their masks that
        is taken which is sure and whose outline runs where the image is steep, if both hold enough: on background it
        gives nothing, mostly. ``outline`` as for :meth:`fill`.

        Returns
        -------
        mask : Mask
            Holds the point, or has no pixel.
        class_number : int
            1…K.
        """
        point = np.array([column, row]) + 0.5
        for look in self._looks:
            found = look.found_at(plane, point)
            for box, class_number in zip(found.boxes, found.classes.tolist()):
                mask = self._filled(plane, box, class_number, outline)
                if mask is not None and _holds(mask, row, column):
                    return mask, class_number
        for box in self._guesses(plane, point):
            mask = self._filled(plane, box, 1, outline)
            if mask is not None and _holds(mask, row, column):
                if self._is_believed(plane, box, mask):
                    return mask, 1
                break
        nothing = Area(plane, slice(int(row), int(row) + 1), slice(int(column), int(column) + 1))
        return Mask(nothing, np.zeros((1, 1), bool)), 1

    def _guesses(self, plane: int, point: np.ndarray) -> list[np.ndarray]:
        """Boxes of what may be at a point, float (4,) in image pixels, the likeliest first."""
        height, width = self._plan.shape
        guesses: list[tuple[float, np.ndarray]] = []
        for scale, look in enumerate(self._looks):
            half = np.array(SIDES)[:, None] * self.object_size * 2**scale / 2
            boxes = np.tile(point, 2) + half * np.array([-1, -1, 1, 1])
            for fitted in range(CLICK_ROUNDS + 1):
                boxes = np.clip(boxes, 0, [width, height, width, height])
                boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= SMALLEST_BOX).all(axis=1)]
                if not len(boxes):
                    break
                cells = look.fill(plane, boxes, np.ones(len(boxes), np.int64))
                inside = cells >= 0.5
                some = np.asarray(inside.any(axis=(1, 2)))
                if fitted < CLICK_ROUNDS:
                    bounds = [_bounds(mask, box) for mask, box in zip(inside[some], boxes[some])]
                    boxes = np.array(bounds).reshape(-1, 4)
                    continue
                for own, box in zip(cells[some], boxes[some]):
                    mask = self._drawn(own, box, plane, 0.5)
                    if _holds(mask, point[1], point[0]) and not self._is_surroundings(box):
                        guesses.append((_certainty(own) ** 2 * self._edge(mask), box))
        return [box for _, box in sorted(guesses, key=lambda guess: -guess[0])]

    def _is_believed(self, plane: int, box: np.ndarray, mask: Mask) -> bool:
        """Whether a guess is more than what is made of any background."""
        sure = max(_certainty(look.fill(plane, box[None], np.ones(1, np.int64))[0]) for look in self._looks)
        return sure >= LEAST_CERTAINTY and self._edge(mask) >= LEAST_EDGE

    def _edge(self, mask: Mask) -> float:
        """How steep the image is along the outline of a mask, relative to all of its surroundings."""
        margin = max(2, int(EDGE_MARGIN * math.sqrt(np.count_nonzero(mask.inside))))
        sides = zip((mask.area.rows, mask.area.columns), self._plan.shape)
        around = [slice(max(0, side.start - margin), min(n, side.stop + margin)) for side, n in sides]
        pixels = np.asarray(self._blocks[mask.area.plane].read(around), np.float64)
        steepness = ndimage.gaussian_gradient_magnitude(pixels.reshape(-1, *pixels.shape[-2:]).mean(axis=0), margin / 4)
        inside = np.zeros(steepness.shape, bool)
        own = zip((mask.area.rows, mask.area.columns), around)
        inside[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in own)] = mask.inside
        outline = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)
        return float(steepness[outline].mean() / max(steepness.mean(), 1e-12))

    def _is_surroundings(self, box: np.ndarray) -> bool:
        height, width = self._plan.shape
        return bool((box[2] - box[0]) * (box[3] - box[1]) > LARGEST_SHARE * height * width)

    def _filled(self, plane: int, box: np.ndarray, class_number: int, outline: float) -> Mask | None:
        if self._is_surroundings(box):
            return None
        try:
            return self.fill(plane, box, class_number, outline)
        except PromptError:
            return None

    def _drawn(self, cells: np.ndarray, box: np.ndarray, plane: int, outline: float) -> Mask:
        """Draw cells, float (M, M), laid over a box."""
        values = np.rint(255 * np.clip(cells + (0.5 - outline), 0, 1)).astype(np.uint8)
        height, width = self._plan.shape
        top, left, bottom, right = pixel_regions(box[None].astype(np.float32), (height, width))[0].tolist()
        inside = np.zeros((bottom - top, right - left), np.uint8)
        paint(inside, top, left, frozen(values, np.uint8), frozen(box, np.float32), np.uint8(0), np.uint8(1))
        return Mask(Area(plane, slice(top, bottom), slice(left, right)), inside.view(bool))


def _certainty(cells: np.ndarray) -> float:
    """The IoU that a mask, float (M, M) in [0, 1], has by its own probabilities."""
    return expected_iou(np.rint(255 * cells).astype(np.uint8))


def _joined(cells: np.ndarray) -> np.ndarray:
    """The mean of what scales say of a box, float32 (S, M, M), fine and sure ones counting more: float64 (M, M)."""
    weights = np.array([_certainty(own) for own in cells]) ** SHARPNESS * COARSENESS ** np.arange(len(cells))
    return np.average(cells, axis=0, weights=weights if weights.any() else None)


def _holds(mask: Mask, row: float, column: float) -> bool:
    i, j = int(row) - mask.area.rows.start, int(column) - mask.area.columns.start
    return 0 <= i < mask.inside.shape[0] and 0 <= j < mask.inside.shape[1] and bool(mask.inside[i, j])


def _bounds(inside: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box around the cells of a box that are inside, bool (M, M), some: float64 (4,)."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    cell = (box[2:] - box[:2]) / len(inside)
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    return np.concatenate([box[:2] + low * cell, box[:2] + high * cell])

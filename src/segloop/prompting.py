"""Prompting: a box or a point given by hand, filled by the mask head of a model from features that are kept.

The features of a tile are computed once, from the same pixels (scale, intensities, tiles) as a segmentation takes.
After that a prompt takes milliseconds, because only the mask head runs, on one box.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segloop.catalog import Area, Mask
from segloop.errors import ModelError, PromptError
from segloop.events import Event, SegmentStarted, TileDone
from segloop.image import Image
from segloop.models.protocol import Instances, Promptable, Segmenter, Task
from segloop.painting import frozen, paint, pixel_regions
from segloop.planning import Region, nearest_first, network_image
from segloop.segmentation import SegmentSettings, make_plan
from segloop.settings import AUTO
from segloop.tiling import Tile

KEPT_BYTES = 1 << 29
"""Features of tiles beyond so many bytes push out those that were not used for longest."""

SMALLEST_BOX = 2.0
"""Boxes of a smaller side, in image pixels, are taken for slips of the hand."""

CLICK_ROUNDS = 2
"""How often the box around a clicked object is fitted to the mask found in it."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """The features of a tile, and the objects found in it, without masks."""

    features: Mapping[str, Tensor]
    found: Instances

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.features.values())


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
        self._model: Promptable = model
        self._plan = make_plan(model, image, settings, AUTO, [])
        self._tiles = self._plan.tiles()
        self._blocks = [block for _, block in image.blocks(2)]
        self._device = model.device
        self._kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()

    @property
    def object_size(self) -> float:
        """Typical diameter of an object, in image pixels."""
        spec = self._plan.spec
        zoom = self._plan.scaled[0] / self._plan.shape[0]
        return max(SMALLEST_BOX, (spec.object_size or 24.0) / zoom)

    def missing(self, plane: int, region: Region) -> list[int]:
        """Numbers of the tiles of a region (rows, columns of the image) that were not looked at yet, nearest first."""
        order = nearest_first(self._tiles, region, self._plan)
        return [n for n in order if (plane, n) not in self._kept and self._meets(n, region)]

    def prepare(self, plane: int, region: Region, most: int = 1 << 30) -> Generator[Event, None, None]:
        """Look at a region, at no more than ``most`` tiles around its middle; an event per tile."""
        waiting = self.missing(plane, region)[:most]
        yield SegmentStarted(len(waiting), self._tiles[0].shape, str(self._device))
        for done, number in enumerate(waiting, 1):
            self._look(plane, number)
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
        number = self._tile_of(box)
        tile, kept = self._tiles[number], self._look(plane, number)
        own = torch.tensor(box * self._zoom() - self._corner(tile), dtype=torch.float32, device=self._device)
        classes = torch.tensor([class_number], device=self._device)
        cells = self._model.masks(kept.features, [own[None]], [classes])[0].float().cpu().numpy()
        cells = np.clip(cells + (0.5 - outline), 0, 1)
        return _drawn(np.rint(cells * 255).astype(np.uint8), box.astype(np.float32), plane, (height, width))

    def fill_at(self, plane: int, row: float, column: float, outline: float = 0.5) -> tuple[Mask, int]:
        """Find the object at a point of the image.

        The best object that the model sees there, however unsure it is, gives the box; where it sees none, a box of the
        usual size is fitted to what it finds inside. ``outline`` as for :meth:`fill`.

        Returns
        -------
        mask : Mask
            Holds the point, or has no pixel.
        class_number : int
            1…K.
        """
        point = np.array([column, row, column, row], float) + 0.5
        number = self._tile_of(point)
        kept = self._look(plane, number)
        boxes = (kept.found.boxes + self._corner(self._tiles[number])) / self._zoom()
        there = np.flatnonzero((boxes[:, :2] <= point[:2]).all(1) & (boxes[:, 2:] > point[:2]).all(1))
        for place in there[np.argsort(-kept.found.scores[there], kind="stable")]:
            class_number = int(kept.found.classes[place])
            mask = self._filled(plane, boxes[place], class_number, outline)
            if mask is not None and _holds(mask, row, column):
                return mask, class_number
        box = point + self.object_size * 0.6 * np.array([-1, -1, 1, 1])
        mask = self._filled(plane, box, 1, outline)
        for _ in range(CLICK_ROUNDS):
            if mask is None or not mask.inside.any():
                break
            mask = self._filled(plane, _bounds(mask), 1, outline)
        if mask is None or not _holds(mask, row, column):
            nothing = Area(plane, slice(int(row), int(row) + 1), slice(int(column), int(column) + 1))
            mask = Mask(nothing, np.zeros((1, 1), bool))
        return mask, 1

    def _filled(self, plane: int, box: np.ndarray, class_number: int, outline: float) -> Mask | None:
        try:
            return self.fill(plane, box, class_number, outline)
        except PromptError:
            return None

    def _look(self, plane: int, number: int) -> _Kept:
        kept = self._kept.get((plane, number))
        if kept is None:
            tile = self._tiles[number]
            pixels = torch.from_numpy(np.ascontiguousarray(self._plan.read(self._blocks[plane], tile)[None]))
            features = self._model.features(pixels)
            shape = (pixels.shape[-2], pixels.shape[-1])
            kept = _Kept(features, self._model.detect(features, shape)[0])
            self._kept[plane, number] = kept
            while len(self._kept) > 1 and sum(own.nbytes for own in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end((plane, number))
        return kept

    def _zoom(self) -> np.ndarray:
        (height, width), (down, across) = self._plan.shape, self._plan.scaled
        return np.array([across / width, down / height] * 2)

    @staticmethod
    def _corner(tile: Tile) -> np.ndarray:
        return np.array([tile.outer[1].start, tile.outer[0].start] * 2, float)

    def _tile_of(self, box: np.ndarray) -> int:
        """The tile that sees most of a box, and of those the one in which it lies deepest."""
        x0, y0, x1, y1 = box * self._zoom()

        def seen(number: int) -> tuple[float, float]:
            rows, columns = self._tiles[number].outer
            height = min(y1, rows.stop) - max(y0, rows.start)
            width = min(x1, columns.stop) - max(x0, columns.start)
            depth = min(y0 - rows.start, rows.stop - y1, x0 - columns.start, columns.stop - x1)
            return (min(height, 0.0) if min(height, width) < 0 else max(height, 1e-9) * max(width, 1e-9), depth)

        return max(range(len(self._tiles)), key=seen)

    def _meets(self, number: int, region: Region) -> bool:
        own = self._plan.image_region(self._tiles[number].inner)
        return all(a.start < b.stop and b.start < a.stop for a, b in zip(own, region))


def _drawn(cells: np.ndarray, box: np.ndarray, plane: int, shape: tuple[int, int]) -> Mask:
    """Draw cells, uint8 (1, M, M), laid over a box."""
    top, left, bottom, right = pixel_regions(box[None], shape)[0].tolist()
    inside = np.zeros((bottom - top, right - left), np.uint8)
    paint(inside, top, left, frozen(cells[0], np.uint8), frozen(box, np.float32), np.uint8(0), np.uint8(1))
    return Mask(Area(plane, slice(top, bottom), slice(left, right)), inside.view(bool))


def _holds(mask: Mask, row: float, column: float) -> bool:
    i, j = int(row) - mask.area.rows.start, int(column) - mask.area.columns.start
    return 0 <= i < mask.inside.shape[0] and 0 <= j < mask.inside.shape[1] and bool(mask.inside[i, j])


def _bounds(mask: Mask) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.inside.any(axis=1)), np.flatnonzero(mask.inside.any(axis=0))
    top, left = mask.area.rows.start, mask.area.columns.start
    return np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1], float)

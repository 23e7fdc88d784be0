"""Looks: an image at one scale, cut into tiles of which the features are kept, so that boxes are filled from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from segloop.image import Image
from segloop.models.protocol import Instances, Promptable
from segloop.planning import Plan, Region, nearest_first
from segloop.tiling import Tile

KEPT_BYTES = 1 << 29
"""Features of tiles beyond so many bytes push out those that were not used for longest."""

COARSER = 2
"""How often an image is reduced to half: objects four times as large as the model's own are then of its size."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The features of a tile, and the objects found in it, without masks, in network pixels of the tile."""

    features: Mapping[str, Tensor]
    found: Instances

    @property
    def nbytes(self) -> int:
        """Bytes of the features."""
        return sum(part.numel() * part.element_size() for part in self.features.values())


class Shelf:
    """What was seen of the tiles of all scales."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[int, int, int], Seen] = OrderedDict()

    def __contains__(self, key: tuple[int, int, int]) -> bool:
        return key in self._seen

    def get(self, key: tuple[int, int, int]) -> Seen | None:
        """What was seen, and is kept, of scale, plane and tile."""
        if key in self._seen:
            self._seen.move_to_end(key)
        return self._seen.get(key)

    def put(self, key: tuple[int, int, int], seen: Seen) -> None:
        """Keep what was seen; what was not used for longest goes."""
        self._seen[key] = seen
        while len(self._seen) > 1 and sum(own.nbytes for own in self._seen.values()) > KEPT_BYTES:
            self._seen.popitem(last=False)


class Look:
    """An image at one scale.

    Parameters
    ----------
    model : Promptable
    device : torch.device
        Where the model is.
    plan : Plan
    blocks : sequence of Image
        The planes.
    shelf : Shelf
    number : int
        Tells this scale from the others on the shelf.
    """

    def __init__(
        self,
        model: Promptable,
        device: torch.device,
        plan: Plan,
        blocks: Sequence[Image],
        shelf: Shelf,
        number: int,
    ) -> None:
        self._model, self._device, self._plan = model, device, plan
        self._blocks, self._shelf, self._number = blocks, shelf, number
        self.tiles = plan.tiles()
        (height, width), (down, across) = plan.shape, plan.scaled
        self.zoom = np.array([across / width, down / height] * 2)
        """Network pixels per image pixel: float64 (4,), of X, Y, X, Y."""

    def missing(self, plane: int, region: Region) -> list[int]:
        """Numbers of the tiles of a region (rows, columns of the image) that were not looked at yet, nearest first."""
        order = nearest_first(self.tiles, region, self._plan)
        return [n for n in order if (self._number, plane, n) not in self._shelf and self._meets(n, region)]

    def see(self, plane: int, number: int) -> Seen:
        """What is seen of a tile; computed if it is not kept."""
        key = (self._number, plane, number)
        seen = self._shelf.get(key)
        if seen is None:
            pixels = self._plan.read(self._blocks[plane], self.tiles[number])
            features = self._model.features(torch.from_numpy(np.ascontiguousarray(pixels[None])))
            seen = Seen(features, self._model.detect(features, (pixels.shape[-2], pixels.shape[-1]))[0])
            self._shelf.put(key, seen)
        return seen

    def fill(self, plane: int, boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Fill boxes that lie near one another.

        Parameters
        ----------
        plane : int
        boxes : float (N, 4)
            x0, y0, x1, y1 in image pixels, N at least 1. The tile that sees most of what lies amid them sees them all.
        classes : int (N,)
            1…K.

        Returns
        -------
        float32 (N, M, M) in [0, 1]
        """
        number = self.tile_of(boxes.mean(axis=0))
        own = torch.tensor(boxes * self.zoom - self._corner(number), dtype=torch.float32, device=self._device)
        kinds = torch.tensor(classes, dtype=torch.int64, device=self._device)
        (cells,) = self._model.masks(self.see(plane, number).features, [own], [kinds])
        return np.asarray(cells.float().cpu().numpy())

    def found_at(self, plane: int, point: np.ndarray) -> Instances:
        """What the model found whose box holds a point, however unsure it is, best first; boxes in image pixels.

        ``point`` : float (2,), X and Y in image pixels.
        """
        number = self.tile_of(np.tile(point, 2))
        found = self.see(plane, number).found
        boxes = ((found.boxes + self._corner(number)) / self.zoom).astype(np.float32)
        there = np.flatnonzero((boxes[:, :2] <= point).all(1) & (boxes[:, 2:] > point).all(1))
        there = there[np.argsort(-found.scores[there], kind="stable")]
        return replace(found, boxes=boxes).take(there)

    def tile_of(self, box: np.ndarray) -> int:
        """The tile that sees most of a box, in image pixels, and of those the one in which it lies deepest."""
        x0, y0, x1, y1 = box * self.zoom

        def seen(number: int) -> tuple[float, float]:
            rows, columns = self.tiles[number].outer
            height = min(y1, rows.stop) - max(y0, rows.start)
            width = min(x1, columns.stop) - max(x0, columns.start)
            depth = min(y0 - rows.start, rows.stop - y1, x0 - columns.start, columns.stop - x1)
            return (min(height, 0.0) if min(height, width) < 0 else max(height, 1e-9) * max(width, 1e-9), depth)

        return max(range(len(self.tiles)), key=seen)

    def _corner(self, number: int) -> np.ndarray:
        tile: Tile = self.tiles[number]
        return np.array([tile.outer[1].start, tile.outer[0].start] * 2, float)

    def _meets(self, number: int, region: Region) -> bool:
        own = self._plan.image_region(self.tiles[number].inner)
        return all(a.start < b.stop and b.start < a.stop for a, b in zip(own, region))


def looks_of(model: Promptable, device: torch.device, plan: Plan, blocks: Sequence[Image]) -> list[Look]:
    """Looks at the scale of a plan and at coarser ones, each half of the one before, down to a single small tile."""
    shelf, looks = Shelf(), [plan]
    while len(looks) <= COARSER and min(looks[-1].scaled) >= 2 * plan.divisor:
        looks.append(replace(plan, scaled=tuple(-(-n // 2) for n in looks[-1].scaled)))
    return [Look(model, device, own, blocks, shelf, number) for number, own in enumerate(looks)]

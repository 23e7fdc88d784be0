"""Stitching: what a model returned for tiles becomes labels of the whole image, tile by tile, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pandas as pd

from segloop.candidates import Candidates, ClassScores
from segloop.canvas import is_large, new_canvas
from segloop.drawing import DrawnLabels
from segloop.errors import ModelError
from segloop.events import LabelsDone
from segloop.image import Image
from segloop.labels import Labels, instances_from_scores, object_table, smallest_dtype
from segloop.models.protocol import Instances, ScoreMap
from segloop.planning import Plan
from segloop.resample import resize_region
from segloop.seams import Joiner, join_instances, stack_candidates
from segloop.tiling import Tile

Finished = tuple[Labels, pd.DataFrame, Candidates | ClassScores]


class Stitcher(Protocol):
    """Puts what was predicted together."""

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take what a model returned for a tile of plane or volume number ``plane``."""
        ...

    def preview(self, plane: int, tile: Tile, part: Any) -> Iterator[LabelsDone]:
        """Labels of the tile just added, to be shown meanwhile."""
        ...

    def finish(self) -> Finished:
        """Labels, table and candidates of all that was added."""
        ...


class _Layout:
    """Where a plane or volume lies in the label image of an image."""

    def __init__(self, image: Image, plan: Plan) -> None:
        self.image, self.plan = image, plan
        self.inner = "ZYX" if plan.spec.ndim == 3 else "YX"
        self.outer = image.outer_axes(plan.spec.ndim)
        self.sizes = {axis: image.sizes[axis] for axis in image.label_axes}
        self.planes = int(np.prod([image.sizes[axis] for axis in self.outer], initial=1))

    def place(self, plane: int) -> dict[str, int]:
        """Position of a plane along the outer axes."""
        shape = [self.sizes[axis] for axis in self.outer]
        return dict(zip(self.outer, map(int, np.unravel_index(plane, shape) if shape else ())))

    def index(self, plane: int, region: tuple[slice, ...]) -> tuple[slice, ...]:
        """Index of a region of a plane in the label image."""
        at = {axis: slice(number, number + 1) for axis, number in self.place(plane).items()}
        at |= dict(zip(self.inner, region))
        return tuple(at[axis] for axis in self.sizes)

    def shaped(self, block: np.ndarray) -> np.ndarray:
        """Give a block ([Z], Y, X) the axes of the label image."""
        now = self.outer + self.inner
        return block.reshape((1,) * len(self.outer) + block.shape).transpose([now.index(axis) for axis in self.sizes])

    def flat(self, plane: int, depth: int = 0) -> int:
        """Number of a 2D plane over all axes of the label image but Y and X."""
        at = self.place(plane) | ({"Z": depth} if "Z" in self.inner else {})
        axes = [axis for axis in self.sizes if axis not in "YX"]
        return int(np.ravel_multi_index([at[a] for a in axes], [self.sizes[a] for a in axes])) if axes else 0

    def labels(self, data: Any, classes: tuple[str, ...]) -> Labels:
        return Labels.like(self.image, data, classes)


class ClassStitcher:
    """Puts score maps together into class labels, or into objects parted by watershed.

    Parameters
    ----------
    image : Image
    plan : Plan
    instances : bool
        Part single objects by the border class.
    min_area : int
        Least pixels of an object.
    """

    def __init__(self, image: Image, plan: Plan, instances: bool, min_area: int) -> None:
        spec = plan.spec
        if instances and spec.border_class is None:
            raise ModelError(
                f"the model {spec.name!r} has no border class, so it cannot part single objects; "
                "use a model with classes background, inside, border, or an instance model"
            )
        self._layout, self._plan, self._instances, self._min_area = _Layout(image, plan), plan, instances, min_area
        classes = len(spec.classes)
        self._scores = new_canvas((self._layout.planes, classes, *plan.shape), np.dtype(np.uint8))
        self._classes = new_canvas(image.label_shape, smallest_dtype(classes - 1))
        # whole numbers, so that sums do not depend on the order of the tiles
        self._areas = np.zeros(classes, np.int64)
        self._sums = np.zeros(classes, np.int64)

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take the score map of a tile."""
        spec = self._plan.spec
        if not isinstance(part, ScoreMap):
            raise ModelError(f"the semantic model {spec.name!r} returned {type(part).__name__}, not ScoreMap")
        region = self._plan.image_region(tile.inner)
        if self._plan.shape == self._plan.scaled:
            scores = part.scores[(slice(None), *tile.local)]
        else:
            scores = resize_region(part.scores, tile.outer, self._plan.scaled, region, self._plan.shape)
        whole = np.empty(scores.shape, np.uint8)
        np.rint(scores * np.float32(255), out=whole, casting="unsafe")
        self._scores[(plane, slice(None), *region)] = whole
        best = whole[0].copy()
        classes = np.zeros(best.shape, self._classes.dtype)
        for number in range(1, len(whole)):
            better = whole[number] > best
            np.copyto(best, whole[number], where=better)
            classes[better] = number
        self._classes[self._layout.index(plane, region)] = self._layout.shaped(classes)
        self._areas += np.bincount(classes.ravel(), minlength=len(self._areas))
        self._sums += np.bincount(classes.ravel(), best.ravel(), len(self._areas)).astype(np.int64)

    def preview(self, plane: int, tile: Tile, part: Any) -> Iterator[LabelsDone]:
        """The classes of the tile's own pixels, plane by plane."""
        region = self._plan.image_region(tile.inner)
        depths = range(*region[0].indices(self._plan.shape[0])) if len(region) == 3 else (0,)
        for depth in depths:
            at = (slice(depth, depth + 1), *region[-2:]) if len(region) == 3 else region
            block = np.asarray(self._classes[self._layout.index(plane, at)])
            order = [self._layout.image.label_axes.index(axis) for axis in "YX"]
            flat = np.squeeze(block, tuple(a for a in range(block.ndim) if a not in order))
            rows, columns = region[-2:]
            yield LabelsDone(self._layout.flat(plane, depth), rows, columns, flat if order[0] < order[1] else flat.T)

    def finish(self) -> Finished:
        """Labels, one row per class or object, and the scores."""
        labels, objects = self._objects() if self._instances else self._named_classes()
        return labels, objects, ClassScores(self._scores)

    def _named_classes(self) -> tuple[Labels, pd.DataFrame]:
        names = self._plan.spec.classes
        rows = [
            {
                "label": number,
                "score": float(self._sums[number] / self._areas[number] / 255),
                "class": names[number],
                "area": int(self._areas[number]),
                "origin": "model",
            }
            for number in range(1, len(names))
            if self._areas[number]
        ]
        objects = pd.DataFrame(rows, columns=["label", "score", "class", "area", "origin"])
        return self._layout.labels(self._classes, names), objects

    def _objects(self) -> tuple[Labels, pd.DataFrame]:
        whole = np.zeros(self._layout.image.label_shape, np.uint32)
        tables = []
        count = 0
        for plane in range(self._layout.planes):
            block = self._scores[plane]
            inside = block[1].astype(np.float32) / 255
            foreground = 1 - block[0].astype(np.float32) / 255
            parted = instances_from_scores(inside, foreground)
            areas = np.bincount(parted.ravel())
            areas[0] = 0
            kept = np.flatnonzero(areas >= max(1, self._min_area))
            lookup = np.zeros(len(areas), np.uint32)
            lookup[kept] = np.arange(1, len(kept) + 1) + count
            sums = np.bincount(parted.ravel(), weights=foreground.ravel(), minlength=len(areas))
            tables.append(sums[kept] / areas[kept])
            count += len(kept)
            everything = tuple(slice(0, n) for n in self._plan.shape)
            whole[self._layout.index(plane, everything)] = self._layout.shaped(lookup[parted])
        names = np.full(count, self._plan.spec.classes[1], object)
        return self._layout.labels(whole, ()), measured_frame(whole, np.concatenate(tables), names)


class ObjectStitcher:
    """Puts instances together into object labels.

    Parameters
    ----------
    image : Image
    plan : Plan
    score, overlap : float
    min_area : int
        See :meth:`segloop.candidates.Candidates.choose`.
    """

    def __init__(self, image: Image, plan: Plan, score: float, overlap: float, min_area: int) -> None:
        self._layout, self._plan = _Layout(image, plan), plan
        self._thresholds = (score, overlap, min_area)
        height, width = plan.scaled
        self._joiners = [Joiner((height, width), plane) for plane in range(self._layout.planes)]
        self._previewed = 0

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take the instances of a tile."""
        if not isinstance(part, Instances):
            raise ModelError(
                f"the instance model {self._plan.spec.name!r} returned {type(part).__name__}, not Instances"
            )
        self._joiners[plane].add(tile, part)

    def preview(self, plane: int, tile: Tile, part: Any) -> Iterator[LabelsDone]:
        """The tile's own objects, whatever its neighbours see."""
        height, width = self._plan.scaled
        sure = np.flatnonzero(part.scores >= self._thresholds[0])
        own = join_instances([tile], [part.take(sure)], (height, width), 0)
        alone = stack_candidates([own], (self._plan.shape[0], self._plan.shape[1]))
        chosen = alone.choose(*self._thresholds)
        rows, columns = self._plan.image_region(tile.inner)
        block = alone.draw(chosen, 0, rows, columns)
        block[block > 0] += np.uint32(self._previewed)
        self._previewed += len(chosen)
        yield LabelsDone(self._layout.flat(plane), rows, columns, block)

    def finish(self) -> Finished:
        """Labels, one row per object, and the candidates."""
        height, width = self._plan.shape
        candidates = stack_candidates([joiner.join() for joiner in self._joiners], (height, width))
        chosen = candidates.choose(*self._thresholds)
        drawn = DrawnLabels(candidates, chosen, self._layout.sizes)
        data = drawn if is_large(drawn.size * drawn.dtype.itemsize) else drawn[...]
        names = np.asarray(["", *self._plan.spec.classes], object)
        planes = self._layout
        outer = np.unravel_index(chosen.planes, [planes.sizes[a] for a in planes.outer] or [planes.planes])
        columns: dict[str, Any] = {
            "label": np.arange(1, len(chosen) + 1),
            "score": candidates.scores[chosen.index].astype(float),
            "class": names[candidates.classes[chosen.index]],
            "area": chosen.area,
            "origin": "model",
        }
        at = dict(zip("YX", chosen.centroid.T)) | dict(zip(planes.outer, outer))
        columns |= {f"centroid-{axis}": at[letter].astype(float) for axis, letter in enumerate(planes.sizes)}
        low = {"Y": chosen.bbox[:, 0], "X": chosen.bbox[:, 1]}
        high = {"Y": chosen.bbox[:, 2], "X": chosen.bbox[:, 3]}
        edges = [low.get(letter, at[letter]) for letter in planes.sizes]
        edges += [high.get(letter, at[letter] + 1) for letter in planes.sizes]
        columns |= {f"bbox-{number}": edge.astype(np.int64) for number, edge in enumerate(edges)}
        return planes.labels(data, ()), pd.DataFrame(columns), candidates


def measured_frame(labels: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    """The table of objects 1…N in ``labels``, measured on the pixels."""
    table = object_table(labels)
    index = table["label"] - 1
    frame = pd.DataFrame({"label": table["label"], "score": scores[index].astype(float), "class": classes[index]})
    frame["area"] = table["area"].astype(int)
    frame["origin"] = "model"
    for name, column in table.items():
        if name.startswith(("centroid", "bbox")):
            frame[name] = column
    return frame

"""Stitching: what a model returned for tiles becomes labels of the whole image, tile by tile, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from segloop.candidates import Candidates, Chosen, ClassScores
from segloop.canvas import is_large, new_canvas
from segloop.drawing import DrawnLabels
from segloop.errors import ModelError
from segloop.events import LabelsDone
from segloop.image import Image
from segloop.labels import Labels, smallest_dtype
from segloop.models.protocol import Instances, ScoreMap
from segloop.parting import PartedTable, Parting
from segloop.parting import part as part_whole
from segloop.planning import Plan
from segloop.resample import resize_region
from segloop.retakes import expected_retakes, longest_worthwhile
from segloop.seams import Joiner, join_instances, stack_candidates
from segloop.tiling import Tile

BLOCKS = {2: 1024, 3: 128}
"""Side of the blocks in which planes and volumes are parted: a million pixels, two million voxels."""

Finished = tuple[Labels, pd.DataFrame, Candidates | ClassScores]


class Stitcher(Protocol):
    """Puts what was predicted together."""

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take what a model returned for a tile of plane or volume number ``plane``."""
        ...

    def preview(self, plane: int, tile: Tile, part: Any) -> Iterator[LabelsDone]:
        """Labels of the tile just added, to be shown meanwhile."""
        ...

    def retakes(self) -> list[tuple[int, Tile]]:
        """Further tiles, with their planes, that are to be added before the end; asked once, when all were added."""
        ...

    @property
    def expected(self) -> float:
        """About how many those would be for the tiles added so far."""
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


@dataclass(frozen=True, eq=False)
class ClassPart:
    """What a tile says of the pixels it answers for.

    Parameters
    ----------
    region : tuple of slice
        [Z], Y, X in image pixels.
    scores : uint8 (K, [Z], Y, X)
        In 255ths.
    classes : unsigned integers ([Z], Y, X)
        The best class of each pixel, the first of equal ones.
    areas, sums : int64 (K,)
        Pixels of each class, and the sum of their scores: whole numbers, so that totals do not depend on the order of
        the tiles.
    """

    region: tuple[slice, ...]
    scores: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    sums: np.ndarray


def class_part(plan: Plan, tile: Tile, part: Any) -> ClassPart:
    """Bring the score map of a tile to image pixels, and decide on classes.

    Raises
    ------
    ModelError
        If the model returned something else.
    """
    if not isinstance(part, ScoreMap):
        raise ModelError(f"the semantic model {plan.spec.name!r} returned {type(part).__name__}, not ScoreMap")
    region = plan.image_region(tile.inner)
    if plan.shape == plan.scaled:
        scores = part.scores[(slice(None), *tile.local)]
    else:
        scores = resize_region(part.scores, tile.outer, plan.scaled, region, plan.shape)
    whole = np.empty(scores.shape, np.uint8)
    np.rint(scores * np.float32(255), out=whole, casting="unsafe")
    best = whole[0].copy()
    classes = np.zeros(best.shape, smallest_dtype(len(whole) - 1))
    for number in range(1, len(whole)):
        np.putmask(classes, whole[number] > best, number)
        np.maximum(best, whole[number], out=best)
    areas = np.bincount(classes.ravel(), minlength=len(whole))
    sums = np.bincount(classes.ravel(), best.ravel(), len(whole)).astype(np.int64)
    return ClassPart(region, whole, classes, areas, sums)


def class_table(names: Sequence[str], areas: np.ndarray, sums: np.ndarray) -> pd.DataFrame:
    """One row per class that there is, but background; ``areas`` and ``sums`` as those of :class:`ClassPart`."""
    rows = [
        {
            "label": number,
            "score": float(sums[number] / areas[number] / 255),
            "class": names[number],
            "area": int(areas[number]),
            "origin": "model",
        }
        for number in range(1, len(names))
        if areas[number]
    ]
    return pd.DataFrame(rows, columns=["label", "score", "class", "area", "origin"])


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
        self._previewed = 0
        self._areas = np.zeros(classes, np.int64)
        self._sums = np.zeros(classes, np.int64)

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take the score map of a tile."""
        self.put(plane, class_part(self._plan, tile, part))

    def put(self, plane: int, part: ClassPart) -> None:
        """Take what a tile says of a plane or volume."""
        self._scores[(plane, slice(None), *part.region)] = part.scores
        self._classes[self._layout.index(plane, part.region)] = self._layout.shaped(part.classes)
        self._areas += part.areas
        self._sums += part.sums

    def preview(self, plane: int, tile: Tile, part: Any) -> Iterator[LabelsDone]:
        """The tile's own pixels, plane by plane: their classes, or objects as the tile alone would part them."""
        region = self._plan.image_region(tile.inner)
        scores = self._scores[(plane, slice(None), *region)]
        labels = self._part_alone(scores) if self._instances else scores.argmax(axis=0).astype(self._classes.dtype)
        depths = range(region[0].start, region[0].stop) if len(region) == 3 else (0,)
        rows, columns = region[-2:]
        for depth, shown in zip(depths, labels if len(region) == 3 else [labels]):
            yield LabelsDone(self._layout.flat(plane, depth), rows, columns, shown)

    def retakes(self) -> list[tuple[int, Tile]]:
        """None: a pixel is seen well by the tile that answers for it."""
        return []

    @property
    def expected(self) -> float:
        """None."""
        return 0.0

    def _part_alone(self, scores: np.ndarray) -> np.ndarray:
        parted = part_whole(scores[1], scores[0])
        parted[parted > 0] += np.uint32(self._previewed)
        self._previewed = max(self._previewed, int(parted.max()))
        return parted

    def finish(self) -> Finished:
        """Labels, one row per class or object, and the scores."""
        labels, objects = self._objects() if self._instances else self._named_classes()
        return labels, objects, ClassScores(self._scores)

    def _named_classes(self) -> tuple[Labels, pd.DataFrame]:
        names = self._plan.spec.classes
        return self._layout.labels(self._classes, names), class_table(names, self._areas, self._sums)

    def _objects(self) -> tuple[Labels, pd.DataFrame]:
        layout = self._layout
        whole = new_canvas(layout.image.label_shape, np.dtype(np.uint32))
        count, parts = 0, []
        for plane in range(layout.planes):

            def read(region: tuple[slice, ...], plane: int = plane) -> np.ndarray:
                scores = self._scores[(plane, slice(None), *region)]
                # where nothing was looked at, all scores are 0: that is not foreground
                background = np.where(scores.any(axis=0), scores[0], 255).astype(np.uint8)
                return np.stack([scores[1], background])

            parting = Parting(read, self._plan.shape, BLOCKS[len(self._plan.shape)], threads=torch.get_num_threads())
            for _ in parting.survey():
                pass
            regions = []
            for region, labels in parting.blocks():
                whole[layout.index(plane, region)] = layout.shaped(labels)
                regions.append(region)
            table = parting.table()
            numbers = table.numbers(self._min_area)
            kept = np.flatnonzero(numbers[1:])
            numbers[1 + kept] += np.uint32(count)
            for region in regions:
                index = layout.index(plane, region)
                whole[index] = numbers[whole[index]]
            count += len(kept)
            parts.append((plane, table, kept))
        return layout.labels(whole, ()), self._object_frame(parts)

    def _object_frame(self, parts: list[tuple[int, PartedTable, np.ndarray]]) -> pd.DataFrame:
        frames = []
        for plane, table, kept in parts:
            columns = {"score": table.score[kept], "area": table.area[kept]}
            ndim = len(self._layout.inner)
            places = {letter: table.centroid[kept, axis] for axis, letter in enumerate(self._layout.inner)}
            edges = {
                letter: (table.bbox[kept, axis], table.bbox[kept, axis + ndim])
                for axis, letter in enumerate(self._layout.inner)
            }
            for letter, number in self._layout.place(plane).items():
                places[letter] = np.full(len(kept), float(number))
                edges[letter] = (np.full(len(kept), number), np.full(len(kept), number + 1))
            frames.append(columns | _geometry(self._layout.sizes, places, edges))
        joined = {name: np.concatenate([frame[name] for frame in frames]) for name in frames[0]}
        return _object_frame(joined, np.full(len(joined["score"]), self._plan.spec.classes[1], object))


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
        # at least half as sure as what is shown
        self._worthwhile = score / 2, longest_worthwhile(plan.spec.object_size, plan.spec.has_learned)
        self._expected, self._asked = 0.0, False

    def add(self, plane: int, tile: Tile, part: Any) -> None:
        """Take the instances of a tile."""
        if not isinstance(part, Instances):
            raise ModelError(
                f"the instance model {self._plan.spec.name!r} returned {type(part).__name__}, not Instances"
            )
        self._joiners[plane].add(tile, part)
        if self._asked:
            return
        height, width = self._plan.scaled
        self._expected += expected_retakes(tile, part.boxes, part.scores, *self._worthwhile, (height, width))

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

    def retakes(self) -> list[tuple[int, Tile]]:
        """Tiles around objects that no tile sees well, of those that are worth it."""
        self._asked = True
        sizes = [joiner.smallest_tile for joiner in self._joiners]
        smallest = min(height for height, _ in sizes), min(width for _, width in sizes)
        height, width = self._plan.retake_shape
        # memory ran short, maybe at a later plane
        if smallest != self._plan.tiles()[0].shape:
            height, width = min(height, smallest[0]), min(width, smallest[1])
        return [
            (plane, tile)
            for plane, joiner in enumerate(self._joiners)
            for tile in joiner.retakes(self._plan.divisor, *self._worthwhile, (height, width))
        ]

    @property
    def expected(self) -> float:
        """About how many tiles :meth:`retakes` would ask for by what was added so far."""
        return self._expected

    def finish(self) -> Finished:
        """Labels, one row per object, and the candidates."""
        candidates, chosen, objects = self.choose()
        drawn = DrawnLabels(candidates, chosen, self._layout.sizes)
        data = drawn if is_large(drawn.size * drawn.dtype.itemsize) else drawn[...]
        return self._layout.labels(data, ()), objects, candidates

    def choose(self) -> tuple[Candidates, Chosen, pd.DataFrame]:
        """All that was found, what is shown of it, and one row per object shown; nothing is drawn."""
        height, width = self._plan.shape
        candidates = stack_candidates([joiner.join() for joiner in self._joiners], (height, width))
        chosen = candidates.choose(*self._thresholds)
        names = np.asarray(["", *self._plan.spec.classes], object)
        layout = self._layout
        outer = np.unravel_index(chosen.planes, [layout.sizes[a] for a in layout.outer] or [layout.planes])
        places = {"Y": chosen.centroid[:, 0], "X": chosen.centroid[:, 1]}
        edges = {"Y": (chosen.bbox[:, 0], chosen.bbox[:, 2]), "X": (chosen.bbox[:, 1], chosen.bbox[:, 3])}
        for letter, numbers in zip(layout.outer, outer):
            places[letter], edges[letter] = numbers.astype(float), (numbers, numbers + 1)
        columns = {"score": candidates.scores[chosen.index], "area": chosen.area}
        columns |= _geometry(layout.sizes, places, edges)
        return candidates, chosen, _object_frame(columns, names[candidates.classes[chosen.index]])


def _geometry(
    axes: Iterable[str], places: dict[str, np.ndarray], edges: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Centroids and boxes by axis letter as columns in the order of the axes: ``centroid-0`` …, ``bbox-0`` …."""
    letters = list(axes)
    columns = {f"centroid-{axis}": places[letter] for axis, letter in enumerate(letters)}
    ends = [edges[letter][end].astype(np.int64) for end in (0, 1) for letter in letters]
    return columns | {f"bbox-{number}": column for number, column in enumerate(ends)}


def _object_frame(columns: dict[str, np.ndarray], classes: np.ndarray) -> pd.DataFrame:
    """One row per object 1…N."""
    first = {
        "label": np.arange(1, len(classes) + 1),
        "score": columns["score"].astype(float),
        "class": classes,
        "area": columns["area"].astype(np.int64),
        "origin": "model",
    }
    return pd.DataFrame(first | {name: column for name, column in columns.items() if name not in first})

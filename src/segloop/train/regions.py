"""Regions: what of a training set is reviewed, in pieces that are either trained on or held out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from segloop.corrections import Entry, TrainingSet
from segloop.image import Image
from segloop.labels import Task, consecutive
from segloop.train.data import Box

BLOCK = 128
"""Reviewed areas are cut into blocks of about this side, so that a single image can be trained on and scored with."""

OBJECTS_ACROSS = 3
"""So many typical objects fit along a block's side: what the border of a held-out block cuts is not learned."""

FEW = 64
"""Of fewer regions chance may hold out many more than their share, which are then missed where they are needed."""

SMALLEST = 16
"""Blocks with fewer reviewed pixels than this are left out."""

SMALLEST_BACKGROUND = 32 * 32
"""So are, of sets of objects, blocks with fewer than this that do not hold the larger part of an object: what reaches
over from elsewhere teaches nothing, and would be drawn from, and counted, as often as a whole region."""


@dataclass(frozen=True, eq=False)
class Region:
    """A reviewed block of one plane or volume of one entry.

    ``plane`` is its index along the entry's outer axes, ``box`` its place in the plane, ``objects`` whether the larger
    part of an object lies in it (of classes, any label but 0), ``chance`` a number in [0, 1) that depends on nothing
    but seed, pixels of the image and place: copies of an image under other names have the same one. ``piece`` is the
    box of the connected reviewed area that the block was cut from.
    """

    entry: Entry
    plane: tuple[int, ...]
    box: Box
    objects: bool
    chance: float
    piece: Box

    def grown(self, side: float) -> Box:
        """Return the block, widened in the plane to ``side`` pixels where its piece has room: there crops are drawn."""
        plane = (_grow(own, whole, side) for own, whole in zip(self.box[-2:], self.piece[-2:]))
        return (*self.box[:-2], *plane)


def find_regions(training_set: TrainingSet, ndim: int, seed: int) -> list[Region]:
    """List the reviewed regions of all entries; ``ndim`` is 2 to take stacks plane by plane, 3 for volumes."""
    regions = []
    for entry in training_set.entries:
        image, labels, reviewed = training_set.read(entry)
        side = _block_side(image, labels) if training_set.task is Task.INSTANCE else BLOCK
        for plane, own_labels, own_reviewed in iterate_planes(image, labels, reviewed, ndim):
            has_objects = _finder(np.asarray(own_labels), np.asarray(own_reviewed, bool), training_set.task)
            least = SMALLEST_BACKGROUND if training_set.task is Task.INSTANCE else SMALLEST
            for box, piece in _blocks(np.asarray(own_reviewed, bool), side):
                objects = has_objects(box)
                if not objects and np.count_nonzero(own_reviewed[box]) < least:
                    continue
                regions.append(Region(entry, plane, box, objects, _chance(seed, entry, plane, box), piece))
    return regions


def why_none(training_set: TrainingSet) -> str:
    """Say why a training set has no regions, and what to do about it."""
    if not any(np.any(training_set.read(entry)[2]) for entry in training_set.entries):
        return "no region is reviewed. Mark a region as reviewed first"
    enough = f"{SMALLEST} pixels"
    if training_set.task is Task.INSTANCE:
        side = math.isqrt(SMALLEST_BACKGROUND)
        enough = f"{side} × {side} pixels, or the larger part of an object"
    return f"no reviewed region is large enough; expected {enough}. Mark more as reviewed"


def halve(training_set: TrainingSet, region: Region) -> tuple[Region, ...]:
    """Cut a region in the plane into two that both have objects; () if no cut does that.

    The cut goes between the objects (of classes, through the labelled pixels) so that either side has as many, along
    the axis along which it cuts fewer of them.
    """
    image, labels, reviewed = training_set.read(region.entry)
    planes = iterate_planes(image, labels, reviewed, len(region.box))
    own, trusted = next((np.asarray(a), np.asarray(b, bool)) for plane, a, b in planes if plane == region.plane)
    has_objects = _finder(own, trusted, training_set.task)
    shown = np.where(trusted[region.box], own[region.box], 0)
    if training_set.task is Task.INSTANCE:
        shown = consecutive(shown)[1]
        places = np.array(ndimage.center_of_mass(shown > 0, shown, np.unique(shown[shown > 0]))).reshape(-1, shown.ndim)
    else:
        places = np.argwhere(shown)
    best: tuple[int, tuple[Region, ...]] | None = None
    for axis in (shown.ndim - 2, shown.ndim - 1):
        ordered = np.sort(places[:, axis])
        cut = math.ceil(ordered[len(ordered) // 2 - 1 : len(ordered) // 2 + 1].mean()) if len(ordered) > 1 else 0
        if not 0 < cut < shown.shape[axis]:
            continue
        sides = [shown.take(cut - 1, axis), shown.take(cut, axis)]
        crossed = len(np.unique(sides[0][(sides[0] == sides[1]) & (sides[0] > 0)]))
        whole = region.box[axis]
        middle = whole.start + cut
        boxes = [
            (*region.box[:axis], part, *region.box[axis + 1 :])
            for part in (slice(whole.start, middle), slice(middle, whole.stop))
        ]
        if all(has_objects(box) for box in boxes) and (best is None or crossed < best[0]):
            best = crossed, tuple(replace(region, box=box) for box in boxes)
    return best[1] if best else ()


def _chance(seed: int, entry: Entry, plane: tuple[int, ...], box: Box) -> float:
    key = f"{seed}:{entry.hashes['images']}:{plane}:{[(s.start, s.stop) for s in box]}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def iterate_planes(
    image: Image, labels: np.ndarray, reviewed: np.ndarray, ndim: int
) -> Iterator[tuple[tuple[int, ...], np.ndarray, np.ndarray]]:
    """Iterate over the planes (volumes) of labels and reviewed mask in the order of ``Image.blocks``."""
    outer = image.outer_axes(ndim)
    inner = "ZYX" if ndim == 3 else "YX"
    order = [image.label_axes.index(axis) for axis in outer + inner]
    labels, reviewed = labels.transpose(order), reviewed.transpose(order)
    for plane in np.ndindex(labels.shape[: len(outer)]):
        yield plane, labels[plane], reviewed[plane]


def _is_new(region: Region) -> bool:
    return False


def split_regions(
    regions: Sequence[Region], share: float, known: Callable[[Region], bool] = _is_new
) -> tuple[list[Region], list[Region]]:
    """Split regions into those to train on and those held out.

    A region is held out if its ``chance`` is below ``share``: from ``FEW`` regions on that does not change as entries
    are added. Small sets are mended: of two or more regions at least one is held out and one is trained on, if
    possible with objects; of fewer than ``FEW``, no more than the share, rounded up, is held out, though chance would
    have it. As they grow, a region learned before could come to be held out: ``known`` tells of a region whether the
    model has learned it before; such are trained on again, as long as there are others to hold out.
    Places of an image that are in copies, too, count once (see :func:`distinct`).

    Returns
    -------
    train, held_out : lists of Region
        ``held_out`` has each place once. It is empty if there is one region only, or one only that has objects: it is
        needed to learn from. What lies mostly in a place that is held out of a copy is in neither.
    """
    ordered = sorted(distinct(regions), key=lambda region: (known(region), region.chance))
    full = [region for region in ordered if region.objects]
    if share <= 0 or len(ordered) < 2 or len(full) == 1:
        return list(regions), []
    held_out = [region for region in ordered if region.chance < share and not known(region)]
    most = math.ceil(share * len(ordered)) if len(ordered) < FEW else len(ordered)
    held_out = held_out[:most]
    if len(full) > 1 and not any(region.objects for region in held_out):
        held_out[most - 1 :] = [full[0]]
    if not held_out:
        held_out.append(ordered[0])
    if len(full) > 1 and all(region in held_out for region in full):
        held_out.remove(full[-1])
    if len(held_out) == len(ordered):
        held_out.remove(ordered[-1])
    chances = {region.chance for region in held_out}
    elsewhere = _Places(held_out)
    train = [region for region in regions if region.chance not in chances and not elsewhere.hold(region)]
    if not train or (full and not any(region.objects for region in train)):
        return list(regions), []
    return train, [region for region in ordered if region.chance in chances]


def distinct(regions: Sequence[Region]) -> list[Region]:
    """Return each place once, though its image be there in copies: a region with objects, if there is one.

    Copies that are reviewed differently are cut differently: what lies mostly in larger regions of others is left out.
    """
    places = _Places()
    for region in sorted(regions, key=lambda region: (not region.objects, -_size(region.box))):
        if not places.hold(region):
            places.add(region)
    kept = set(places)
    return [region for region in regions if region in kept]


class _Places:
    """Regions of which each can tell whether a region of a copy of its image lies mostly in it, or in several."""

    def __init__(self, regions: Sequence[Region] = ()) -> None:
        self._chances: set[float] = set()
        # those of one entry are disjoint: without copies nothing is compared
        self._images: dict[tuple[str, tuple[int, ...]], dict[str, list[Region]]] = {}
        for region in regions:
            self.add(region)

    def __iter__(self) -> Iterator[Region]:
        return (region for entries in self._images.values() for own in entries.values() for region in own)

    def add(self, region: Region) -> None:
        self._chances.add(region.chance)
        entries = self._images.setdefault((region.entry.hashes["images"], region.plane), {})
        entries.setdefault(region.entry.id, []).append(region)

    def hold(self, region: Region) -> bool:
        if region.chance in self._chances:
            return True
        entries = self._images.get((region.entry.hashes["images"], region.plane), {})
        seen = np.zeros([side.stop - side.start for side in region.box], bool)
        for box in (other.box for name, own in entries.items() if name != region.entry.id for other in own):
            sides = [(max(0, b.start - a.start), max(0, b.stop - a.start)) for a, b in zip(region.box, box)]
            seen[tuple(slice(*side) for side in sides)] = True
        return bool(2 * np.count_nonzero(seen) > seen.size)


def _size(box: Box) -> int:
    return math.prod(side.stop - side.start for side in box)


def _finder(labels: np.ndarray, reviewed: np.ndarray, task: Task) -> Callable[[Box], bool]:
    """Tell whether there is something to learn, and to score with, in a block."""
    if task is not Task.INSTANCE:
        return lambda box: bool(np.any(labels[box][reviewed[box]]))
    places = consecutive(labels)[1]
    areas = np.bincount(places.ravel())

    def has_whole(box: Box) -> bool:
        own = np.bincount(places[box][reviewed[box]], minlength=len(areas))
        return bool(np.any(2 * own[1:] > areas[1:]))

    return has_whole


def _block_side(image: Image, labels: np.ndarray) -> int:
    """Side of the blocks of an image of objects: ``BLOCK``, doubled until typical objects fit into it."""
    sides: list[int] = []
    for _, plane, _ in iterate_planes(image, labels, labels, 2):
        places = ndimage.find_objects(consecutive(np.asarray(plane))[1])
        sides.extend(max(side.stop - side.start for side in box) for box in places)
    side = BLOCK
    # in powers of two, so that the blocks stay what they are when a few objects are added
    while sides and side < OBJECTS_ACROSS * float(np.median(sides)) / math.sqrt(2):
        side *= 2
    return side


def _grow(own: slice, whole: slice, side: float) -> slice:
    missing = min(math.ceil(side), whole.stop - whole.start) - (own.stop - own.start)
    if missing <= 0:
        return own
    start = min(max(whole.start, own.start - missing // 2), whole.stop - missing - (own.stop - own.start))
    return slice(start, start + missing + own.stop - own.start)


def _blocks(reviewed: np.ndarray, length: int) -> list[tuple[Box, Box]]:
    """Blocks of a plane or volume with about that side, each with the box of the piece it was cut from."""
    pieces, _ = ndimage.label(reviewed, structure=np.ones((3,) * reviewed.ndim))
    blocks: list[tuple[Box, Box]] = []
    for piece in ndimage.find_objects(pieces):
        edges = [
            np.linspace(side.start, side.stop, max(1, round((side.stop - side.start) / length)) + 1).astype(int)
            for side in piece
        ]
        for corner in np.ndindex(tuple(len(edge) - 1 for edge in edges)):
            box = tuple(slice(int(edge[i]), int(edge[i + 1])) for edge, i in zip(edges, corner))
            if np.count_nonzero(reviewed[box]) >= SMALLEST:
                blocks.append((box, piece))
    return blocks

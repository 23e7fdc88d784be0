"""What a model got right in each image, kept as counts that can be added over any choice of images and folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segloop.metrics import ClassScores, InstanceScores

COLUMNS = ("AP50", "AP70", "AP90", "mean AP", "Dice")
STARDIST = "fluorescence, StarDist's split"
ROUNDS = 1000


@dataclass(frozen=True)
class ImageScore:
    """One image that a model has not seen.

    Parameters
    ----------
    group : str
        Its field of view.
    stardist : bool
        Whether it is in StarDist's published split.
    objects : InstanceScores
    pixels : ClassScores
        Background and foreground.
    seconds : float
        That segmenting it took, by the clock.
    """

    id: str
    modality: str
    group: str
    fold: int
    stardist: bool
    objects: InstanceScores
    pixels: ClassScores
    seconds: float

    @cached_property
    def counts(self) -> np.ndarray:
        """Pixels in both, in the reference, in the prediction; then TP, FP, FN at each threshold: int64 (3 + 3 N,)."""
        pixels = (self.pixels.intersection[1], self.pixels.reference[1], self.pixels.prediction[1])
        return np.array([*pixels, *self.objects.tp, *self.objects.fp, *self.objects.fn])

    @cached_property
    def mean_ap(self) -> float:
        """Mean AP of the image."""
        return self.objects.mean_ap

    def as_json(self) -> dict[str, Any]:
        """The score as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ImageScore:
        """Read what :meth:`as_json` returned."""
        objects = InstanceScores(**{name: tuple(values) for name, values in row["objects"].items()})
        pixels = ClassScores(**{name: tuple(values) for name, values in row["pixels"].items()})
        return cls(**{**row, "objects": objects, "pixels": pixels})


def parts(images: Sequence[ImageScore]) -> dict[str, list[ImageScore]]:
    """All images, those of each modality, and the fluorescence images of StarDist's split."""
    found = {"all": list(images)}
    for name in sorted({item.modality for item in images}):
        found[name] = [item for item in images if item.modality == name]
    found[STARDIST] = [item for item in images if item.stardist]
    return {name: members for name, members in found.items() if members}


def figures(images: Sequence[ImageScore]) -> dict[str, float]:
    """AP pooled over objects, the mean over images of the mean AP, Dice pooled over pixels; in [0, 1]."""
    total = np.sum([item.counts for item in images], axis=0)
    tp, fp, fn = total[3:].reshape(3, -1)
    ap = dict(zip(images[0].objects.thresholds, tp / np.maximum(1, tp + fp + fn)))
    return {
        **{f"AP{round(100 * iou)}": float(ap[iou]) for iou in (0.5, 0.7, 0.9)},
        "mean AP": float(np.mean([item.mean_ap for item in images])),
        "Dice": float(2 * total[0] / max(1, total[1] + total[2])),
    }


def resampled(images: Sequence[ImageScore], random: np.random.Generator) -> list[ImageScore]:
    """Draw, within each fold, as many fields of view (groups) as there are, with repetition."""
    members: dict[int, dict[str, list[ImageScore]]] = {}
    for item in images:
        members.setdefault(item.fold, {}).setdefault(item.group, []).append(item)
    drawn: list[ImageScore] = []
    for fold in sorted(members):
        names = sorted(members[fold])
        drawn += [item for name in random.choice(names, len(names)) for item in members[fold][name]]
    return drawn


def errors(images: Sequence[ImageScore]) -> dict[str, float]:
    """Standard errors of :func:`figures` over fields of view."""
    random = np.random.default_rng(0)
    return deviations(figures(resampled(images, random)) for _ in range(ROUNDS))


def deviations(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Standard deviation of each column."""
    values = np.array([[row[name] for name in COLUMNS] for row in rows])
    return dict(zip(COLUMNS, np.std(values, axis=0).tolist()))


def summary(images: Sequence[ImageScore]) -> dict[str, Any]:
    """The line of a table, as JSON values."""
    area = sum(sum(item.pixels.reference) for item in images)
    objects = sum(item.objects.tp[0] + item.objects.fn[0] for item in images)
    seconds = sum(item.seconds for item in images) / area * 1024**2
    return {
        "images": len(images),
        "objects": objects,
        **figures(images),
        "s/MP": seconds,
        "error": errors(images),
    }


def lines(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of summaries."""
    columns = ("images", "n", "objects", *COLUMNS, "s/MP")
    table = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, row in rows.items():
        cells = [f"{row[column]:.3f} ± {row['error'][column]:.3f}" for column in COLUMNS]
        table.append(
            f"| {name} | {row['images']} | {row['objects']} | " + " | ".join(cells) + f" | {row['s/MP']:.2f} |"
        )
    return "\n".join(table)

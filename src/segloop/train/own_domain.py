"""The base model's own domain: scored before and after, and rehearsed, so that it is not forgotten unseen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segloop.labels import Task
from segloop.models.device import Device
from segloop.models.protocol import Example, ModelSpec, Trainable
from segloop.samples.own_domain import OwnImage, rehearsed_images, scored_images
from segloop.settings import Auto
from segloop.train.augment import Augmentation
from segloop.train.batches import Draw
from segloop.train.data import CropSource, TrainingImage
from segloop.train.guard import held_out_region, score_model
from segloop.train.held_out import HeldOutScores
from segloop.train.material import label_translation

SOURCE = "BBBC038"
"""What the bundled models were trained on, as their model.json says."""

OWN_ZOOM = 1.0
"""Network pixels per image pixel of the own domain's images, whatever scale other images are learned at."""

OWN_SIZE = 19.4
"""Typical diameter of their objects in pixels, as the bundled models' model.json says, whatever size others have."""

NOTHING = HeldOutScores(())


USUAL_SHARES = {Task.SEMANTIC: 0.25, Task.INSTANCE: 0.0}
"""By measurement: a quarter costs a U-Net nothing in the new domain, but Mask R-CNN a sixth of what it learns."""


def rehearsal_share(asked: float | Auto, spec: ModelSpec) -> float:
    """Return the share of rehearsed crops that a setting means for a model."""
    return USUAL_SHARES[spec.task] if isinstance(asked, Auto) else asked


def origin_of(spec: ModelSpec) -> str:
    """Return the bundled model that a model descends from, "name@version", or "" if there is none that it still knows.

    A model whose classes were changed on the way does not: what it finds cannot be scored with the first one's labels.
    """
    if origin := spec.training.get("origin"):
        return str(origin)
    is_root = not spec.parent and str(spec.training.get("data", "")).startswith(SOURCE)
    return f"{spec.name}@{spec.version}" if is_root and spec.ndim == 2 else ""


def has_young_classes(spec: ModelSpec, classes: Sequence[str]) -> bool:
    """Whether classes of pixels that a model is to learn are new to it, or were learned by fine-tuning only.

    The model that was first fine-tuned did not know them, be it bundled or a person's own: what is known of them comes
    from a few regions, in which some may not even have occurred. Each version records it.
    """
    if spec.task is not Task.SEMANTIC:
        return False
    return tuple(classes) != spec.classes or spec.training.get("young_classes") is True


@dataclass(frozen=True, slots=True)
class OwnScores:
    """Scores on images of the kind that the bundled model was made for.

    Parameters
    ----------
    origin : str
        The bundled model, "name@version"; "" if the model descends from none.
    before, after : float in [0, 1]
        Of the base model and of the new one, with the metric of the held-out score; NaN if they cannot be compared.
    gain_error : float
        Standard error of ``after - before``.
    """

    origin: str = ""
    before: float = math.nan
    after: float = math.nan
    gain_error: float = math.nan

    @classmethod
    def compare(cls, origin: str, before: HeldOutScores, after: HeldOutScores) -> OwnScores:
        """Compare what two models found in the same images."""
        error = after.gain_error(before) if before.regions else math.nan
        return cls(origin, before.value, after.value, error)

    @property
    def words(self) -> str:
        """Say what became of the own domain; "" if the model descends from no bundled one."""
        if not self.origin:
            return ""
        name = self.origin.partition("@")[0]
        if math.isnan(self.before):
            return f"classes or channels are new: what it still knows of the images of {name} cannot be scored"
        gain = f" ({self.after - self.before:+.3f} ± {self.gain_error:.3f})"
        return f"on images of the kind that {name} was made for: {self.before:.3f} before, {self.after:.3f} after{gain}"

    def to_json(self) -> dict[str, Any]:
        """Return what a version records; {} if there are no scores."""
        if math.isnan(self.before):
            return {}
        scores = {"own_before": self.before, "own_after": self.after, "own_gain_error": self.gain_error}
        return {"origin": self.origin, **scores}


class OwnDomain:
    """The domain of a base model that descends from a bundled one.

    Parameters
    ----------
    base : ModelSpec
        Of the model that is fine-tuned.
    comparable : bool
        Whether the new model has the classes and channels of the base model.
    """

    def __init__(self, base: ModelSpec, comparable: bool) -> None:
        self.origin = origin_of(base)
        self.is_known = bool(self.origin) and comparable

    def score(self, model: Trainable, device: Device) -> HeldOutScores:
        """Score a model on the own domain's images, at their scale; takes a few seconds. Nothing if it is not known."""
        if not self.is_known:
            return NOTHING
        spec = model.spec
        regions = [
            held_out_region(
                next(block for _, block in own.image.blocks(2)),
                own.labels,
                np.ones(own.labels.shape, bool),
                _whole(own),
                spec.normalization.fit(own.image),
            )
            for own in scored_images()
        ]
        # by the size of the objects that are learned, small ones here would be taken for dirt
        model.spec = replace(spec, zoom=OWN_ZOOM, object_size=OWN_SIZE)
        try:
            return score_model(model, regions, label_translation(spec, Task.INSTANCE), device)
        finally:
            model.spec = spec

    def rehearse(
        self, draw: Draw, share: float, spec: ModelSpec, crop: tuple[int, ...], augmentation: Augmentation
    ) -> Draw:
        """Mix crops of the own domain's images into those that are learned.

        Parameters
        ----------
        draw : callable
            Returns a crop of what is learned.
        share : float in [0, 1]
            How many of the crops are of the own domain.
        spec : ModelSpec
            Of the model that learns.
        crop : tuple of int (2,)
        augmentation : Augmentation
        """
        if not self.is_known or share == 0:
            return draw
        images = [
            TrainingImage(
                next(block for _, block in own.image.blocks(2)),
                own.labels,
                np.ones(own.labels.shape, bool),
                [_whole(own)],
                spec.normalization.fit(own.image),
                zoom=OWN_ZOOM,
            )
            for own in rehearsed_images()
        ]
        translate = label_translation(spec, Task.INSTANCE)
        return Rehearsal(draw, CropSource(images, spec, crop, augmentation, prepare=translate), share)


@dataclass(frozen=True)
class Rehearsal:
    """Draws from one source or, in ``share`` of the draws, from another."""

    draw: Draw
    own: Callable[[np.random.Generator], Example]
    share: float

    def __call__(self, rng: np.random.Generator) -> Example:
        """Draw one crop."""
        return self.own(rng) if rng.random() < self.share else self.draw(rng)


def _whole(own: OwnImage) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in own.labels.shape)

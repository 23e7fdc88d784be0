"""What a model is. Read this first.

A *family* (U-Net, Mask R-CNN, …) builds a *model* from a :class:`ModelSpec`. A model predicts tiles and returns either
a :class:`ScoreMap` or :class:`Instances`; how tiles are stitched follows the type returned, never the model's
name. A model that can be trained turns an example into its own target and a batch into losses. A model that takes
prompts exposes its stages. A new family is one module with these methods and one entry point "segloop.families".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from segloop.errors import ModelError
from segloop.labels import Task as Task
from segloop.normalize import Normalization


@dataclass(frozen=True)
class ModelSpec:
    """All that is known of a model but its weights; stored as model.json.

    Parameters
    ----------
    name : str
    family : str
        Key of the registry: "unet", "maskrcnn", ….
    task : Task
    classes : tuple of str
        Semantic: the name of each label value, background first. Instance: the object classes, without background.
    ndim : int
        2 for planes, 3 for volumes.
    channels : int
        Number of input channels of the network.
    repeat_grey : bool
        Whether an image with one channel is repeated to ``channels`` (models for grey and RGB alike).
    architecture : mapping
        The family's own numbers, such as levels and base channels.
    normalization : Normalization
    object_size : float
        Median diameter of the objects it was trained on, in network pixels; 0 if unknown. An instance model says it
        so that its objects at seams are looked at again if they are of a size that it knows (:mod:`segloop.retakes`).
    zoom : float
        Network pixels per image pixel, unless the user says how large the objects are.
    tile, halo : int
        Outer side of a tile, and least distance of an inner pixel to a tile border, in network pixels.
    score_threshold : float
        Default least score of an object to be shown (instance models), in [0, 1].
    version : int
    parent : str
        Name and version of the model it was fine-tuned from; "" if from scratch.
    description, license : str
    training : mapping
        How it came to be: data, settings, seed, scores, package versions; empty if nothing was learned yet.
    """

    name: str
    family: str
    task: Task
    classes: tuple[str, ...]
    ndim: int = 2
    channels: int = 1
    repeat_grey: bool = False
    architecture: Mapping[str, Any] = field(default_factory=dict)
    normalization: Normalization = field(default_factory=Normalization)
    object_size: float = 0.0
    zoom: float = 1.0
    tile: int = 512
    halo: int = 64
    score_threshold: float = 0.5
    version: int = 1
    parent: str = ""
    description: str = ""
    license: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = 2 if self.task is Task.SEMANTIC else 1
        if len(self.classes) < least:
            raise ModelError(f"{self.task.value} model with classes {self.classes}; expected at least {least} names")
        if self.ndim not in (2, 3):
            raise ModelError(f"a model of {self.ndim} dimensions; expected 2 or 3")
        if self.channels < 1:
            raise ModelError(f"a model with {self.channels} channels; expected at least 1")
        if self.tile < 1 or not 0 <= 2 * self.halo < self.tile:
            raise ModelError(f"tiles of {self.tile} pixels with a halo of {self.halo}; expected room between two halos")
        if not (0 < self.zoom < math.inf and 0 <= self.object_size < math.inf and 0 <= self.score_threshold <= 1):
            raise ModelError(
                f"a model with zoom {self.zoom}, object size {self.object_size}, score threshold "
                f"{self.score_threshold}; expected zoom > 0, object size >= 0, threshold in [0, 1]"
            )

    @property
    def has_learned(self) -> bool:
        """Whether it says what it learned: its objects' size, how it came to be, or what it was fine-tuned from."""
        return bool(self.object_size or self.training or self.parent)

    @property
    def border_class(self) -> int | None:
        """Number of the class "border" of a background/inside/border model, from which instances can be parted."""
        if self.task is Task.SEMANTIC and len(self.classes) == 3 and self.classes[2] == "border":
            return 2
        return None

    def with_classes(self, classes: Sequence[str]) -> ModelSpec:
        """The spec of a model that learns these classes; others than its own may be told apart by colour."""
        if tuple(classes) == self.classes:
            return self
        return replace(self, classes=tuple(classes), normalization=replace(self.normalization, one_colour=False))

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        return asdict(self) | {"task": self.task.value, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelSpec:
        """Read a spec from the values of a model.json.

        Raises
        ------
        ModelError
            If fields are missing, unknown, or of the wrong kind.
        """
        try:
            values = dict(document)
            values["task"] = Task(values["task"])
            values["classes"] = tuple(str(name) for name in values["classes"])
            values["normalization"] = Normalization(**values.get("normalization", {}))
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"model.json is not understood ({error}); expected the fields of a SegLoop model"
            ) from error


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """A semantic prediction. ``scores`` : float32 (K, [Z], Y, X) in [0, 1], summing to 1 over the K classes."""

    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class Instances:
    """An instance prediction of one tile: N objects, best first.

    Parameters
    ----------
    boxes : float32 (N, 4)
        x0, y0, x1, y1 in pixels of the tile; pixel (i, j) covers [j, j+1] × [i, i+1].
    scores : float32 (N,) in [0, 1]
    classes : int64 (N,)
        1…K, in the order of ``ModelSpec.classes``.
    masks : float32 (N, M, M) in [0, 1]
        Probability of the object on a grid of M × M cells laid over its box.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray) -> Instances:
        """Return some of the objects, by their numbers."""
        return Instances(self.boxes[index], self.scores[index], self.classes[index], self.masks[index])


@dataclass(frozen=True)
class Example:
    """One training example.

    Parameters
    ----------
    image : float32 (C, [Z], Y, X)
        Normalised.
    labels : int64 ([Z], Y, X)
        Class numbers for semantic models, instance numbers for instance models.
    reviewed : bool ([Z], Y, X)
        Where the labels are vouched for. Everything else must not influence the loss.
    object_classes : mapping of int to int
        Class (1…K) of an instance number; instances not named are of class 1.
    """

    image: Tensor
    labels: Tensor
    reviewed: Tensor
    object_classes: Mapping[int, int] = field(default_factory=dict)


@runtime_checkable
class Segmenter(Protocol):
    """A model that predicts."""

    spec: ModelSpec
    module: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def divisor(self) -> int:
        """Tile sides must be multiples of it."""
        ...

    def to(self, device: torch.device, precision: torch.dtype | None = None) -> Segmenter:
        """Move the weights to ``device`` in place and return the model.

        ``precision`` is what predictions compute with from now on, float32 or bfloat16; None leaves it as it is.
        """
        ...

    def working_memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that predicting one tile of ``shape`` ([Z], Y, X) takes at most, beside weights and result; roughly."""
        ...

    def predict(self, tiles: Tensor) -> list[ScoreMap] | list[Instances]:
        """Predict normalised tiles, float32 (N, C, [Z], Y, X), sides multiples of ``divisor``; one result per tile."""
        ...


@runtime_checkable
class Trainable(Segmenter, Protocol):
    """A model that learns."""

    def prepare(self, example: Example) -> Example:
        """Work out ahead, on the CPU, what the losses of an example need: called in the process that drew it.

        The example may be of a subclass that carries it; :meth:`losses` takes both kinds.
        """
        ...

    def losses(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Return the named losses (scalars) of a batch of examples of one shape; their sum is to be minimised.

        Pixels that are not reviewed have no influence. The module must be in training mode.
        """
        ...

    def with_classes(self, classes: Sequence[str]) -> Trainable:
        """Return a copy for other classes: everything but the last layer keeps its weights."""
        ...


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """A loss of one example as a part of its batch's.

    Parameters
    ----------
    value : float ()
        A scalar with its graph: a mean. 0, with a graph, if it is one over nothing.
    count : int
        What it is the mean over, such as boxes: in the batch's loss it weighs as much as it has of them.
    """

    value: Tensor
    count: int


@runtime_checkable
class Separable(Protocol):
    """A model that learns a batch from its examples one by one.

    The batch's loss is, for each name, the mean over all that its examples' losses are means over.
    """

    def losses_of(self, example: Example, seed: int) -> dict[str, MeanLoss]:
        """Return the named losses of one example; what is drawn at random follows from ``seed`` alone.

        May be called in several threads at once. The module must be in training mode, its batch norms must not.
        """
        ...


@runtime_checkable
class Promptable(Protocol):
    """A model in stages, so that features are computed once and boxes can be given by hand."""

    def features(self, tiles: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps of normalised tiles, float32 (N, C, Y, X)."""
        ...

    def detect(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> list[Instances]:
        """Find objects; the masks of what is returned are empty, (N, 0, 0)."""
        ...

    def masks(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> list[Tensor]:
        """Fill boxes, per tile float32 (N, 4) and int64 (N,); returns per tile float32 (N, 28, 28) in [0, 1]."""
        ...


@runtime_checkable
class Describing(Protocol):
    """A model that can say what it sees at each pixel, so that other classes can be learned from a few of them."""

    def describe(self, tiles: Tensor) -> list[Tensor]:
        """Describe the pixels of normalised tiles, float32 (N, C, [Z], Y, X), sides multiples of ``divisor``.

        Returns
        -------
        list of Tensor (N, D, [Z], Y / 2**k, X / 2**k), float32 or bfloat16
            k = 0, 1, 2, …: the finest map first, each next one half as fine.
        """
        ...


class Family(Protocol):
    """Builds models of one architecture."""

    name: str
    task: Task

    def new_spec(self, name: str, classes: Sequence[str], channels: int, ndim: int, size: str) -> ModelSpec:
        """Return the spec of an untrained model; ``size`` is one of ``sizes()``."""
        ...

    def sizes(self) -> tuple[str, ...]:
        """The sizes this family comes in, the default first."""
        ...

    def build(self, spec: ModelSpec) -> Trainable:
        """Build the model that ``spec`` describes, with fresh weights, on the CPU, in evaluation mode.

        Raises
        ------
        ModelError
            If the spec does not fit the family.
        """
        ...

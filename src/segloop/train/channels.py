"""Channels: a model learns images of another number of channels than it was made for."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from segloop.corrections import Entry, TrainingSet
from segloop.errors import ModelError
from segloop.models.protocol import ModelSpec, Trainable
from segloop.models.registry import get_family
from segloop.train.regions import find_regions


def channels_to_learn(spec: ModelSpec, training_set: TrainingSet) -> int:
    """Return how many channels the new model takes: as many as all images have, unless they suit the model as they are.

    Images of which nothing is reviewed do not count. Where the others differ, so that no model could take them all, it
    is the model's own number.
    """
    counts = {channels for channels, _ in _kinds(spec, training_set)}
    known = {spec.channels, 1} if spec.repeat_grey else {spec.channels}
    return counts.pop() if len(counts) == 1 and not counts <= known else spec.channels


def learns_colours(spec: ModelSpec, training_set: TrainingSet) -> bool:
    """Whether the channels of all reviewed images are colours, to be compared with each other."""
    return all(colours for _, colours in _kinds(spec, training_set))


def with_channels(model: Trainable, channels: int, colours: bool = False) -> Trainable:
    """Return a model for so many channels; one that takes as many is returned as it is.

    In the first layer each new channel gets the mean of the old ones' weights, scaled so that an image that shows the
    same in all its channels is seen as before. All other weights are the model's. Unless the channels are ``colours``,
    each is normalised by itself: beside a bright stain one would not see a dim one.

    Raises
    ------
    ModelError
        If the family has another idea of where channels come in, so that this cannot be done.
    """
    if channels == model.spec.channels:
        return model
    normalization = model.spec.normalization if colours else replace(model.spec.normalization, joint=False)
    spec = replace(model.spec, channels=channels, repeat_grey=False, normalization=normalization)
    other = get_family(model.spec.family).build(spec)
    own = model.module.state_dict()
    adapted = {name: _adapted(own[name], tensor, name) for name, tensor in other.module.state_dict().items()}
    other.module.load_state_dict(adapted)
    other.to(model.device)
    return other


def _adapted(old: Tensor, new: Tensor, name: str) -> Tensor:
    if old.shape == new.shape:
        return old
    if old.ndim < 2 or old.shape[:1] + old.shape[2:] != new.shape[:1] + new.shape[2:]:
        raise ModelError(
            f"the model cannot take another number of channels: its weights {name!r} have shape {tuple(old.shape)}, "
            f"expected {tuple(new.shape)} but for the channels; train a model from nothing"
        )
    mean = old.mean(dim=1, keepdim=True) * (old.shape[1] / new.shape[1])
    return mean.expand_as(new).contiguous()


def _kinds(spec: ModelSpec, training_set: TrainingSet) -> set[tuple[int, bool]]:
    """Numbers of channels, and whether they are colours, of all images that are learned."""
    kinds = {entry.id: (_channels(entry), "S" in entry.axes) for entry in training_set.entries}
    if len(set(kinds.values())) < 2:
        return set(kinds.values())
    return {kinds[region.entry.id] for region in find_regions(training_set, spec.ndim, 0)}


def _channels(entry: Entry) -> int:
    sizes = dict(zip(entry.axes, entry.shape))
    # transparency is no colour
    return sizes.get("C", min(3, sizes.get("S", 1)))

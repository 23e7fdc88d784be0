"""Channels: a model learns images of another number of channels than it was made for."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from segloop.corrections import Entry, TrainingSet
from segloop.errors import ModelError
from segloop.models.protocol import ModelSpec, Trainable
from segloop.models.registry import get_family


def channels_to_learn(spec: ModelSpec, training_set: TrainingSet) -> int:
    """Return how many channels the new model takes: as many as all images have, unless they suit the model as they are.

    Where images differ, so that no model could take them all, it is the model's own number.
    """
    counts = {_channels(entry) for entry in training_set.entries}
    known = {spec.channels, 1} if spec.repeat_grey else {spec.channels}
    return counts.pop() if len(counts) == 1 and not counts <= known else spec.channels


def with_channels(model: Trainable, channels: int) -> Trainable:
    """Return a model for so many channels; one that takes as many is returned as it is.

    In the first layer each new channel gets the mean of the old ones' weights, scaled so that an image that shows the
    same in all its channels is seen as before. All other weights are the model's.

    Raises
    ------
    ModelError
        If the family has another idea of where channels come in, so that this cannot be done.
    """
    if channels == model.spec.channels:
        return model
    other = get_family(model.spec.family).build(replace(model.spec, channels=channels, repeat_grey=False))
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
    return mean.expand_as(new).to(torch.result_type(old, old)).contiguous()


def _channels(entry: Entry) -> int:
    sizes = dict(zip(entry.axes, entry.shape))
    # transparency is no colour
    return sizes.get("C", min(3, sizes.get("S", 1)))

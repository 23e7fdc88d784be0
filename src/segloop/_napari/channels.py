"""Channels: what of an image a model sees, and which image layers lie on each other as channels of one image.

napari opens each channel of a file as a layer of its own, unless it is told otherwise.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence

import napari.layers
import numpy as np

from segloop._napari.layers import Placement, as_image, guess_layer_axes
from segloop._napari.session import Origin, Session, Stack
from segloop.errors import ImageError
from segloop.image import CHANNEL_AXES, Image, stack_channels

Layers = tuple[napari.layers.Image, ...]

COLOURS = 3
ALL_CHANNELS = -1
"""As :attr:`Origin.channel` has it."""

GREYS = ("gray", "gray_r")
"""Colormaps of images that are no channels."""

WORDS = ("scale", "translate", "rotate", "shear", "affine")


def layers_on_each_other(layer: napari.layers.Image, layers: Iterable[napari.layers.Layer], session: Session) -> Layers:
    """Return the image layers without channels of their own that lie on ``layer`` pixel by pixel, itself among them.

    They keep the order of ``layers``. There are none if ``layer`` has channels itself.
    """
    place = _place_without_channels(layer, session)
    if place is None:
        return ()
    found = []
    for other in layers:
        if isinstance(other, napari.layers.Image) and not other.multiscale:
            own = _place_without_channels(other, session)
            if other is layer or (own is not None and _is_same(own, place)):
                found.append(other)
    return tuple(found)


def _place_without_channels(layer: napari.layers.Image, session: Session) -> Placement | None:
    try:
        axes = session.axes.get(layer) or guess_layer_axes(layer)
        place = Placement.of(layer, axes)
    except ImageError:
        return None
    return None if layer.multiscale or set(axes) & set(CHANNEL_AXES) else place


def _is_same(one: Placement, other: Placement) -> bool:
    alike = one.axes == other.axes and one.shape == other.shape and one.units == other.units
    return alike and all(np.allclose(getattr(one, word), getattr(other, word)) for word in WORDS)


def layers_like_channels(layer: napari.layers.Image, lying: Layers) -> Layers:
    """Those of the layers that lie on ``layer`` that are shown as channels with it, added up, or come from its file.

    Other images may have the same size and place by chance.
    """
    groups = _added_up(lying)
    path = layer.source.path
    return tuple(
        other
        for other, group in zip(lying, groups)
        if other is layer
        or (group is not None and group == groups[lying.index(layer)])
        or (path is not None and path == other.source.path)
    )


def _added_up(lying: Layers) -> list[int | None]:
    """Number the groups of layers whose intensities are added up on screen; None for a layer by itself.

    A group may begin with a layer that is in colour and hides what lies below: so napari shows the first channel.
    """
    groups: list[int | None] = []
    number = 0
    for layer in lying:
        begins = layer.blending == "translucent_no_depth" and layer.colormap.name not in GREYS
        number += begins
        groups.append(number if begins or layer.blending == "additive" else None)
    return groups


def channel_layers(layer: napari.layers.Image, layers: Iterable[napari.layers.Layer], session: Session) -> Layers:
    """Return the layers that are to be taken for the channels of one image: chosen by a person, or by their looks."""
    lying = layers_on_each_other(layer, layers, session)
    chosen = session.stacks.get(layer)
    if chosen:
        kept = {id(reference()) for reference in chosen}
        return tuple(other for other in lying if other is layer or id(other) in kept)
    return layers_like_channels(layer, lying) if lying else ()


def seen_layers(
    layer: napari.layers.Image, layers: Iterable[napari.layers.Layer], session: Session, channels: int
) -> Layers:
    """Return the layers that a model of so many channels is to see as the image of ``layer``, in their order.

    Those that a person chose; otherwise those that are channels, if the model takes just as many. A model of three
    channels may as well take grey images, and sees the layer alone.
    """
    found = channel_layers(layer, layers, session)
    if not session.stacks.get(layer) and (len(found) != channels or channels == COLOURS):
        return (layer,)
    return found or (layer,)


def fitting_channel(channels: int, taken: int) -> int:
    """The channel that is segmented unless another is chosen; ALL_CHANNELS where the model can see all of them.

    ``channels`` are those of the image, ``taken`` those of the model. A model of three colours takes grey images too.
    """
    return ALL_CHANNELS if channels in (1, taken) or taken not in (1, COLOURS) else 0


def seen_image(layer: napari.layers.Image, axes: str, stack: Stack) -> Image:
    """Describe what a model sees: an image layer, or all those of ``stack`` as its channels; copied by nobody yet.

    Raises
    ------
    ImageError
        If the axes do not fit the layer, a layer of the stack is gone, or they no longer lie on each other.
    """
    if not stack:
        return as_image(layer, axes)
    layers = [reference() for reference in stack]
    if any(other is None for other in layers):
        raise ImageError(f"a layer that was a channel of {layer.name!r} was removed; choose its channels anew")
    image = stack_channels([as_image(other, axes) for other in layers if other is not None])
    # known by the layer on which the labels lie
    own = as_image(layer, axes)
    return Image(image.data, image.axes, dict(own.pixel_size), own.unit, own.name)


def learned_image(
    origin: Origin,
    layer: napari.layers.Image,
    axes: str,
    layers: Sequence[napari.layers.Layer],
    session: Session,
    whole: bool,
) -> Image:
    """Describe what a model is to learn of a corrected image layer: all channels, or those that were segmented.

    Raises
    ------
    ImageError
        As :func:`seen_image`.
    """
    if whole:
        return seen_image(layer, axes, stack_of(channel_layers(layer, layers, session)))
    stack = origin.stack if any(reference() is layer for reference in origin.stack) else ()
    image = seen_image(layer, axes, stack)
    return image.channel(origin.channel) if origin.channel >= 0 else image


def stack_of(layers: Sequence[napari.layers.Image]) -> Stack:
    """Remember layers as the channels of one image; () for one layer, which is an image by itself."""
    return tuple(weakref.ref(layer) for layer in layers) if len(layers) > 1 else ()


def stained_channels(image: Image) -> int:
    """How many channels an image has that are no colours; 1 for a grey or colour image."""
    return image.sizes.get("C", 1)

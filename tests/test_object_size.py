"""Images whose objects are far from the size a model knows are scaled; others are left as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.transform import resize

import segloop
from segloop.image import Image
from segloop.metrics import instance_scores
from segloop.object_size import LOST, Measured, look, smallest_area, typical_diameter
from segloop.planning import network_image
from segloop.samples import load_reference, load_sample
from segloop.segmentation import make_plan
from segloop.settings import AUTO


def reduced(factor: float) -> tuple[Image, np.ndarray]:
    image, labels = load_sample("fluorescence"), load_reference("fluorescence")
    shape = tuple(round(n * factor) for n in labels.data.shape)
    pixels = resize(image.data, shape, order=1, anti_aliasing=True, preserve_range=True)
    small = resize(labels.data, shape, order=0, anti_aliasing=False, preserve_range=True)
    return Image(np.rint(pixels).astype(image.data.dtype), "YX"), small.astype(np.uint16)


def test_specks_do_not_make_objects_small() -> None:
    assert typical_diameter(np.array([20.0, 20, 20] + [2.0] * 60)) == 20
    assert typical_diameter(np.array([5.0])) == 5


def test_the_smallest_area_follows_the_scale() -> None:
    # a quarter of the diameter: 20 / 4 = 5 pixels wide, π / 4 · 25 = 19.6
    assert smallest_area(20, 1.0) == 20
    assert smallest_area(20, 2.0) == 5
    assert smallest_area(0, 1.0) == 8


def test_an_image_of_small_objects_is_enlarged() -> None:
    image, labels = reduced(0.3)
    model = segloop.load_model("nuclei-maskrcnn")
    alone = segloop.segment(model, image, segloop.SegmentSettings(object_size=model.spec.object_size))
    chosen = segloop.segment(model, image)
    assert any("enlarged" in notice for notice in chosen.notices)
    assert not alone.notices
    found = instance_scores(labels, np.asarray(chosen.labels.data)).ap(0.5)
    assert found > instance_scores(labels, np.asarray(alone.labels.data)).ap(0.5) + 0.05


@pytest.mark.parametrize("name", ["nuclei-maskrcnn", "nuclei-unet", "objects-maskrcnn"])
def test_an_image_of_the_usual_size_is_left_alone(name: str) -> None:
    image = load_sample("fluorescence")
    assert not segloop.segment(segloop.load_model(name), image).notices


def test_an_image_of_large_objects_is_reduced() -> None:
    """Nuclei of 100 pixels: too few of them lie in the smaller window."""
    image, labels = load_sample("fluorescence"), load_reference("fluorescence")
    part = np.s_[:160, :160]
    pixels = resize(image.data[part], (800, 800), order=1, preserve_range=True)
    large = Image(np.rint(pixels).astype(image.data.dtype), "YX")
    reference = np.kron(labels.data[part], np.ones((5, 5), labels.data.dtype))
    model = segloop.load_model("nuclei-unet")
    settings = segloop.SegmentSettings(instances=True)
    alone = segloop.segment(model, large, replace(settings, object_size=model.spec.object_size))
    chosen = segloop.segment(model, large, settings)
    assert any("reduced" in notice for notice in chosen.notices)
    found = instance_scores(reference, np.asarray(chosen.labels.data)).ap(0.5)
    assert found > instance_scores(reference, np.asarray(alone.labels.data)).ap(0.5) + 0.05


def twice_as_large(noise: float) -> tuple[Image, np.ndarray]:
    """Interpolated to twice the size: more pixels, no more details; with noise, details as far as anyone can tell."""
    image, labels = load_sample("fluorescence"), load_reference("fluorescence")
    pixels = resize(image.data, [2 * n for n in labels.data.shape], order=1, preserve_range=True)
    pixels += np.random.default_rng(0).normal(0, noise * pixels.std(), pixels.shape)
    whole = np.rint(pixels.clip(0, np.iinfo(image.data.dtype).max)).astype(image.data.dtype)
    return Image(whole, "YX"), np.kron(labels.data, np.ones((2, 2), labels.data.dtype))


def test_pixels_without_details_are_reduced_for_classes() -> None:
    image, labels = twice_as_large(0.0)
    model = segloop.load_model("nuclei-unet")
    settings = segloop.SegmentSettings(instances=True)
    chosen = segloop.segment(model, image, settings)
    alone = segloop.segment(model, image, replace(settings, object_size=model.spec.object_size))
    small = segloop.segment(model, load_sample("fluorescence"), settings)
    assert any("reduced" in notice for notice in chosen.notices)
    found = instance_scores(labels, np.asarray(chosen.labels.data)).ap(0.5)
    assert found > instance_scores(labels, np.asarray(alone.labels.data)).ap(0.5)
    reference = np.asarray(load_reference("fluorescence").data)
    assert found > instance_scores(reference, np.asarray(small.labels.data)).ap(0.5) - 0.05


@pytest.mark.parametrize(("name", "noise"), [("nuclei-unet", 0.1), ("nuclei-maskrcnn", 0.0)])
def test_details_are_not_given_away(name: str, noise: float) -> None:
    image, _ = twice_as_large(noise)
    assert not segloop.segment(segloop.load_model(name), image).notices


def lost(image: Image) -> float:
    """What reducing the image would lose, for a U-Net that sees all colours there are."""
    model = segloop.load_model("nuclei-unet")
    model.spec = replace(model.spec, normalization=replace(model.spec.normalization, one_colour=False))
    own = network_image(image, model.spec, None)
    at_own_scale = segloop.SegmentSettings(object_size=model.spec.object_size)
    seen = look(model, own, make_plan(model, own, at_own_scale, AUTO, []))
    assert seen is not None and seen.relative > 1.75
    return seen.lost


def test_what_is_lost_of_colours_is_lost_of_their_brightness() -> None:
    grey = Image(np.asarray(twice_as_large(0.0)[0].data)[:600, :600], "YX")
    pixels = np.asarray(grey.data).astype(float)
    pixels *= 200 / pixels.max()
    # noise that one channel has more of is what the others have less of: seen by none who looks at the brightness
    noise = np.random.default_rng(0).normal(0, 0.1 * pixels.std(), (2, *pixels.shape))
    channels = np.stack([noise[0], noise[1], -noise.sum(0)], -1)
    of = {
        name: lost(Image(np.rint((pixels[..., None] + 20 + own).clip(0, 255)).astype(np.uint8), "YXS"))
        for name, own in (("plain", 0 * channels), ("tinted", channels), ("noisy", noise[0][..., None]))
    }
    assert of["plain"] == pytest.approx(lost(grey), abs=0.01) and of["plain"] < LOST
    assert of["tinted"] == pytest.approx(of["plain"], abs=0.01)
    assert of["noisy"] > of["plain"] + 0.03


def test_half_of_what_is_found_in_the_scaled_window_must_be_sure() -> None:
    sizes = np.array([16.0, 18, 24])
    assert Measured(sizes, np.array([0.9, 0.8, 0.6])).is_sure
    assert not Measured(sizes, np.array([0.9, 0.7, 0.6])).is_sure
    assert not Measured.none().is_sure


@pytest.mark.parametrize("name", ["nuclei-maskrcnn", "nuclei-unet"])
def test_an_image_is_not_enlarged_for_what_the_model_is_not_sure_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = reduced(0.3)
    model, settings = segloop.load_model(name), segloop.SegmentSettings(instances=name.endswith("unet"))
    assert any("enlarged" in notice for notice in segloop.segment(model, image, settings).notices)
    monkeypatch.setattr("segloop.object_size.SURER", 1.01)
    assert not any("enlarged" in notice for notice in segloop.segment(model, image, settings).notices)

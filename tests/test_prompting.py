"""Prompts: what a box gives is what the model itself gives for it, in image pixels, whatever tile it lies in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

import segloop
from segloop.catalog import Mask
from segloop.errors import ModelError, PromptError
from segloop.events import drain
from segloop.image import Image
from segloop.live_labels import LiveLabels, Thresholds
from segloop.models.protocol import Instances
from segloop.prompting import Prompter
from segloop.samples import load_reference, load_sample
from segloop.segmentation import SegmentSettings

WHOLE = (slice(0, 10**6), slice(0, 10**6))


@pytest.fixture(scope="module")
def model():
    return segloop.load_model("nuclei-maskrcnn")


@pytest.fixture(scope="module")
def image():
    return load_sample("large-nuclei")


def whole(mask: Mask, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, bool)
    out[mask.area.rows, mask.area.columns] = mask.inside
    return out


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / max(1, (first | second).sum())


@pytest.mark.parametrize("settings", [SegmentSettings(), SegmentSettings(object_size=20.0)])
@pytest.mark.parametrize(("coarser", "mean", "median"), [(0, 0.98, 0.995), (2, 0.96, 0.98)])
def test_a_box_of_the_models_own_is_filled_as_the_model_fills_it(
    model, image, settings, coarser, mean, median, monkeypatch
):
    """Exactly so at the model's own scale; coarser ones, which count less, change little."""
    monkeypatch.setattr("segloop.looks.COARSER", coarser)
    found = segloop.segment(model, image, settings).candidates
    live = LiveLabels(found, Thresholds(0.5, 0.4, 8))
    prompter = Prompter(model, image, settings)
    shape = found.shape[1:]
    sure = np.flatnonzero(found.scores > 0.5)
    assert len(sure) > 10
    agreed = [
        iou(whole(prompter.fill(0, found.boxes[n]), shape), whole(live.catalog.mask(int(found.objects[n])), shape))
        for n in sure
    ]
    # boxes at the border are cut there by hand, but not by the model
    assert np.mean(agreed) > mean and np.median(agreed) > median


def test_features_are_computed_once(model, image, monkeypatch):
    prompter = Prompter(model, image, SegmentSettings(tile=128))
    before = len(Prompter(model, image, SegmentSettings(tile=128)).missing(0, WHOLE))
    events: list[object] = []
    drain(prompter.prepare(0, (slice(0, 100), slice(0, 100))), events.append)
    few = len(events) - 1
    assert 1 < few == before - len(prompter.missing(0, WHOLE))
    assert prompter.missing(0, (slice(0, 100), slice(0, 100))) == []
    events.clear()
    drain(prompter.prepare(0, (slice(0, 100), slice(0, 360)), 1), events.append)
    scales = {scale for scale, _ in prompter.missing(0, WHOLE)}
    # one of the finest scale, and no more than one of each other
    assert 1 <= len(events) - 1 <= 1 + len(scales)
    assert few + len(events) - 1 == before - len(prompter.missing(0, WHOLE))
    calls = []
    compute = model.features
    monkeypatch.setattr(model, "features", lambda pixels: calls.append(1) or compute(pixels))
    prompter.fill(0, np.array([10, 10, 40, 40]))
    assert not calls
    # a box where nobody looked yet costs one look at each scale
    prompter.fill(0, np.array([300, 300, 330, 330]))
    assert 1 <= len(calls) <= 4
    calls.clear()
    prompter.fill(0, np.array([300, 300, 330, 330]))
    assert not calls


def test_objects_much_larger_than_the_models_are_filled_at_a_coarser_scale(model, image, monkeypatch):
    """Nuclei of four times their size, in an image that is not reduced for the model."""
    pixels = resize(image.data[:200, :200], (800, 800), order=1, preserve_range=True)
    large = Image(np.rint(pixels).astype(image.data.dtype), "YX")
    reference = np.kron(load_reference("large-nuclei").data[:200, :200], np.ones((4, 4), int))
    settings = SegmentSettings(object_size=model.spec.object_size)
    objects = [(n, box) for n, box in enumerate(ndimage.find_objects(reference), 1) if (reference == n).sum() > 5000]
    assert len(objects) > 3
    agreed = {}
    for coarser in (0, 2):
        monkeypatch.setattr("segloop.looks.COARSER", coarser)
        prompter, scores = Prompter(model, large, settings), []
        for number, (rows, columns) in objects:
            box = np.array([columns.start, rows.start, columns.stop, rows.stop], float)
            drawn = whole(prompter.fill(0, box), reference.shape)
            middle = [int((side.start + side.stop) / 2) for side in (rows, columns)]
            clicked = whole(prompter.fill_at(0, *middle)[0], reference.shape)
            scores.append([iou(drawn, reference == number), iou(clicked, reference == number)])
        agreed[coarser] = np.mean(scores, axis=0)
    assert agreed[2][0] > 0.85 and agreed[2][0] > agreed[0][0]
    assert agreed[2][1] > 0.6 and agreed[2][1] > agreed[0][1]


def test_a_click_where_nothing_was_found_is_guessed_about(model, image, monkeypatch):
    """Single nuclei on an empty background, which the model is told not to have found."""
    reference = np.asarray(load_reference("large-nuclei").data)
    agreed = []
    for number in np.argsort(-np.bincount(reference.ravel())[1:])[:5] + 1:
        inside = reference == number
        alone = np.where(ndimage.binary_dilation(inside, iterations=4), image.data, np.median(image.data))
        prompter = Prompter(model, Image(alone.astype(image.data.dtype), "YX"), SegmentSettings())
        monkeypatch.setattr("segloop.looks.Look.found_at", lambda *_: Instances(*(np.zeros((0, 4)),) * 4))
        rows, columns = np.nonzero(inside)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        mask, class_number = prompter.fill_at(0, rows[middle], columns[middle])
        assert class_number == 1
        agreed.append(iou(whole(mask, reference.shape), inside))
    assert np.median(agreed) > 0.6, agreed


def test_a_click_on_background_gives_nothing(model, image):
    """Mostly: what a mask head makes of noise is now and then sure and steep."""
    prompter = Prompter(model, image, SegmentSettings())
    far = np.argwhere(ndimage.distance_transform_edt(np.asarray(load_reference("large-nuclei").data) == 0) > 5)
    clicks = far[np.random.default_rng(0).choice(len(far), 20, replace=False)]
    invented = [bool(prompter.fill_at(0, *click)[0].inside.any()) for click in clicks]
    assert np.mean(invented) < 0.25, invented


def test_what_was_not_used_for_longest_is_forgotten(model, image, monkeypatch):
    monkeypatch.setattr("segloop.looks.KEPT_BYTES", 1)
    prompter = Prompter(model, image, SegmentSettings(tile=128))
    before = len(prompter.missing(0, WHOLE))
    drain(prompter.prepare(0, WHOLE), lambda event: None)
    assert len(prompter.missing(0, WHOLE)) == before - 1


def test_small_tiles_give_nearly_the_same(model, image):
    large, small = Prompter(model, image, SegmentSettings()), Prompter(model, image, SegmentSettings(tile=192))
    found = segloop.segment(model, image, SegmentSettings()).candidates
    shape = found.shape[1:]
    boxes = found.boxes[found.scores > 0.8]
    agreed = [iou(whole(large.fill(0, box), shape), whole(small.fill(0, box), shape)) for box in boxes]
    assert np.median(agreed) > 0.9


def test_a_click_finds_the_object_under_it(model, image):
    result = segloop.segment(model, image, SegmentSettings())
    labels = np.asarray(result.labels.data)
    prompter = Prompter(model, image, SegmentSettings())
    for number in result.objects["label"][result.objects["score"] > 0.9]:
        rows, columns = np.nonzero(labels == number)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        mask, class_number = prompter.fill_at(0, rows[middle], columns[middle])
        assert class_number == 1
        assert whole(mask, labels.shape)[rows[middle], columns[middle]]
        assert iou(whole(mask, labels.shape), labels == number) > 0.7


def test_a_click_gives_nothing_or_what_holds_it(model, image):
    prompter = Prompter(model, image, SegmentSettings())
    for row, column in np.random.default_rng(0).uniform(0, 359, (40, 2)):
        mask, _ = prompter.fill_at(0, row, column)
        drawn = whole(mask, (360, 360))
        assert not drawn.any() or drawn[int(row), int(column)]


@pytest.mark.parametrize("box", [(10, 10, 11, 30), (-50, -50, -10, -10), (400, 0, 500, 100), (30, 30, 20, 20)])
def test_useless_boxes_are_refused(model, image, box):
    with pytest.raises(PromptError, match="draw a larger one"):
        Prompter(model, image, SegmentSettings()).fill(0, np.array(box, float))


def test_models_of_classes_fill_no_boxes(image):
    with pytest.raises(ModelError, match="fills no boxes"):
        Prompter(segloop.load_model("nuclei-unet"), image, SegmentSettings())

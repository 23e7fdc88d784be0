"""Live prediction with the bundled U-Net: how good it gets, and that nothing is computed twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from segloop import load_model
from segloop.errors import ImageError, ModelError, TrainingError
from segloop.events import LabelsDone, TileDone, drain
from segloop.image import Image
from segloop.metrics import class_scores
from segloop.samples import load_reference, load_sample
from segloop.scribbling import LivePrediction, Points, View, fit_head


@pytest.fixture(scope="module")
def model():
    return load_model("nuclei-unet")


@pytest.fixture(scope="module")
def stack():
    """Chloroplasts in an electron micrograph, 8 × 192 × 240: nothing like what the model was trained on."""
    return load_sample("chloroplasts"), (np.asarray(load_reference("chloroplasts").data) > 0).astype(np.uint8)


def strokes(wanted: np.ndarray, number: int) -> np.ndarray:
    """Scribbles (Y, X): for each class, ``number`` strokes along rows, where most room is left."""
    scribbles = np.zeros(wanted.shape, np.uint8)
    for _ in range(number):
        for name in (0, 1):
            add_stroke(scribbles, wanted, name, (wanted == name) & (scribbles == 0))
    return scribbles


def add_stroke(scribbles: np.ndarray, wanted: np.ndarray, name: int, where: np.ndarray) -> None:
    """Paint three rows of at most 31 pixels of one class about the middle of the largest room in ``where``."""
    depth = ndimage.distance_transform_edt(np.pad(where, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    pieces, _ = ndimage.label(where[row])
    run = np.flatnonzero(pieces == pieces[column])
    run = run[abs(run - column) <= 15]
    part = np.ix_(range(max(0, row - 1), min(row + 2, len(where))), run)
    scribbles[part] = np.where(wanted[part] == name, name + 1, scribbles[part])


def view_of(shape, plane=0):
    rows, columns = shape[-2:]
    return View(plane, slice(0, rows), slice(0, columns), (rows / 2, columns / 2))


def predict(live, points, view, shape):
    """The prediction of what is in view, class numbers (Y, X), -1 where there is none; and what came of it."""
    found = np.full(shape, -1)

    def draw(event):
        if isinstance(event, LabelsDone):
            found[event.rows, event.columns] = event.labels.astype(int) - 1

    return found, drain(live.refresh_events(points, view), draw)


def test_it_learns_what_no_model_knew_from_a_few_strokes(model, stack):
    image, wanted = stack
    plane = wanted[3]
    live = LivePrediction(model, image)
    scribbles, found, dice = np.zeros(wanted.shape, np.uint8), np.full(plane.shape, -1), {}
    for number in range(1, 13):
        name = number % 2
        add_stroke(scribbles[3], plane, name, (plane == name) & (found != name) & (scribbles[3] == 0))
        if number > 1:
            found, refreshed = predict(live, Points.of(scribbles), view_of(plane.shape, 3), plane.shape)
            assert refreshed.complete and refreshed.classes == (0, 1)
            dice[number] = class_scores(plane, found.astype(np.uint8), 2).mean_dice
    # chloroplasts: 0.57 after two strokes, 0.85 after twelve; nothing but background would be 0, nothing else 0.27
    assert dice[12] > dice[2] + 0.1
    assert dice[12] > 0.75
    # and what was painted on one slice serves another
    other, _ = predict(live, Points.of(scribbles), view_of(plane.shape, 6), plane.shape)
    assert class_scores(wanted[6], other.astype(np.uint8), 2).mean_dice > 0.7


def test_what_is_painted_is_predicted_as_painted(model, stack):
    image, wanted = stack
    scribbles = strokes(wanted[3], 3)
    live = LivePrediction(model, image.take("Z", 3))
    found, _ = predict(live, Points.of(scribbles), view_of(scribbles.shape), scribbles.shape)
    painted = scribbles > 0
    assert (found[painted] == scribbles[painted].astype(int) - 1).mean() > 0.97


def test_the_network_runs_once_for_a_place(model, stack):
    image = stack[0].take("Z", 0)
    large = replace(image, data=np.tile(image.data, (4, 4)))
    live = LivePrediction(model, large)
    corner = View(0, slice(0, 300), slice(0, 300), (10, 10))
    _, first = predict(live, Points.none(), corner, large.shape)
    assert first.described > 0 and first.classes == ()
    scribbles = np.zeros(large.shape, np.uint8)
    scribbles[20:24, 10:60], scribbles[60:64, 10:60] = 1, 2
    _, second = predict(live, Points.of(scribbles), corner, large.shape)
    assert second.described == 0 and second.classes == (0, 1)
    # moved a little: only what came into view
    moved = View(0, slice(200, 700), slice(0, 300), (400, 100))
    _, third = predict(live, Points.of(scribbles), moved, large.shape)
    assert 0 < third.described < len(live.shelf)
    _, back = predict(live, Points.of(scribbles), corner, large.shape)
    assert back.described == 0


def test_given_up_work_is_not_lost(model, stack):
    image = stack[0].take("Z", 0)
    large = replace(image, data=np.tile(image.data, (4, 4)))
    live = LivePrediction(model, large)
    work = live.refresh_events(Points.none(), view_of(large.shape))
    assert isinstance(next(work), TileDone)
    work.close()
    assert len(live.shelf) == 1
    _, rest = predict(live, Points.none(), view_of(large.shape), large.shape)
    assert rest.described == len(live.shelf) - 1


def test_memory_has_a_limit(model, stack):
    image = stack[0].take("Z", 0)
    large = replace(image, data=np.tile(image.data, (6, 6)))
    scribbles = np.zeros(large.shape, np.uint8)
    scribbles[20:24, 10:60], scribbles[60:64, 10:60] = 1, 2
    live = LivePrediction(model, large, memory=1 << 26)
    view = View(0, slice(0, 1152), slice(0, 1440), (30, 30))
    found, refreshed = predict(live, Points.of(scribbles), view, large.shape)
    assert not refreshed.complete
    assert live.shelf.nbytes <= 1 << 26
    # what lies where the person is at work comes first
    assert (found[:64, :64] >= 0).all() and (found[-64:, -64:] == -1).all()


def test_tiles_meet_without_a_seam(model, stack):
    """Where tiles meet the prediction is as steady as elsewhere: one large tile says the same."""
    image = stack[0].take("Z", 0)
    large = replace(image, data=np.tile(image.data, (3, 3)))
    scribbles = np.zeros(large.shape, np.uint8)
    scribbles[:192, :240] = strokes(stack[1][0], 3)
    found = []
    for side in (320, 1024):
        live = LivePrediction(model, large)
        live._plan = replace(live._plan, side=side)
        live._tiles = live._plan.tiles()
        found.append(predict(live, Points.of(scribbles), view_of(large.shape), large.shape)[0])
    assert (found[0] >= 0).all() and (found[1] >= 0).all()
    assert (found[0] == found[1]).mean() > 0.98


@pytest.mark.parametrize("zoom", [0.5, 1.7])
def test_a_model_with_another_scale_covers_all_pixels(model, stack, zoom):
    image, wanted = stack
    other = load_model("nuclei-unet")
    other.spec = replace(other.spec, zoom=zoom)
    live = LivePrediction(other, image.take("Z", 3))
    found, _ = predict(live, Points.of(strokes(wanted[3], 4)), view_of(wanted.shape), wanted.shape[1:])
    assert (found >= 0).all()
    assert class_scores(wanted[3], found.astype(np.uint8), 2).mean_dice > 0.5


def test_a_pixel_is_scored_as_the_map_says(model, stack):
    """What a head is fitted on is what it is applied to."""
    image, wanted = stack
    live = LivePrediction(model, image.take("Z", 3))
    points = Points.of(strokes(wanted[3], 2))
    predict(live, points, view_of(wanted.shape), wanted.shape[1:])
    description = live.shelf.get((0, 0))
    head = live._head[1]
    rows, columns = np.array([0, 7, 100, 191]), np.array([0, 33, 101, 239])
    single = head.scores(description.at(rows, columns).T).numpy()
    np.testing.assert_allclose(single, head.score_map(description)[:, rows, columns], atol=2e-3)
    assert single.sum(axis=0) == pytest.approx(1)


def test_the_same_scribbles_give_the_same_prediction(model, stack):
    image, wanted = stack
    plane = image.take("Z", 3)
    few, more = Points.of(strokes(wanted[3], 1)), Points.of(strokes(wanted[3], 3))
    fresh, used = LivePrediction(model, plane), LivePrediction(model, plane)
    predict(used, few, view_of(plane.shape), plane.shape)
    want, _ = predict(fresh, more, view_of(plane.shape), plane.shape)
    have, _ = predict(used, more, view_of(plane.shape), plane.shape)
    np.testing.assert_array_equal(have, want)


def test_an_erased_class_is_forgotten(model, stack):
    image, wanted = stack
    plane, scribbles = image.take("Z", 3), strokes(wanted[3], 2)
    live = LivePrediction(model, plane)
    scribbles[100:103, 100:120] = 3
    _, three = predict(live, Points.of(scribbles), view_of(plane.shape), plane.shape)
    assert three.classes == (0, 1, 2)
    scribbles[scribbles == 3] = 0
    found, two = predict(live, Points.of(scribbles), view_of(plane.shape), plane.shape)
    assert two.classes == (0, 1) and found.max() == 1


def test_colour_images_work(model):
    image = load_sample("histology")
    wanted = (np.asarray(load_reference("histology").data) > 0).astype(np.uint8)
    live = LivePrediction(model, image)
    found, _ = predict(live, Points.of(strokes(wanted, 3)), view_of(wanted.shape), wanted.shape)
    assert class_scores(wanted, found.astype(np.uint8), 2).mean_dice > 0.6


def test_what_cannot_be_is_said(model, stack):
    image = stack[0].take("Z", 0)
    with pytest.raises(ModelError, match=r"nuclei-maskrcnn.*cannot learn from scribbles"):
        LivePrediction(load_model("nuclei-maskrcnn"), image)
    with pytest.raises(ImageError, match="one intensity only"):
        LivePrediction(model, Image(np.full((64, 64), 7, np.uint8), "YX"))
    live = LivePrediction(model, image)
    outside = Points(*(np.array([number]) for number in (0, 500, 3, 1)))
    with pytest.raises(ImageError, match="1 of the painted pixels lie outside the image"):
        next(live.refresh_events(outside, view_of(image.shape)))
    with pytest.raises(ImageError, match="nothing of the image is in view"):
        next(live.refresh_events(Points.none(), View(0, slice(900, 950), slice(0, 10), (0, 0))))
    with pytest.raises(TrainingError, match="paint at least two"):
        fit_head(torch.zeros(5, 3), np.zeros(5, np.int64), torch.ones(3))

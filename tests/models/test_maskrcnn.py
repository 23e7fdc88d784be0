"""Mask R-CNN: its stages, its targets, and that what nobody reviewed teaches nothing."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.candidates import rasterize
from segloop.errors import ModelError
from segloop.models.maskrcnn import FAMILY, MaskRCNNModel
from segloop.models.maskrcnn_config import MaskRCNNConfig
from segloop.models.maskrcnn_losses import ExampleSampler, drawn_by, mask_loss, mask_targets, unreviewed_share
from segloop.models.maskrcnn_targets import detection_target, object_masks
from segloop.models.protocol import Example, ModelSpec, Promptable, Task

TINY = MaskRCNNConfig(
    widths=(8, 8, 8, 8),
    blocks=(1, 1, 1, 1),
    pyramid=8,
    box_hidden=16,
    mask_layers=(8,),
    proposals_train=50,
    proposals=60,
    detections=30,
    box_score=0.0,
)


def tiny(classes: tuple[str, ...] = ("cell",), channels: int = 1, **numbers: object) -> MaskRCNNModel:
    architecture = asdict(replace(TINY, **numbers))
    return FAMILY.build(ModelSpec("tiny", "maskrcnn", Task.INSTANCE, classes, 2, channels, architecture=architecture))


def discs(side: int = 96, places: tuple[tuple[int, int], ...] = ((20, 20), (30, 70), (70, 30))) -> np.ndarray:
    rows, columns = np.indices((side, side))
    labels = np.zeros((side, side), np.int64)
    for number, (y, x) in enumerate(places, 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 81] = number
    return labels


def example(labels: np.ndarray, reviewed: np.ndarray | None = None, **classes: dict[int, int]) -> Example:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, *labels.shape, generator=generator)
    seen = np.ones(labels.shape, bool) if reviewed is None else reviewed
    return Example(image, torch.from_numpy(labels), torch.from_numpy(seen), **classes)


def losses(model: MaskRCNNModel, *examples: Example) -> dict[str, Tensor]:
    """With the samplers drawing alike each time."""
    model.module.train()
    torch.manual_seed(3)
    return model.losses(examples)


# stages


def test_predict_is_features_detect_masks() -> None:
    model = tiny(("cell", "debris"))
    assert isinstance(model, Promptable)
    tiles = torch.rand(2, 1, 64, 96)
    predicted = model.predict(tiles)
    maps = model.features(tiles)
    assert {name: tuple(each.shape) for name, each in maps.items()} == {
        "0": (2, 8, 16, 24),
        "1": (2, 8, 8, 12),
        "2": (2, 8, 4, 6),
        "3": (2, 8, 2, 3),
    }
    found = model.detect(maps, (64, 96))
    assert all(own.masks.shape == (len(own), 0, 0) for own in found)
    boxes, classes = ([torch.from_numpy(getattr(own, name)) for own in found] for name in ("boxes", "classes"))
    masks = model.masks(maps, boxes, classes)
    for whole, own, filled in zip(predicted, found, masks):
        assert len(whole) == 30
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(own, name))
        np.testing.assert_array_equal(whole.masks, filled.numpy())


def test_a_box_drawn_by_hand_is_filled() -> None:
    model = tiny()
    maps = model.features(torch.rand(1, 1, 64, 64))
    drawn = torch.tensor([[3.5, 4.0, 30.0, 28.5], [0.0, 0.0, 64.0, 64.0], [60.0, 60.0, 70.0, 80.0]])
    (masks,) = model.masks(maps, [drawn], [torch.ones(3, dtype=torch.int64)])
    assert masks.shape == (3, 28, 28) and masks.dtype == torch.float32
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    # each box for itself: the same alone as among others
    (alone,) = model.masks(maps, [drawn[1:2]], [torch.ones(1, dtype=torch.int64)])
    torch.testing.assert_close(alone[0], masks[1], rtol=0, atol=1e-6)
    (none,) = model.masks(maps, [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)])
    assert none.shape == (0, 28, 28)


def test_every_class_has_a_mask_of_its_own() -> None:
    model = tiny(("cell", "debris"))
    last = model.module.roi_heads.mask_predictor.mask_fcn_logits
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.0, 2.0, -3.0])  # background, cell, debris
    maps = model.features(torch.rand(1, 1, 64, 64))
    box = torch.tensor([[10.0, 10.0, 30.0, 30.0]] * 2)
    (masks,) = model.masks(maps, [box], [torch.tensor([1, 2])])
    assert masks[0].numpy() == pytest.approx(1 / (1 + np.exp(-2)))
    assert masks[1].numpy() == pytest.approx(1 / (1 + np.exp(3)))


def test_thousands_of_objects() -> None:
    model = tiny(proposals=2500, detections=2500, box_nms=1.0, proposal_nms=1.0)
    (found,) = model.predict(torch.rand(1, 1, 256, 256))
    assert len(found) == 2500
    assert found.masks.shape == (2500, 28, 28)
    assert (np.diff(found.scores) <= 0).all()


def test_tiles_of_another_size_at_the_same_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads may use one model: the limit of a small tile is not that of a large one."""
    model = tiny(proposals=200, detections=30, box_nms=1.0, proposal_nms=1.0)
    pixels = torch.rand(1, 1, 1024, 1024)
    (alone,) = model.predict(pixels)
    assert len(alone) == 120, "the limit is per 512 × 512 pixels"
    detect = type(model.network)._detect

    def interrupted(network: object, *given: object) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(type(network), "_detect", detect)
            model.predict(pixels[..., :64, :64])
        return detect(network, *given)

    monkeypatch.setattr(type(model.network), "_detect", interrupted)
    (beside,) = model.predict(pixels)
    np.testing.assert_array_equal(beside.boxes, alone.boxes)


@pytest.mark.parametrize("levels", [4, 5])
def test_four_or_five_levels_of_anchors(levels: int) -> None:
    model = tiny(anchors=tuple((8.0 * 2**level,) for level in range(levels)))
    assert len(model.features(torch.zeros(1, 1, 64, 64))) == levels
    assert len(model.predict(torch.rand(1, 1, 64, 64))[0]) > 0


# building


@pytest.mark.parametrize(
    "numbers",
    [
        {"anchors": ((8.0,),) * 3},
        {"anchors": ((8.0,), (16.0, 20.0), (32.0,), (64.0,))},
        {"anchors": ((8.0,), (16.0,), (32.0,), (-1.0,))},
        {"widths": (8, 8)},
        {"widths": (8, 8, 8, 0)},
        {"widths": 8},
        {"pyramid": 0},
        {"pyramid": "many"},
        {"detections": 0},
        {"box_score": 1.5},
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5), "std": (1.0, 1.0)},
        {"mean": (0.5,), "std": (0.0,)},
        {"colour": "red"},
    ],
    ids=str,
)
def test_bad_architecture_numbers(numbers: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        FAMILY.build(replace(tiny().spec, architecture={**asdict(TINY), **numbers}))


def test_planes_and_objects_only() -> None:
    spec = tiny().spec
    with pytest.raises(ModelError, match=r"finds objects in planes.*3D"):
        FAMILY.build(replace(spec, ndim=3))
    with pytest.raises(ModelError, match=r"finds objects in planes.*semantic"):
        FAMILY.build(replace(spec, task=Task.SEMANTIC, classes=("a", "b")))
    with pytest.raises(ModelError, match="side 100 is not divisible by 32; pad to 128"):
        tiny().predict(torch.zeros(1, 1, 96, 100))
    with pytest.raises(ModelError, match="no size 'huge'"):
        FAMILY.new_spec("x", ("cell",), 1, 2, "huge")


def test_other_classes_keep_all_but_the_last_layers() -> None:
    model = tiny()
    old = model.module.state_dict()
    new = model.with_classes(("cell", "debris")).module.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
    assert new["roi_heads.mask_predictor.mask_fcn_logits.weight"].shape[0] == 3


def test_mean_and_deviation_of_each_channel() -> None:
    given = torch.rand(1, 3, 64, 64)
    plain, shifted = tiny(channels=3), tiny(channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    shifted.module.load_state_dict(plain.module.state_dict())
    same = given * torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1) + torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(plain.features(given)["0"], shifted.features(same)["0"], rtol=1e-4, atol=1e-5)


# targets


def test_target_by_hand() -> None:
    labels = np.zeros((8, 10), np.int64)
    labels[1:4, 2:6] = 7  # whole and reviewed: 3 × 4 pixels
    labels[5:8, 0:3] = 3  # its last column is not reviewed
    labels[7, 9] = 9  # one pixel: too little to tell
    reviewed = np.ones((8, 10), bool)
    reviewed[5:8, 2] = False
    reviewed[0, 9] = False
    labels[0, 9] = 5  # in an unreviewed place
    target = detection_target(example(labels, reviewed, object_classes={7: 2, 3: 2}))
    assert target["boxes"].tolist() == [[2, 1, 6, 4]]
    assert target["labels"].tolist() == [2]
    assert target["objects"].dtype == torch.int32
    assert np.array_equal(target["objects"].numpy(), labels == 7)
    # unreviewed: the doubtful object's 9 pixels, the single pixel, and the corner; as a summed-area table
    table = target["unreviewed"]
    assert table.shape == (9, 11) and table.dtype == torch.int32
    assert int(table[-1, -1]) == 9 + 1 + 1
    assert int(table[8, 3] - table[5, 3]) == 9
    assert int(table[1, 10]) == 1
    (x0, y0, x1, y1) = target["somewhere"][0].int().tolist()
    assert (x1 - x0, y1 - y0) == (1, 1) and reviewed[y0, x0] and labels[y0, x0] != 3


def test_target_of_nothing() -> None:
    nothing = np.zeros((8, 8), np.int64)
    target = detection_target(example(nothing, np.zeros((8, 8), bool)))
    assert target["boxes"].shape == target["somewhere"].shape == (0, 4)
    assert not target["objects"].any()
    assert int(target["unreviewed"][-1, -1]) == 64


def test_target_without_background() -> None:
    target = detection_target(example(np.full((8, 8), 5)))
    assert target["boxes"].tolist() == [[0, 0, 8, 8]]
    assert target["labels"].tolist() == [1]


def test_numbers_may_be_any() -> None:
    labels = discs()
    far = labels * 10**12
    ours, theirs = detection_target(example(labels)), detection_target(example(far))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_unreviewed_share_by_hand() -> None:
    unreviewed = np.zeros((4, 4), np.int32)
    unreviewed[:, 3] = 1
    table = np.zeros((5, 5), np.int32)
    table[1:, 1:] = unreviewed.cumsum(0).cumsum(1)
    boxes = torch.tensor(
        [
            [0.0, 0.0, 3.0, 4.0],  # all reviewed
            [2.0, 0.0, 4.0, 4.0],  # the right half is not
            [3.0, 1.0, 4.0, 2.0],  # not at all
            [-2.0, 0.0, 2.0, 4.0],  # half of it lies outside
            [10.0, 10.0, 12.0, 12.0],  # all of it lies outside
            [0.6, 0.0, 3.4, 4.0],  # rounded: 1…3
            [1.0, 1.0, 1.2, 1.2],  # no pixel: as one that is not reviewed
        ]
    )
    expected = [0, 0.5, 1, 0.5, 1, 0, 1]
    assert unreviewed_share(boxes, torch.from_numpy(table)).tolist() == expected


def test_mask_targets_by_hand() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    mask[0, 1:3, 1:3] = 1
    # on its own box all of it; on the whole image's 4 × 4 cells, pixel by pixel
    assert mask_targets(mask, torch.tensor([[1.0, 1.0, 3.0, 3.0]]), 2)[0].tolist() == [[1, 1], [1, 1]]
    assert torch.equal(mask_targets(mask, torch.tensor([[0.0, 0.0, 4.0, 4.0]]), 4), mask.float())
    # a box half a pixel off sees half of the pixels at its ends
    shifted = mask_targets(mask, torch.tensor([[0.5, 1.0, 2.5, 3.0]]), 2)[0]
    assert shifted.tolist() == [[0.5, 1], [0.5, 1]]
    assert mask_targets(mask[:0], torch.zeros(0, 4), 28).shape == (0, 28, 28)


@pytest.mark.parametrize("radius", [4.0, 7.3, 20.6])
def test_what_is_learned_is_what_is_drawn(radius: float) -> None:
    """A mask head that has learned its target exactly gives back the object's pixels, neither moved nor grown."""
    rows, columns = np.indices((64, 64)) + 0.5
    for shift in np.linspace(0, 1, 7):
        mask = (rows - 30 - shift) ** 2 + (columns - 33 + shift / 3) ** 2 < radius**2
        target = detection_target(example(mask.astype(np.int64)))
        (learned,) = mask_targets(object_masks(target["objects"], torch.tensor([0])), target["boxes"], 28)
        box = target["boxes"][0].numpy()
        region, drawn = rasterize(np.rint(learned.numpy() * 255).astype(np.uint8), box, mask.shape)
        whole = np.zeros_like(mask)
        whole[region] = drawn
        assert (whole & mask).sum() / (whole | mask).sum() > 0.985


def test_mask_loss_by_hand() -> None:
    # two boxes of classes 2 and 1; only the logits of a box's own class count
    logits = torch.full((2, 3, 2, 2), 50.0)
    logits[0, 2] = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    logits[1, 1] = 0.0
    mask = torch.zeros(1, 2, 2, dtype=torch.uint8)
    mask[0, :, 0] = 1
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    loss = mask_loss(logits, [box, box], [mask, mask], [torch.tensor([2]), torch.tensor([1])])
    # all of the first box right with log(1 + e^-1), all of the second undecided with log 2
    assert loss.item() == pytest.approx((np.log(1 + np.exp(-1)) + np.log(2)) / 2)
    leaf = torch.zeros(0, 2, 28, 28, requires_grad=True)
    assert mask_loss(leaf, [], [], []).item() == 0


# what is learned from


def test_labels_in_unreviewed_places_have_no_influence() -> None:
    model = tiny()
    labels = discs()
    reviewed = np.zeros(labels.shape, bool)
    reviewed[:, :50] = True
    other = labels.copy()
    other[~reviewed] = np.random.default_rng(0).integers(10, 15, int((~reviewed).sum()))
    results = []
    for own in (labels, other):
        model.module.zero_grad()
        parts = losses(model, example(own, reviewed), example(labels))
        sum(parts.values()).backward()
        gradients = {name: p.grad.clone() for name, p in model.module.named_parameters() if p.grad is not None}
        results.append((parts, gradients))
    (first, before), (second, after) = results
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(before) > 20 and all(torch.equal(before[name], after[name]) for name in before)


def test_a_half_reviewed_object_is_neither_object_nor_background() -> None:
    """Whether it is painted or not, nothing changes; a whole object more, and the losses do."""
    model = tiny()
    labels = discs(places=((20, 20), (30, 48), (70, 30)))
    reviewed = np.ones(labels.shape, bool)
    reviewed[(labels == 2) & (np.indices(labels.shape)[1] > 50)] = False
    painted = losses(model, example(labels, reviewed))
    erased_labels = np.where(labels == 2, 0, labels)
    # with the object gone, its reviewed part is background, and that does count
    erased = losses(model, example(erased_labels, reviewed))
    ignored = losses(model, example(erased_labels, reviewed & (labels != 2)))
    whole = losses(model, example(labels))
    assert all(torch.equal(painted[name], ignored[name]) for name in painted)
    assert any(not torch.equal(painted[name], erased[name]) for name in painted)
    assert any(not torch.equal(painted[name], whole[name]) for name in painted)


def test_a_crop_without_objects_teaches_background() -> None:
    model = tiny()
    parts = losses(model, example(np.zeros((64, 64), np.int64)))
    assert set(parts) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert parts["loss_classifier"] > 0 and parts["loss_objectness"] > 0
    assert parts["loss_mask"] == 0 and parts["loss_box_reg"] == 0
    sum(parts.values()).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.module.parameters() if p.grad is not None)


def test_a_crop_beside_an_unreviewed_one_counts_alone() -> None:
    model = tiny()
    model.module.eval()  # batch norm would mix the two
    blank = example(discs(), np.zeros((96, 96), bool))
    one = losses(model, example(discs()))
    both = losses(model, blank, example(discs()))
    assert all(torch.equal(one[name], both[name]) for name in one)


def test_classes_of_objects_are_learned() -> None:
    """An object of the second class is an error for a head that says first, and the other way round."""
    model = tiny(("cell", "debris"))
    head = model.module.roi_heads.box_predictor.cls_score
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 10.0, -10.0])  # sure of "cell"
    labels = discs()
    cells = losses(model, example(labels))
    debris = losses(model, example(labels, object_classes={1: 2, 2: 2, 3: 2}))
    assert debris["loss_classifier"] > cells["loss_classifier"] + 0.5
    head.bias.data = torch.tensor([0.0, -10.0, 10.0])
    assert losses(model, example(labels))["loss_classifier"] > cells["loss_classifier"] + 0.5


def test_mask_loss_is_torchvisions_but_for_half_a_pixel() -> None:
    """On a box moved by half a pixel, torchvision's target is ours."""
    from torchvision.models.detection.roi_heads import maskrcnn_loss

    mask = torch.from_numpy((discs() == 1)[None].astype(np.uint8))
    box = torch.tensor([[12.0, 11.0, 29.0, 29.0]])
    logits = torch.randn(1, 2, 28, 28)
    ours = mask_loss(logits, [box], [mask], [torch.tensor([1])])
    theirs = maskrcnn_loss(logits, [box - 0.5], [mask], [torch.tensor([1])], [torch.tensor([0])])
    torch.testing.assert_close(ours, theirs)
    assert not torch.isclose(ours, maskrcnn_loss(logits, [box], [mask], [torch.tensor([1])], [torch.tensor([0])]))


def test_examples_are_drawn_as_torchvision_does_but_by_whom_one_says() -> None:
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

    labels = [
        torch.tensor([1, 0, 2, -1, 0, 0, 1, 0, -1, 0]),
        torch.tensor([0, 0, -1]),
        torch.tensor([], dtype=torch.int64),
    ]
    for size, share in ((4, 0.5), (4, 0.25), (20, 0.5), (6, 0.9)):
        torch.manual_seed(2)
        wanted = BalancedPositiveNegativeSampler(size, share)(labels)
        torch.manual_seed(2)
        found = ExampleSampler(size, share)(labels)
        for own, other in zip(wanted, found):
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(own, other, strict=True))
    many = [torch.arange(200) % 2]
    state = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with drawn_by(torch.Generator().manual_seed(seed)):
            drawn.append(torch.stack([kind[0] for kind in ExampleSampler(20, 0.5)(many)]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.random.get_rng_state(), state)

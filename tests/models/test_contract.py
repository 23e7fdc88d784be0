"""The bundled families keep the contract that third parties test theirs with."""

from dataclasses import replace

import pytest

from segloop.models.maskrcnn import FAMILY as MASKRCNN
from segloop.models.unet import FAMILY as UNET
from segloop.testing import FamilyContract


class TestUNet2D(FamilyContract):
    family = UNET


class TestUNet2DColour(FamilyContract):
    family = UNET
    channels = 3
    classes = ("background", "tissue")


class TestUNet3D(FamilyContract):
    family = UNET
    ndim = 3
    side = 24


class TestMaskRCNN(FamilyContract):
    family = MASKRCNN
    learning_rate = 3e-3
    steps = 8

    def spec(self, classes=()):
        """With fewer objects: an untrained network finds as many as it may, and all have to be filled."""
        spec = super().spec(classes)
        few = {"detections": 40, "proposals": 100, "proposals_train": 60}
        return replace(spec, architecture={**spec.architecture, **few})

    @pytest.mark.slow
    def test_loss_falls(self):
        super().test_loss_falls()


class TestMaskRCNNColourTwoClasses(TestMaskRCNN):
    channels = 3
    classes = ("cell", "debris")

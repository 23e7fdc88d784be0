"""The bundled families keep the contract that third parties test theirs with."""

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

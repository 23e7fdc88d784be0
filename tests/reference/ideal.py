"""Models without weights that make no mistake: what is bright is an object. They show what tiles and axes do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from segloop.models.maskrcnn_losses import mask_targets
from segloop.models.protocol import Instances, ModelSpec, ScoreMap, Task
from segloop.models.torch_model import TorchModel
from segloop.normalize import Normalization

PLAIN = Normalization(low=0, high=100, clip_low=0, clip_high=1)
Score = Callable[[np.ndarray], float]


class IdealClasses(TorchModel):
    """Scores 1 for "bright" where a pixel is above one half."""

    divisor = 16

    def __init__(self, ndim: int = 2, channels: int = 1, **fields: object) -> None:
        spec = ModelSpec("ideal-classes", "none", Task.SEMANTIC, ("background", "bright"), ndim, channels)
        super().__init__(replace(spec, normalization=PLAIN, tile=128, halo=16, **fields), nn.Linear(1, 1))

    def predict(self, tiles: Tensor) -> list[ScoreMap]:
        self.check_tiles(tiles)
        bright = (tiles.mean(dim=1) > 0.5).float()
        return [ScoreMap(torch.stack([1 - own, own]).numpy()) for own in bright]


class IdealObjects(TorchModel):
    """Finds each connected bright piece of a tile: its exact box, its mask on ``cells`` × ``cells``.

    ``score`` is given the mask of the piece within the tile.
    """

    divisor = 32

    def __init__(
        self,
        channels: int = 1,
        cells: int = 28,
        score: Score = lambda piece: 0.9,
        classes: tuple[str, ...] = ("thing",),
        **fields: object,
    ) -> None:
        spec = ModelSpec("ideal-objects", "none", Task.INSTANCE, classes, 2, channels)
        super().__init__(replace(spec, normalization=PLAIN, tile=256, halo=32, **fields), nn.Linear(1, 1))
        self.cells, self.score = cells, score
        self.seen: list[tuple[int, ...]] = []

    def predict(self, tiles: Tensor) -> list[Instances]:
        self.check_tiles(tiles)
        self.seen.extend(tuple(own.shape) for own in tiles)
        return [self._find(own.mean(dim=0).numpy() > 0.5) for own in tiles]

    def _find(self, bright: np.ndarray) -> Instances:
        pieces, count = ndimage.label(bright, structure=np.ones((3, 3)))
        boxes = [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in ndimage.find_objects(pieces)]
        own = np.stack([pieces == number for number in range(1, count + 1)]) if count else np.zeros((0, 1, 1), bool)
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        masks = mask_targets(torch.from_numpy(own.astype(np.uint8)), corners, self.cells).numpy()
        scores = np.array([self.score(mask) for mask in own], np.float32)
        order = np.argsort(-scores, kind="stable")
        return Instances(corners.numpy()[order], scores[order], np.ones(count, np.int64), masks[order])

"""torchvision's ``maskrcnn_resnet50_fpn`` as it comes, over the tiles of a plane, from array to label image.

Untrained: what it finds is noise, but as many boxes and masks as asked for go through all its stages. Settings that
make it cut and score what SegLoop does (tile size, number of proposals and detections) are given by torchvision's own
arguments; everything else, and all code, is torchvision's: float32, NCHW, its RoIAlign, and its way of pasting masks
(one plane of the tile's size per mask).

    python benchmarks/peers/torchvision_stock.py field.npy

segments an array (Y, X) in a process of its own, so that its memory can be measured.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn

from segloop.tiling import Tile, plan_tiles, read_padded

TILE, HALO = 512, 64
PROPOSALS, DETECTIONS = 400, 160
"""Of each tile."""


def build_stock(
    tile: int = TILE, proposals: int = PROPOSALS, detections: int = DETECTIONS, classes: int = 1, seed: int = 0
) -> MaskRCNN:
    """Build the untrained network.

    Parameters
    ----------
    tile : int
        Side of the tiles in pixels; they are not rescaled.
    proposals, detections : int
        Proposals and detections per tile. No score is too low, so that there really are as many.
    classes : int
        Object classes, without background.
    seed : int
        Of the weights.
    """
    torch.manual_seed(seed)
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=classes + 1,
        min_size=tile,
        max_size=tile,
        rpn_pre_nms_top_n_test=2 * proposals,
        rpn_post_nms_top_n_test=proposals,
        box_score_thresh=0.0,
        box_detections_per_img=detections,
    )
    return model.eval()


def plan(shape: tuple[int, ...]) -> list[Tile]:
    """Return the tiles that SegLoop uses for a plane of ``shape`` (Y, X) when asked for this tile."""
    return plan_tiles(shape, (TILE, TILE), (HALO, HALO), (32, 32))


@torch.inference_mode()
def segment_stock(model: MaskRCNN, image: np.ndarray, tiles: list[Tile]) -> tuple[np.ndarray, int]:
    """Segment a plane.

    Parameters
    ----------
    model : MaskRCNN
    image : uint8 (Y, X)
    tiles : list of Tile

    Returns
    -------
    labels : int32 (Y, X)
        An object is taken from the tile in whose inner part its centre lies.
    detections : int
        How many objects all tiles had together, before that choice.
    """
    labels = np.zeros(image.shape, np.int32)
    number, detections = 0, 0
    low, high = (float(value) for value in np.percentile(image, [1, 99.8]))
    for tile in tiles:
        pixels = (read_padded(image, tile.outer).astype(np.float32) - low) / max(high - low, 1.0)
        found = model([torch.from_numpy(pixels).clamp(0, 1).expand(3, -1, -1)])[0]
        detections += len(found["boxes"])
        number = _paste(labels, found, tile, number)
    return labels, detections


def _paste(labels: np.ndarray, found: dict[str, torch.Tensor], tile: Tile, number: int) -> int:
    """Write the masks of a tile, (N, 1, Y, X), into the label image, the best on top; return the last number used."""
    corners = found["boxes"].numpy()
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    rows, columns = tile.outer
    for index in range(len(centres) - 1, -1, -1):
        x, y = centres[index, 0] + columns.start, centres[index, 1] + rows.start
        if not (tile.inner[0].start <= y < tile.inner[0].stop and tile.inner[1].start <= x < tile.inner[1].stop):
            continue
        number += 1
        left, top = (max(0, int(value)) for value in corners[index, :2])
        right, bottom = (int(np.ceil(value)) + 1 for value in corners[index, 2:])
        mask = found["masks"][index, 0, top:bottom, left:right].numpy() > 0.5
        y0, x0 = rows.start + top, columns.start + left
        part = labels[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
        part[mask[: part.shape[0], : part.shape[1]]] = number
    return number


def main() -> None:
    """Segment once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="array (Y, X) in a .npy file")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    image = np.load(options.image)
    tiles = plan(image.shape)
    labels, detections = segment_stock(build_stock(tiles[0].shape[0]), image, tiles)
    print(f"{detections} detections, {labels.max()} objects")


if __name__ == "__main__":
    main()

"""Put scores of several folds together, each from a model that has not seen its fold.

    for K in 0 1 2 3 4; do
        python scripts/train_bundled.py nuclei-maskrcnn --fold $K --data DATA/nuclei_dsb2018 --run runs/short$K
        python scripts/score_bundled.py runs/short$K/model --fold $K --data DATA/nuclei_dsb2018 --json short$K.json
    done
    python scripts/pool_folds.py short*.json [--better FILE …]

Pooled, every image counts once. ± is the standard error over fields of view, drawn within their folds. "folds" are
the lowest and the highest figure of a fold.

``--better`` names scores of a longer training, on some of the folds only. What that would have on all folds is
estimated as what the short training has on all of them, plus what the long one is ahead on the images that both were
scored on (the difference estimator of survey sampling). The error is that of the sum, with the fields of view drawn
for both alike; that the advantage is the same on the other folds is assumed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from image_scores import COLUMNS, ROUNDS, ImageScore, deviations, figures, lines, parts, resampled, summary


def read(files: Sequence[Path]) -> list[ImageScore]:
    """Read what ``score_bundled.py --json`` wrote."""
    found = [ImageScore.from_json(row) for file in files for row in json.loads(file.read_text())["by_image"]]
    if len({item.id for item in found}) < len(found):
        raise SystemExit("some images are in several of the files; name one file per fold")
    return found


def spread(images: Sequence[ImageScore]) -> str:
    """The line of a table: the lowest and highest figure of a fold."""
    folds = sorted({item.fold for item in images})
    own = [figures([item for item in images if item.fold == fold]) for fold in folds]
    return " | ".join(f"{min(row[c] for row in own):.3f}–{max(row[c] for row in own):.3f}" for c in COLUMNS)


def expected(
    images: Sequence[ImageScore], ahead: dict[str, ImageScore]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """What a longer training would have on all images.

    Parameters
    ----------
    images : sequence of ImageScore
        Of the short training.
    ahead : dict of str to ImageScore
        Of the longer one, by the image's id.

    Returns
    -------
    advantage, estimate, error : dict of str to float
        Of each figure.
    """

    def estimate(drawn: Sequence[ImageScore]) -> dict[str, float]:
        both = [item for item in drawn if item.id in ahead]
        short, long, whole = figures(both), figures([ahead[item.id] for item in both]), figures(drawn)
        return {name: whole[name] + long[name] - short[name] for name in COLUMNS}

    random = np.random.default_rng(0)
    whole, own = figures(images), estimate(images)
    error = deviations(estimate(resampled(images, random)) for _ in range(ROUNDS))
    return {name: own[name] - whole[name] for name in COLUMNS}, own, error


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, nargs="+")
    parser.add_argument("--better", type=Path, nargs="+", default=[])
    options = parser.parse_args()
    images = read(options.scores)
    ahead = {item.id: item for item in read(options.better)}
    if missing := ahead.keys() - {item.id for item in images}:
        raise SystemExit(
            f"{len(missing)} images of --better are in none of the other files; score the short training there"
        )
    print(lines({name: summary(members) for name, members in parts(images).items()}))
    for name, members in parts(images).items():
        print(f"\n{name}\n\n| | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
        for fold in sorted({item.fold for item in members}):
            own = summary([item for item in members if item.fold == fold])
            cells = (f"{own[column]:.3f} ± {own['error'][column]:.3f}" for column in COLUMNS)
            print(f"| fold {fold}, n = {own['images']} | " + " | ".join(cells) + " |")
        print(f"| folds | {spread(members)} |")
        both = {item.id: ahead[item.id] for item in members if item.id in ahead}
        if both:
            advantage, estimate, error = expected(members, both)
            print("| advantage | " + " | ".join(f"{advantage[c]:+.3f}" for c in COLUMNS) + " |")
            print(
                "| expected on all folds | " + " | ".join(f"{estimate[c]:.3f} ± {error[c]:.3f}" for c in COLUMNS) + " |"
            )


if __name__ == "__main__":
    main()

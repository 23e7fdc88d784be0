"""What cross-validation of a single corrected region says, and what it costs.

    python benchmarks/single_region.py --data DATA [--seconds 30] [--threads 1] [--place worms_bbbc010:D17:262:110]

The bundled model is fine-tuned to one region of 256 x 256 pixels (the objects that reach into it are annotated whole),
once with cross-validation and once without, for as many seconds of the processor in all. Each row has the score of the
cross-validation and the mean AP on the images that are held out of the domain.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from domains import DOMAINS, Domain
from places import Place, annotated
from report import table

from segloop import FinetuneSettings, load_model
from segloop.events import drain
from segloop.models.device import Device
from segloop.train.finetune import FinetuneResult, finetune_events

PLACES = (
    "worms_bbbc010:D17:262:110",
    "worms_bbbc010:B13:221:115",
    "worms_bbbc010:A11:192:415",
    "phase_usiigaci:set1:625:0",
)


def learn(domain: Domain, data: Path, place: Place, seconds: float, validation: float) -> FinetuneResult:
    """Fine-tune the domain's model to one region."""
    settings = FinetuneSettings(epochs=10_000, minutes=seconds / 60, validation=validation, device=Device.CPU)
    images = {place.image: domain.read(data, place.image)}
    with tempfile.TemporaryDirectory() as folder:
        training_set = annotated(domain, images, [place], Path(folder))
        model = load_model(domain.model, Device.CPU)
        return drain(finetune_events(model, training_set, settings, clock=time.process_time))


def row(text: str, data: Path, seconds: float) -> list[str]:
    """Train at a place with and without cross-validation."""
    folder, image, top, left = text.split(":")
    domain, place = DOMAINS[folder], Place(image, int(top), int(left))
    crossed, plain = (learn(domain, data, place, seconds, validation) for validation in (0.25, 0))
    before, after, without = (
        domain.scores(model, data)[0]["mean AP"]
        for model in (load_model(domain.model, Device.CPU), crossed.model, plain.model)
    )
    gain = crossed.after - crossed.before
    return [
        f"{folder}, {image}",
        f"{crossed.before:.3f} → {crossed.after:.3f} ({gain:+.3f} ± {crossed.gain_error:.3f})",
        f"{before:.3f} → {after:.3f}",
        f"{without:.3f}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the processor, for each training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--place", action="append", help="domain:image:top:left, several times if need be")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row(text, options.data, options.seconds) for text in options.place or PLACES]
    print(table(["region", "cross-validated (mean AP)", "held-out images", "the same without"], rows))


if __name__ == "__main__":
    main()

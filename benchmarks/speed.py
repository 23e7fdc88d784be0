"""Speed and memory of SegLoop beside other programs and beside the machine's limit; prints Markdown tables.

    python benchmarks/speed.py --data DATA/nuclei_dsb2018 --json speed.json \
        --stardist-python STARDIST/bin/python --stardist-model MODELS/stardist
    python benchmarks/speed.py --data DATA/nuclei_dsb2018 --only unet --repeats 1 --field-side 1024   # a quick look

What is measured, and what may be compared with what, is in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

SECTIONS = {
    "limit": "The machine's limit",
    "maskrcnn": "Mask R-CNN",
    "unet": "U-Net",
    "training": "Training",
    "startup": "Start",
    "memory": "Memory and scaling",
}


def main() -> None:
    """Measure."""
    options = _options()
    # read by the libraries when they are first imported
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.scratch or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        _measure(options, folder)


def _measure(options: argparse.Namespace, folder: Path) -> None:
    import torch
    from engine import Setup, precisions
    from field import build_field
    from report import machine, machine_line

    facts = machine(options.threads)
    torch.set_num_threads(options.threads)
    field = build_field(options.data)
    setup = Setup(
        field.smaller(options.field_side),
        options.threads,
        options.repeats,
        options.maskrcnn,
        options.unet,
        tuple(options.sides),
        tuple(options.formats),
        options.stardist_python,
        options.stardist_model,
        folder,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(machine_line(facts))
    side = setup.field.image.shape[0]
    print(f"Field of {side} × {side} pixels; {options.repeats} rounds; precisions {', '.join(precisions())}.\n")
    document: dict[str, Any] = {"machine": facts, "field_side": side, "repeats": options.repeats, "sections": {}}
    for name in options.only:
        section = import_module(f"sections.{name}")
        started = time.perf_counter()
        result = section.measure(setup)
        document["sections"][name] = result | {"took": time.perf_counter() - started}
        print(f"**{SECTIONS[name]}**\n\n{section.markdown(result)}", flush=True)
        if options.json:
            # after each section: what took an hour is not lost with the next
            options.json.write_text(json.dumps(document, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the nuclei images, with index.csv")
    parser.add_argument("--only", type=_names, default=list(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count, after one that does not")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--field-side", type=int, default=2048, help="take a corner of the field, for a quick look")
    parser.add_argument(
        "--sides", type=_numbers, default=[2048, 4096, 8192, 16384], help="of the memory section's images"
    )
    parser.add_argument("--formats", type=_words, default=["ome-zarr", "tiff"], help="formats of the memory section")
    parser.add_argument("--maskrcnn", default="nuclei-maskrcnn", help="name or folder of a Mask R-CNN")
    parser.add_argument("--unet", default="nuclei-unet", help="name or folder of a U-Net with a border class")
    parser.add_argument("--stardist-python", type=Path, help="interpreter of an environment with StarDist")
    parser.add_argument("--stardist-model", type=Path, help="folder of a model made by peers/stardist_train.py")
    parser.add_argument("--scratch", type=Path, help="folder to keep large images in; temporary by default")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    options = parser.parse_args()
    if (options.stardist_python is None) != (options.stardist_model is None):
        parser.error("--stardist-python and --stardist-model go together")
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _names(text: str) -> list[str]:
    names = _words(text)
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no section; choose from {', '.join(SECTIONS)}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()

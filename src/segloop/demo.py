"""The loop on a bundled image, headless: segment, correct, fine-tune, segment again, export."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.segmentation import mark_boundaries

from segloop.corrections import TrainingSet
from segloop.errors import FileError
from segloop.events import Event, drain
from segloop.image import Image
from segloop.io import save_labels, write_provenance
from segloop.io.files import write_json, writing
from segloop.labels import Labels, Task
from segloop.metrics import class_scores, instance_scores
from segloop.models.protocol import Trainable
from segloop.provenance import segmentation_provenance
from segloop.samples import find_sample, load_correction, load_reference, load_sample
from segloop.segmentation import Segmentation, SegmentSettings, segment_events
from segloop.store import load_model, write_model
from segloop.train.finetune import FinetuneResult, FinetuneSettings, finetune_events

SAMPLE = "histology"
MODELS = ("nuclei-maskrcnn", "nuclei-unet")
MINUTES = 0.5
"""Of fine-tuning per model: enough to see a change, short enough to wait for."""

EXPORTS = (".tif", ".zip", ".json", ".geojson", ".ome.zarr", ".png", ".csv")
REFUSED = "_not-kept"
"""In the names of what a model found that the guard did not keep."""

MARK = ".segloop-demo"
"""A file that says that the folder it lies in is the demo's."""

OBJECT_METRIC, CLASS_METRIC = "AP at IoU 0.5", "Dice"

HELD_OUT = 0.6
"""Share of the correction that the guard scores on, two of its four blocks: of one block no gain has a known error."""

_EPOCHS = 10_000
_ENLARGED = 3
_GREEN, _RED = (0.1, 1.0, 0.2), (1.0, 0.2, 0.2)

Say = Callable[[str], object]
OnEvent = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class ModelScores:
    """One model before and after fine-tuning, scored twice; scores are in [0, 1].

    ``metric``, "AP at IoU 0.5" or "Dice", ``before`` and ``after`` are those of the part of the image that nobody
    reviewed. Those with ``guard`` are of the regions that fine-tuning kept out; ``guard_error`` is the standard error
    of the guard's gain, NaN if it cannot be known. ``kept`` says whether the guard found the new model better, which
    is what a user would go on with; the other score has no part in it.
    """

    model: str
    metric: str
    before: float
    after: float
    kept: bool
    guard_metric: str
    guard_before: float
    guard_after: float
    guard_error: float

    @property
    def disagree(self) -> bool:
        """Whether one score rose and the other did not."""
        return (self.after > self.before) != self.kept


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo gives: scores per model, the files written, the time it took."""

    scores: tuple[ModelScores, ...]
    files: tuple[Path, ...]
    seconds: float


def run_demo(
    output: Path,
    say: Say = lambda line: None,
    on_event: OnEvent = lambda event: None,
    minutes: float = MINUTES,
) -> DemoResult:
    """Run the loop with both bundled models.

    Parameters
    ----------
    output : Path
        An existing folder: empty, or an earlier demo's, whose results are replaced.
    say : callable
        Takes each line of the story.
    on_event : callable
        Takes each progress event.
    minutes : float
        Time for fine-tuning, per model.

    Raises
    ------
    FileError
        If ``output`` cannot be written, or holds something although no earlier demo ran in it.
    ModelError
        If the bundled models are not installed.
    """
    started = time.monotonic()
    _claim(output)
    image, reference = load_sample(SAMPLE), load_reference(SAMPLE)
    corrected, reviewed = load_correction(SAMPLE)
    drawn = len(np.unique(reference.data)) - 1
    say(f"image: sample {SAMPLE!r}, {' x '.join(map(str, image.shape))} pixels, {drawn} nuclei drawn by people")
    rest = f"{1 - reviewed.mean():.0%}"
    say(f"correction: {reviewed.mean():.0%} of it reviewed. Models learn from one half of that; on the other half the")
    say(
        f"guard scores the old and the new model, and keeps the better one. The {rest} that nobody reviewed are neither"
    )
    say("learned from nor do they decide: they show at the end what the loop gained.")
    training_set = TrainingSet(_fresh(output / "training_set"), Task.INSTANCE)
    training_set.add(image, corrected, reviewed, source=f"sample {SAMPLE}", key=SAMPLE)
    files: list[Path] = [training_set.folder]
    scores: list[ModelScores] = []
    for name in MODELS:
        say("")
        model = load_model(name)
        stages = {"before": _segment(model, name, image, on_event)}
        say(f"{name}: {_found(stages['before'].segmentation)}")
        tuning = FinetuneSettings(epochs=_EPOCHS, minutes=minutes, validation=HELD_OUT)
        tuned = drain(finetune_events(model, training_set, tuning), on_event)
        folder = _fresh(output / f"{name}-tuned")
        write_model(tuned.model, folder)
        say(f"{name}: fine-tuned for {tuned.seconds:.0f} s")
        say(f"{name}: {_guarded(tuned)}")
        stages["after"] = _segment(tuned.model, str(folder), image, on_event)
        say(f"{name}-tuned: {_found(stages['after'].segmentation)}")
        before, after = (_score(stages[stage].segmentation.labels, reference, ~reviewed) for stage in stages)
        metric = OBJECT_METRIC if stages["before"].segmentation.labels.is_instances else CLASS_METRIC
        guard = (tuned.metric, tuned.before, tuned.after, tuned.gain_error)
        scores.append(ModelScores(name, metric, before, after, tuned.improved, *guard))
        files.append(folder)
        for stage, done in stages.items():
            refused = stage == "after" and not tuned.improved
            files += _write_stage(output / f"{name}_{stage}{REFUSED * refused}", done, image, reference.data)
        if len(scores) == 1:
            files += _export(stages["after" if tuned.improved else "before"], output)
    seconds = time.monotonic() - started
    write_json(output / "scores.json", {"sample": SAMPLE, "seconds": seconds, "models": [asdict(s) for s in scores]})
    say("")
    for line in _table(scores, rest):
        say(line)
    say("")
    say(f"exports are of {scores[0].model}{'-tuned' if scores[0].kept else ''}")
    if any(not model.kept for model in scores):
        say(f"files named after{REFUSED} are of a new model that was not kept")
    say(f"{output} has the pictures (reference green, prediction red), labels and exports; {seconds:.0f} s in all")
    return DemoResult(tuple(scores), (*files, output / "scores.json"), seconds)


@dataclass(frozen=True, eq=False)
class _Segmented:
    segmentation: Segmentation
    provenance: dict[str, Any]


def _segment(model: Trainable, loaded_by: str, image: Image, on_event: OnEvent) -> _Segmented:
    settings = SegmentSettings()
    segmentation = drain(segment_events(model, image, settings), on_event)
    device = str(model.device)
    return _Segmented(
        segmentation,
        segmentation_provenance(
            segmentation, image, model.spec, settings, model=loaded_by, device=device, source=find_sample(SAMPLE).image
        ),
    )


def _score(labels: Labels, reference: Labels, where: np.ndarray) -> float:
    """AP at IoU 0.5 of objects, Dice of the foreground of classes, on the pixels ``where``."""
    if labels.is_instances:
        return instance_scores(reference.data, np.asarray(labels), reviewed=where).ap(0.5)
    return class_scores(reference.data > 0, np.asarray(labels) > 0, 2, reviewed=where).dice[1]


def _write_stage(stem: Path, done: _Segmented, image: Image, reference: np.ndarray) -> list[Path]:
    labels = save_labels(done.segmentation.labels, stem.with_name(f"{stem.name}_labels.tif"), done.segmentation.objects)
    write_provenance(labels, done.provenance)
    picture = stem.with_name(f"{stem.name}.png")
    found = done.segmentation.labels
    # Of classes the outline of the foreground says more than those of inside and border.
    _write_picture(picture, image, reference, found.data if found.is_instances else found.data > 0)
    return [labels, picture]


def _export(done: _Segmented, output: Path) -> list[Path]:
    """Write one result in every format."""
    written = []
    for suffix in EXPORTS:
        path = save_labels(done.segmentation.labels, output / f"export{suffix}", done.segmentation.objects)
        write_provenance(path, done.provenance)
        written.append(path)
    return written


def _write_picture(path: Path, image: Image, reference: np.ndarray, labels: np.ndarray) -> None:
    """Write the image, enlarged, with outlines of the reference and of the labels."""
    import imagecodecs

    colour = np.moveaxis(image.read()[:3], 0, -1).astype(float)
    colour = np.repeat(colour, 3, axis=-1) if colour.shape[-1] == 1 else colour
    low, high = np.percentile(colour, (0.5, 99.5))
    picture = ((colour - low) / max(high - low, 1e-6)).clip(0, 1)
    picture, reference, labels = (
        array.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1) for array in (picture, reference, labels)
    )
    for outlined, ink in ((reference, _GREEN), (labels, _RED)):
        picture = mark_boundaries(picture, outlined.astype(np.int64), color=ink, mode="inner")
    with writing(path) as draft:
        draft.write_bytes(imagecodecs.png_encode(np.rint(picture * 255).astype(np.uint8)))


def _claim(output: Path) -> None:
    """Make sure that the folder is the demo's: nothing of somebody's is replaced, or mixed with its many files.

    Of an earlier demo only the marked folder is known; in it, what is named otherwise this time is removed.
    """
    mark = output / MARK
    if mark.exists():
        for path in (path for name in MODELS for path in output.glob(f"{name}_after*") if path.is_file()):
            path.unlink(missing_ok=True)
        return
    if there := sorted(path.name for path in output.iterdir() if not path.name.startswith(".")):
        raise FileError(
            f"{output} is not empty, and {there[0]} is not of an earlier demo, which writes some 30 files; "
            "choose a new or empty folder with --output"
        )
    try:
        mark.write_text("The results in this folder are replaced when the demo runs again.\n", encoding="utf-8")
    except OSError as error:
        raise FileError(f"nothing can be written to {output}: {error.strerror}") from error


def _fresh(folder: Path) -> Path:
    """Remove what an earlier demo left."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise FileError(f"{folder} of an earlier demo cannot be replaced: {error.strerror}") from error
    return folder


def _found(segmentation: Segmentation) -> str:
    labels = segmentation.labels
    if labels.is_instances:
        return f"{len(segmentation.objects)} nuclei in {segmentation.seconds:.1f} s"
    share = np.count_nonzero(np.asarray(labels)) / labels.data.size
    return f"{share:.0%} of the image is nucleus, in {segmentation.seconds:.1f} s"


def _guarded(result: FinetuneResult) -> str:
    """What the guard saw, with the error, and what it decided."""
    if math.isnan(result.before):
        return "nothing was held out, so the guard has no score; the new model is kept"
    gain = f"{result.after - result.before:+.3f}"
    gain += "" if math.isnan(result.gain_error) else f" ± {result.gain_error:.3f}"
    verdict = "better, so the new model is kept" if result.improved else "not better, so the old model stays"
    return f"guard: {result.metric} {result.before:.3f} -> {result.after:.3f} ({gain}): {verdict}"


def _table(scores: list[ModelScores], rest: str) -> list[str]:
    lines = [f"{f'on the {rest} that nobody reviewed':<38}{'before':>8}{'after':>8}  kept by the guard"]
    for model in scores:
        kept = "new" if model.kept else "old"
        lines.append(f"{model.model:<18}{model.metric:<20}{model.before:>8.3f}{model.after:>8.3f}  {kept}")
    for model in scores:
        if model.disagree:
            lines.append(
                f"{model.model}: the guard and this part of the image disagree; the guard decides, by few objects. "
                "More reviewed regions make it surer"
            )
    return lines

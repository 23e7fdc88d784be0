"""Whether the window answers while a model is fine-tuned, from the click on Fine-tune to the new model.

    python benchmarks/finetuning.py [--model NAME] [--epochs 6] [--crop 128] [--screenshots DIR] [--json out.json]

Without a screen, put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` before it. The training set is a corner of a bundled
image, made noisy, with its reference labels. A timer that should fire every 10 ms tells for how long the window could
not answer: while the model is trained, while its process is killed, while the training is resumed, and while the dock
is closed and opened again; and before all, while nothing is trained. Beside it stands the most that the window's thread
computed between two beats, in seconds of the processor, which does not depend on what else the computer is doing. All
is done in a home of its own, deleted then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from window import Heart, _pump


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nuclei-unet")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segloop-") as home:
        os.environ["SEGLOOP_HOME"] = home
        measured = Run(options.model, options.epochs, options.crop, options.screenshots).measure()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    for name, value in measured.items():
        print(f"{name}: {value:.3f}")
    print(f"load average at the end: {load:.1f} on {os.cpu_count()} cores")
    if options.json:
        machine = {"machine": platform.platform(), "cores": os.cpu_count(), "load": load}
        options.json.write_text(json.dumps({**machine, "measured": measured}, indent=1))


class Run:
    """One fine-tuning with all that may happen to it."""

    def __init__(self, model: str, epochs: int, crop: int, screenshots: Path | None) -> None:
        import napari
        import numpy as np

        from segloop.samples import load_sample

        self.model, self.screenshots = model, screenshots
        self.epochs, self.crop = epochs, crop
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1400, 950)
        self.viewer.add_image(np.asarray(load_sample("fluorescence").data), name="cells")
        _pump(1)
        self.dock = self._open_dock()

    def _open_dock(self) -> Any:
        _, dock = self.viewer.window.add_plugin_dock_widget("napari-segloop", "SegLoop")
        _pump(until=lambda: dock.segment.form is not None)
        dock.tabs.setCurrentIndex(2)
        return dock

    def _prepare(self) -> None:
        import numpy as np

        from segloop.corrections import TrainingSet
        from segloop.image import Image
        from segloop.samples import load_reference, load_sample

        pixels = np.asarray(load_sample("fluorescence").data)[:256, :256].astype(float)
        noise = np.random.default_rng(0).normal(0, 0.1, pixels.shape)
        noisy = (255 * np.clip(0.3 * pixels / pixels.max() + 0.35 + noise, 0, 1)).astype(np.uint8)
        labels = np.asarray(load_reference("fluorescence").data)[:256, :256].astype(np.uint16)
        training_set = TrainingSet(self.dock.session.training_folder("instance"), "instance", ("nucleus",))
        training_set.add(Image(noisy, "YX", name="noisy"), labels)
        self.dock.session.choose_model(self.model)
        self.dock.session.training_set_changed.emit()
        _pump(until=self.dock.finetune.start.isEnabled)
        self.dock.finetune.form.fields["epochs"].editor.setValue(self.epochs)
        self.dock.finetune.form.fields["crop"].editor.setValue(self.crop)
        _pump(2)

    def measure(self) -> dict[str, float]:
        """Train, kill, resume, close, open, and let it end."""
        import psutil

        from segloop.trainings import open_trainings

        self._prepare()
        self._shoot("ready")
        heart, measured = Heart(), {}
        since = time.perf_counter()

        def note(what: str) -> None:
            nonlocal since
            gaps = heart.gaps(since=since)
            measured[f"{what}: longest stall, s"] = gaps[0][0]
            measured[f"{what}: stalls above 100 ms"] = float(sum(gap > 0.1 for gap, _ in gaps))
            measured[f"{what}: most work between two beats, s"] = heart.most_work(since)
            measured[f"{what}: seconds"] = time.perf_counter() - since
            since = time.perf_counter()

        _pump(10)
        note("at rest, nothing trained")
        since = time.perf_counter()
        self.dock.finetune.start.click()
        begun = time.perf_counter()
        _pump(until=lambda: self._epoch() >= 2)
        note("start and train")
        self._shoot("training")
        since = time.perf_counter()
        psutil.Process(open_trainings()[0].read("process.json")["process"][0]).kill()
        _pump(until=lambda: self.dock.finetune_step.job is None)
        _pump(0.5)
        note("killed")
        self._shoot("killed")
        since = time.perf_counter()
        self.dock.finetune.resume.click()
        _pump(until=lambda: self._epoch() >= 3)
        note("resume")
        self.viewer.window.remove_dock_widget(self.dock)
        _pump(1)
        measured["goes on while the dock is closed (1 is yes)"] = float(open_trainings()[0].is_running)
        self.dock = self._open_dock()
        _pump(until=lambda: self.dock.finetune_step.job is not None, limit=30)
        note("close and open the dock")
        _pump(until=lambda: self.dock.finetune_step.job is None)
        _pump(1)
        note("to the end")
        self._shoot("done")
        print(self.dock.finetune.result.text(), self.dock.finetune.details.text(), sep="\n")
        measured["from the click to the new model: seconds"] = time.perf_counter() - begun
        self.viewer.close()
        return measured

    def _epoch(self) -> int:
        words = self.dock.finetune.progress.bar.format().split()
        if self.dock.finetune_step.job is None:
            raise RuntimeError(f"training ended early: {self.dock.finetune.reason.text()}")
        return int(words[1]) if words and words[0] == "Epoch" else -1

    def _shoot(self, name: str) -> None:
        if self.screenshots is None:
            return
        import imageio.v3 as iio

        _pump(0.3)
        self.screenshots.mkdir(parents=True, exist_ok=True)
        iio.imwrite(self.screenshots / f"{name}.png", self.viewer.screenshot(canvas_only=False, flash=False))


if __name__ == "__main__":
    main()

"""Take the pictures of the loop in docs/images: the window as it is, driven as a person would.

python scripts/take_screenshots.py --output docs/images
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

from segloop._napari.plugin import SegloopDock
from segloop.samples import load_reference

PLUGIN = "napari-segloop"
SEGMENT, CORRECT, FINETUNE, EXPORT = range(4)
WIDTH, HEIGHT, TALL = 1280, 820, 1000
"""Of the window, in screen pixels; taller where curves are to be seen."""


def wait(seconds: float) -> None:
    """Let the window work."""
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


def wait_until(happened: Callable[[], bool]) -> None:
    """Let the window work until something has happened."""
    while not happened():
        wait(0.1)


def open_window(sample: str, height: int) -> tuple[napari.Viewer, SegloopDock]:
    """Open napari with a sample image and the dock, ready to run."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(WIDTH, height)
    viewer.open_sample(PLUGIN, sample)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "SegLoop")
    wait_until(lambda: dock.segment.form is not None)
    wait(2)
    viewer.window.resize(WIDTH, height)
    viewer.reset_view()
    return viewer, dock


def save(viewer: napari.Viewer, path: Path) -> None:
    """Save a picture of the whole window."""
    wait(1.5)
    viewer.screenshot(path, canvas_only=False, flash=False)


def show_nuclei(folder: Path) -> None:
    """Segment, correct and export nuclei."""
    viewer, dock = open_window("fluorescence", HEIGHT)
    viewer.canvas.overlays.scale_bar.visible = True
    dock.segment.run.click()
    wait_until(lambda: dock.segment_step.job is None)
    save(viewer, folder / "loop-segment.png")

    dock.tabs.setCurrentIndex(CORRECT)
    labels = dock.correct.labels.current()
    height, width = labels.data.shape
    dock.review_step.vouch((), slice(height // 50, height), slice(width // 50, width // 2))
    background = labels.data == 0
    y, x = np.argwhere(background[height // 4 : -60, width // 4 : -60])[0] + (height // 4, width // 4)
    dock.correct.tools.buttons["new_object"].click()
    labels.brush_size = 16
    labels.paint((int(y), int(x)), labels.selected_label)
    wait_until(lambda: dock.correct.share.value() > 0)
    save(viewer, folder / "loop-correct.png")

    dock.tabs.setCurrentIndex(EXPORT)
    dock.export.path.setText("fluorescence_nuclei.tif")
    dock.export.path.textEdited.emit(dock.export.path.text())
    dock.show_status("", "hint")
    save(viewer, folder / "loop-export.png")
    viewer.close()


def show_finetuning(folder: Path) -> None:
    """Fine-tune the model of nuclei on half a slice of chloroplasts, for as long as is usual."""
    viewer, dock = open_window("chloroplasts", TALL)
    reference = np.asarray(load_reference("chloroplasts").data)
    labels = viewer.add_labels(reference.astype(np.uint16), name="chloroplasts – corrected")
    viewer.dims.set_current_step(0, 3)
    dock.tabs.setCurrentIndex(CORRECT)
    height, width = reference.shape[-2:]
    dock.review_step.vouch((3,), slice(0, height), slice(0, width * 3 // 5))
    viewer.layers.selection.active = labels
    dock.session.choose_model("nuclei-unet")
    dock.tabs.setCurrentIndex(FINETUNE)
    wait_until(dock.finetune.start.isEnabled)
    dock.finetune.start.click()
    wait_until(lambda: bool(dock.finetune.result.text()) or bool(dock.finetune.reason.text()))
    wait_until(lambda: dock.finetune_step.job is None)
    save(viewer, folder / "loop-finetune.png")
    viewer.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder of the pictures")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for show in (show_nuclei, show_finetuning):
        # nobody's models and journals are shown, or touched
        with tempfile.TemporaryDirectory() as home:
            os.environ["SEGLOOP_HOME"] = home
            show(options.output)


if __name__ == "__main__":
    main()

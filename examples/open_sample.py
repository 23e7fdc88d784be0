"""Open napari with a sample image and the SegLoop dock, ready to segment. `make run` starts this.

python examples/open_sample.py [--sample fluorescence] [--screenshot window.png]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtCore import QEventLoop, QTimer

PLUGIN = "napari-segloop"


def let_the_window_work(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


def wait_until(is_true: Callable[[], object], what: str, most: float = 120) -> None:
    end = time.monotonic() + most
    while not is_true():
        if time.monotonic() > end:
            raise SystemExit(f"waited {most:.0f} s for {what}, in vain")
        let_the_window_work(seconds=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", default="fluorescence", help="name of a SegLoop sample image")
    parser.add_argument("--screenshot", type=Path, help="segment, save a picture of the window, and quit")
    options = parser.parse_args()

    viewer = napari.Viewer(show=options.screenshot is None)
    viewer.open_sample(PLUGIN, options.sample)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "SegLoop")
    if options.screenshot is None:
        napari.run()
    else:
        viewer.show()
        viewer.window.resize(1500, 1000)
        wait_until(dock.segment.run.isEnabled, "the dock to prepare itself")
        viewer.reset_view()
        dock.segment.run.click()
        # meanwhile the button is replaced by a progress bar
        wait_until(lambda: dock.segment.run.isHidden(), "the run to begin")
        wait_until(lambda: not dock.segment.run.isHidden(), "the run to end")
        let_the_window_work(seconds=1)
        options.screenshot.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(options.screenshot, canvas_only=False, flash=False)
        viewer.close()


if __name__ == "__main__":
    main()

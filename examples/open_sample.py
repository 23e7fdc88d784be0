"""Open napari with a sample image and the SegLoop dock, ready to segment. `make run` starts this.

python examples/open_sample.py [--sample fluorescence] [--screenshot window.png]
"""

import argparse
from pathlib import Path

import napari
from qtpy.QtCore import QEventLoop, QTimer

PLUGIN = "napari-segloop"


def let_the_window_work(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", default="fluorescence", help="name of a SegLoop sample image")
    parser.add_argument("--screenshot", type=Path, help="save a picture of the window and quit")
    options = parser.parse_args()

    viewer = napari.Viewer(show=options.screenshot is None)
    viewer.open_sample(PLUGIN, options.sample)
    viewer.window.add_plugin_dock_widget(PLUGIN, "SegLoop")
    if options.screenshot is None:
        napari.run()
    else:
        viewer.show()
        viewer.window.resize(1500, 1000)
        # the dock prepares itself in the background, which takes a moment
        let_the_window_work(seconds=5)
        viewer.reset_view()
        let_the_window_work(seconds=1)
        options.screenshot.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(options.screenshot, canvas_only=False, flash=False)
        viewer.close()


if __name__ == "__main__":
    main()

"""Open napari with a sample image and the SegLoop dock, ready to segment. `make run` starts this.

python examples/open_sample.py [--sample fluorescence] [--screenshot window.png]
"""

import argparse
from pathlib import Path

import napari

PLUGIN = "napari-segloop"


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
        options.screenshot.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(options.screenshot, canvas_only=False, flash=False)
        viewer.close()


if __name__ == "__main__":
    main()

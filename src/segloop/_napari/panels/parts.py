"""The sliders that decide how a model of classes parts objects."""

from __future__ import annotations

from qtpy.QtCore import Signal

from segloop._napari.panels.sliders import Place, SliderPanel, Threshold


class PartThresholdPanel(SliderPanel):
    """Foreground, seeds and smallest size of objects that were parted; hidden where there are none."""

    moved = Signal(float, float, int)

    def __init__(self) -> None:
        super().__init__(
            (
                Threshold(
                    "Foreground",
                    "Pixels the model is less sure of than this are background:\n"
                    "to the left objects grow, to the right they shrink.",
                ),
                Threshold(
                    "Parting",
                    "How sure the model must be of the cores that objects grow from:\n"
                    "to the left objects that touch run together, to the right they are parted.",
                ),
                Threshold("Smallest area", "Objects with fewer pixels than this are hidden.", is_share=False),
            ),
            "edited, added, confirmed or reviewed",
        )
        self.foreground, self.seeds, self.min_area = self.sliders

    def show_thresholds(
        self,
        now: tuple[float, float, int],
        start: tuple[float, float, int],
        ranges: tuple[tuple[float, float], tuple[float, float]],
        largest: int,
    ) -> None:
        """Show where the thresholds are, and where they were after the run. Nothing is emitted.

        Parameters
        ----------
        now, start : (float, float, int)
            Foreground, seeds, smallest area.
        ranges : pair of (float, float)
            Of foreground and seeds.
        largest : int
            The largest area worth choosing.
        """
        ends = (*ranges, (0, max(largest, now[2], start[2], 1)))
        self.show_places([Place(*own, *both) for own, both in zip(zip(now, start), ends)])

    def emit_moved(self) -> None:
        """Foreground, seeds and smallest area."""
        foreground, seeds, area = self.values()
        self.moved.emit(foreground, seeds, int(area))

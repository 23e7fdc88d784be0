"""Reviewed regions: the mask is what was drawn, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels, Shapes
from skimage.draw import polygon2mask

from segloop._napari.reviewed import EDGE, new_region_layer, plane_rectangle, rectangle, region_mask
from segloop.errors import LabelsError


def test_a_rectangle_is_its_pixels():
    shapes = Shapes([[[1.5, 2.5], [1.5, 6.5], [4.5, 6.5], [4.5, 2.5]]], shape_type="rectangle")
    expected = np.zeros((8, 9), bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(region_mask(shapes, (8, 9)), expected)


def test_regions_join_and_are_cut_at_the_border():
    shapes = Shapes(
        [[[-5.5, -5.5], [-5.5, 1.5], [3.5, 1.5], [3.5, -5.5]], [[0.5, 0.5], [0.5, 20], [3.5, 20], [3.5, 0.5]]],
        shape_type="rectangle",
    )
    mask = region_mask(shapes, (4, 6))
    assert mask[:, :2].all() and mask[1:].all() and not mask[0, 2:].any()


def test_a_whole_plane_is_every_pixel_of_it():
    shapes = Shapes([plane_rectangle((3, 4, 5), (1,))], shape_type="rectangle", ndim=3)
    mask = region_mask(shapes, (3, 4, 5))
    assert mask[1].all() and not mask[0].any() and not mask[2].any()


def test_lines_enclose_nothing_and_ellipses_less_than_their_box():
    box = [[-0.5, -0.5], [-0.5, 19.5], [19.5, 19.5], [19.5, -0.5]]
    shapes = Shapes([[[0, 0], [5, 5]]], shape_type="line")
    assert not region_mask(shapes, (20, 20)).any()
    shapes.add([box], shape_type="ellipse")
    assert region_mask(shapes, (20, 20)).mean() == pytest.approx(np.pi / 4, abs=0.03)


def test_regions_across_planes_are_refused():
    shapes = Shapes([[[0, 1, 1], [0, 1, 5], [2, 1, 5], [2, 1, 1]]], shape_type="polygon", ndim=3)
    with pytest.raises(LabelsError, match="across planes"):
        region_mask(shapes, (3, 8, 8))


def test_the_layer_lies_over_the_labels():
    labels = Labels(np.zeros((3, 8, 8), np.uint8), scale=(2, 0.5, 0.5), translate=(1, 2, 3), units=("um",) * 3)
    shapes = new_region_layer(labels)
    assert not region_mask(shapes, labels.data.shape).any()
    assert shapes.ndim == 3
    assert shapes.units == labels.units
    np.testing.assert_array_equal(shapes.scale, labels.scale)
    np.testing.assert_array_equal(shapes.translate, labels.translate)
    assert not region_mask(None, (4, 4)).any()


@pytest.mark.gui
def test_frames_are_as_wide_at_any_zoom(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    labels = viewer.add_labels(np.zeros((300, 400), np.uint8), scale=(0.5, 0.5))
    regions = viewer.add_layer(new_region_layer(labels))
    regions.add_rectangles(rectangle((), slice(50, 250), slice(100, 300)))

    def green(zoom):
        """How many pixels of the screen the frame's left side is wide; the right one is not in sight."""
        viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 75, 50), zoom
        qtbot.wait(100)
        row = viewer.screenshot(flash=False)
        middle = row[row.shape[0] // 2].astype(int)
        return int((middle[:, 1] > 120).sum())

    widths = [green(zoom) for zoom in (8, 20, 60)]
    assert all(1 <= width <= 3 for width in widths), widths
    # and so is the next one
    regions.add_rectangles(rectangle((), slice(120, 180), slice(96, 104)))
    assert regions.edge_width[0] == regions.edge_width[1] == pytest.approx(EDGE / 60 / 0.5)


def test_a_width_that_a_person_chose_stays_at_any_zoom():
    regions = new_region_layer(Labels(np.zeros((300, 400), np.uint8)))
    for row in (0, 40):
        regions.add_rectangles(rectangle((), slice(row, row + 20), slice(0, 20)))
    regions.scale_factor = 0.25
    assert regions.edge_width == [EDGE * 0.25] * 2 and regions.current_edge_width == EDGE * 0.25
    regions.selected_data = {1}
    regions.current_edge_width = 9
    regions.scale_factor = 0.5
    assert regions.edge_width == [EDGE * 0.5, 9] and regions.current_edge_width == 9


def test_rectangles_hold_what_polygons_of_the_same_corners_hold():
    shapes = new_region_layer(Labels(np.zeros((12, 14), int)))
    for corners in ([(1.2, 2.5), (1.2, 9), (7.75, 9), (7.75, 2.5)], [(-3, 5), (4.5, 5), (4.5, 20), (-3, 20)]):
        for turned in (corners, corners[::-1], corners[2:] + corners[:2]):
            shapes.data = []
            shapes.add_polygons([np.array(turned, float)])
            expected = polygon2mask((12, 14), np.array([*turned, turned[0]]))
            assert expected.any() and np.array_equal(region_mask(shapes, (12, 14)), expected)
    # corners in another order enclose something else
    shapes.data = []
    crossed = np.array([(1.2, 2.5), (7.75, 9), (1.2, 9), (7.75, 2.5)])
    shapes.add_polygons([crossed])
    assert np.array_equal(region_mask(shapes, (12, 14)), polygon2mask((12, 14), crossed))

"""Samples: complete, consistent, and small enough to ship."""

import numpy as np
import pytest

from segloop.errors import FileError
from segloop.samples import FOLDER, list_samples, load_correction, load_reference, load_sample

NAMES = [sample.name for sample in list_samples()]


@pytest.mark.parametrize("name", NAMES)
def test_image_and_reference_fit(name):
    image, reference = load_sample(name), load_reference(name)
    assert reference.shape == image.label_shape
    assert reference.axes == image.label_axes
    assert image.name == name
    numbers = np.unique(reference.data)
    assert numbers.tolist() == list(range(len(numbers)))


@pytest.mark.parametrize("sample", list_samples(), ids=NAMES)
def test_descriptions_count_right(sample):
    count = int(load_reference(sample.name).data.max())
    assert f"{count} " in sample.description
    for side in load_sample(sample.name).label_shape:
        assert str(side) in sample.description


@pytest.mark.parametrize("name", NAMES)
def test_correction_is_the_reference_where_reviewed(name):
    reference = load_reference(name).data
    labels, reviewed = load_correction(name)
    assert labels.shape == reviewed.shape == reference.shape
    assert reviewed.dtype == bool
    assert 0.5 < reviewed.mean() < 0.7
    np.testing.assert_array_equal(labels[reviewed], reference[reviewed])
    # objects are whole: what reaches out of the reviewed part is drawn to its end
    for number in np.unique(labels)[1:]:
        np.testing.assert_array_equal(labels == number, reference == number)


def test_each_sample_leaves_something_to_score_on():
    for name in NAMES:
        reference, (labels, _) = load_reference(name).data, load_correction(name)
        assert reference.max() > len(np.unique(labels)) - 1


def test_unknown_sample_names_those_that_exist():
    with pytest.raises(FileError, match="fluorescence"):
        load_sample("nothing")


def test_samples_are_small_and_their_sources_named():
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) < 2_000_000
    sources = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in sources for name in NAMES)

"""A disk that takes no more: the error says so in one line, and what was there before stays."""

import subprocess
import sys

import numpy as np
import pytest

from segloop.io import read_labels, save_labels

FULL_DISK = """
import resource, sys
import numpy as np
from segloop.errors import FileError
from segloop.io import save_labels
numbers = np.random.default_rng(0).permutation(2500) + 1
labels = np.kron(numbers.reshape(50, 50), np.ones((4, 4), int)).astype(np.uint16)
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
try:
    save_labels(labels, sys.argv[1])
except FileError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file size to play a full disk with")
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy", "a.csv", "a.ome.zarr"])
def test_a_disk_that_is_full(name, tmp_path):
    path = save_labels(np.ones((3, 3), np.uint8), tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True, timeout=100
    )
    assert f"{name} cannot be written: File too large" in run.stdout
    assert len(run.stdout.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    if not name.endswith(".csv"):
        assert read_labels(path).shape == (3, 3)

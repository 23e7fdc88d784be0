"""Planning by free memory, recognising that it ran out, and arrays in files."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segloop import canvas
from segloop.canvas import DiskArray, DiskBytes, is_large, new_canvas
from segloop.errors import SegmentError
from segloop.memory import LARGEST_BATCH, fitting_batch, fitting_side, free_memory, is_out_of_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_free_memory_is_that_of_the_machine() -> None:
    assert 1 << 20 < free_memory(CPU) < 1 << 50


def test_a_tile_is_halved_until_it_fits() -> None:
    def needed(side: int) -> int:
        return 100 * side * side

    assert fitting_side(512, 64, 32, needed, free=1 << 40) == 512
    assert fitting_side(512, 64, 32, needed, free=200 * 256 * 256) == 256
    assert fitting_side(480, 64, 32, needed, free=200 * 256 * 256) == 224
    assert fitting_side(512, 64, 32, needed, free=0) == 64


def test_batches_are_for_gpus() -> None:
    assert fitting_batch(1, 1 << 40, CPU) == 1
    assert fitting_batch(100, 800, CUDA) == 4
    assert fitting_batch(100, 0, CUDA) == 1
    assert fitting_batch(1, 1 << 40, CUDA) == LARGEST_BATCH


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 3 GB)"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_recognised(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_torch_says_so_in_those_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_disk_array_is_an_array_of_zeros_that_keeps_what_is_put_in(tmp_path: Path) -> None:
    array = DiskArray((3, 40, 50), np.dtype(np.uint16), tmp_path)
    assert (array.shape, array.ndim, array.size, array.dtype) == ((3, 40, 50), 3, 6000, np.uint16)
    expected = np.zeros((3, 40, 50), np.uint16)
    for index, value in [((1, slice(3, 9), slice(4, 8)), 7), ((slice(None), 0), np.arange(50)), ((..., 5), 9)]:
        array[index] = value
        expected[index] = value
    assert np.array_equal(np.asarray(array), expected)
    assert np.array_equal(array[1:, 2:6, ::3], expected[1:, 2:6, ::3])
    if os.name == "posix":
        assert not list(tmp_path.iterdir())  # the file has no name: nothing stays after a crash
    del array
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room is reserved on POSIX systems only")
def test_no_room_on_the_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="make room there, or set TMPDIR"):
        DiskArray((1 << 30, 1 << 30), np.dtype(np.uint8), tmp_path)
    with pytest.raises(SegmentError, match="cannot be had"):
        DiskArray((10,), np.dtype(np.uint8), tmp_path / "missing")


@pytest.mark.parametrize("make", [lambda: DiskArray((10,), np.dtype(np.uint8)), DiskBytes])
def test_no_folder_for_temporary_files_is_the_same_error(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(SegmentError, match=r"cannot be had .*No usable.*; make room there, or set TMPDIR"):
        make()


def test_what_is_read_from_a_disk_array_is_a_copy(tmp_path: Path) -> None:
    array = DiskArray((4, 4), np.dtype(np.uint8), tmp_path)
    part = array[1:3]
    part[:] = 5
    assert not np.asarray(array).any()


def test_only_large_canvases_are_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert isinstance(new_canvas((10, 10), np.dtype(np.uint8)), np.ndarray)
    monkeypatch.setattr(canvas, "LARGE", 1000)
    assert is_large(1001) and not is_large(1000)
    large = new_canvas((30, 40), np.dtype(np.uint8), tmp_path)
    assert isinstance(large, DiskArray) and not np.asarray(large).any()

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.corrections import journal as journals
from segloop.corrections import journal_writer
from segloop.corrections.journal import DRAFT, LOG, Journal, scan
from segloop.corrections.journal_blocks import EDGE, Blocks
from segloop.corrections.journal_folders import TRASH
from segloop.corrections.journal_images import WHOLE_BYTES, ImageMark, Match, fingerprint, samples
from segloop.corrections.journal_orphans import discard, find_orphans
from segloop.corrections.journal_records import pack_block
from segloop.corrections.journal_writer import Batch, Ending, JournalWriter, explain_trouble
from segloop.errors import FileError


def packed(labels: np.ndarray, numbers: Any = None) -> dict[int, bytes]:
    blocks = Blocks(labels.shape, labels.dtype.str)
    chosen = range(len(blocks)) if numbers is None else numbers
    return {number: pack_block(labels[blocks.place(number)]) for number in chosen}


def copied(labels: np.ndarray) -> dict[int, np.ndarray]:
    blocks = Blocks(labels.shape, labels.dtype.str)
    return {number: labels[blocks.place(number)].copy() for number in range(len(blocks))}


def random_labels(shape: tuple[int, ...], dtype: Any = np.uint16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def make(home: Path, labels: np.ndarray, **documents: Any) -> Journal:
    journal = Journal.create(home, Blocks(labels.shape, labels.dtype.str))
    journal.append(packed(labels), documents, complete=True)
    return journal


@pytest.mark.parametrize("shape", [(5,), (300, 700), (1, 1), (3, 256, 257), (2, 3, 10, 600)])
def test_blocks_cover_an_image_once(shape):
    blocks = Blocks(shape, "<u2")
    seen = np.zeros(shape, int)
    for number in range(len(blocks)):
        seen[blocks.place(number)] += 1
        assert set(blocks.touching(blocks.place(number))) == {number}
    assert (seen == 1).all()


def test_blocks_of_boxes_and_pixels():
    blocks = Blocks((2, 600, 600), "<u1")
    assert set(blocks.touching((slice(1, 2), slice(250, 260), slice(0, 1)))) == {9, 12}
    assert set(blocks.touching((slice(0, 5), slice(-50, None), slice(599, 900)))) == {8, 17}
    assert set(blocks.touching((slice(0, 1), slice(5, 5), slice(0, 1)))) == set()
    pixels = (np.array([0, 1]), np.array([0, 599]), np.array([300, -1]))
    assert set(blocks.holding(pixels)) == {1, 17}
    assert set(blocks.holding((np.zeros(0, int),) * 3)) == set()
    many = np.zeros(1 << 19, int)
    assert set(blocks.holding((many, many + 1, many + 300))) == {1}


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "u8", "i8", "?"])
def test_labels_come_back_exactly(tmp_path, dtype):
    labels = random_labels((3, 300, 270)).astype(dtype)
    journal = make(tmp_path, labels, layer={"name": "a", "score": float("nan")})
    labels[1, 299, 269] = 1
    journal.append(packed(labels, [7]), {"state": {"edits": 1}})
    journal.close()
    again, recovered = Journal.open(journal.folder)
    assert recovered.labels.dtype == labels.dtype
    np.testing.assert_array_equal(recovered.labels, labels)
    assert recovered.documents["state"] == {"edits": 1} and recovered.documents["layer"]["name"] == "a"
    assert recovered.complete
    again.close()


def test_cut_off_anywhere_the_records_before_hold(tmp_path):
    labels = random_labels((40, 50), seed=1)
    journal = make(tmp_path, labels)
    states = [(journal.size, labels.copy())]
    for number in range(1, 4):
        labels[number, :10] = number
        journal.append(packed(labels), {"state": {"edits": number}})
        states.append((journal.size, labels.copy()))
    journal.close()
    whole = (journal.folder / LOG).read_bytes()
    assert len(whole) == states[-1][0]
    for length in range(states[0][0], len(whole) + 1, 7):
        (journal.folder / LOG).write_bytes(whole[:length])
        again, recovered = Journal.open(journal.folder)
        expected = [state for size, state in states if size <= length][-1]
        between = [state for size, state in states if size > length][:1]
        # the blocks of an edit are written before its documents
        assert any(np.array_equal(recovered.labels, state) for state in [expected, *between])
        # and the next edit is found
        again.append(packed(expected), {"state": {"edits": 99}})
        again.close()
        with (journal.folder / LOG).open("rb") as file:
            assert scan(file).documents["state"] == {"edits": 99}


def test_a_damaged_record_ends_the_journal(tmp_path):
    labels = random_labels((40, 50))
    journal = make(tmp_path, labels)
    size = journal.size
    journal.append(packed(labels + 1))
    journal.close()
    content = bytearray((journal.folder / LOG).read_bytes())
    content[size + 100] ^= 1
    (journal.folder / LOG).write_bytes(content)
    again, recovered = Journal.open(journal.folder)
    np.testing.assert_array_equal(recovered.labels, labels)
    again.close()


def test_a_journal_that_is_not_complete_says_so(tmp_path):
    labels = random_labels((600, 600))
    journal = Journal.create(tmp_path, Blocks(labels.shape, labels.dtype.str))
    journal.append(packed(labels, [4]))
    journal.close()
    again, recovered = Journal.open(journal.folder)
    assert not recovered.complete
    np.testing.assert_array_equal(recovered.labels[256:512, 256:512], labels[256:512, 256:512])
    assert not recovered.labels[:256].any()
    again.close()


def test_old_blocks_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "COMPACT_ABOVE", 1 << 16)
    labels = random_labels((300, 300), np.uint8)
    journal = make(tmp_path, labels, layer={"name": "a"})
    once = journal.size
    for number in range(60):
        labels[number, :EDGE] = number
        journal.append(packed(labels, [0]), {"state": {"edits": number}})
        assert journal.size <= max(1 << 16, 5 * once)
        assert (journal.folder / LOG).stat().st_size == journal.size
    journal.close()
    again, recovered = Journal.open(journal.folder)
    np.testing.assert_array_equal(recovered.labels, labels)
    assert recovered.documents == {"layer": {"name": "a"}, "state": {"edits": 59}}
    assert recovered.complete
    again.close()


def test_another_layout_takes_the_place_when_it_is_whole(tmp_path):
    labels = random_labels((30, 40), np.uint8)
    journal = make(tmp_path, labels, layer={"name": "a"})
    wider = labels.astype(np.uint32) + 70_000
    journal.replace(Blocks(wider.shape, wider.dtype.str))
    journal.append({}, {"state": {"edits": 2}})
    with (journal.folder / LOG).open("rb") as file:
        assert scan(file).blocks.dtype == "|u1"
    journal.append(packed(wider), complete=True)
    assert not (journal.folder / DRAFT).exists()
    wider[3, 3] = 5
    journal.append(packed(wider))
    journal.close()
    again, recovered = Journal.open(journal.folder)
    np.testing.assert_array_equal(recovered.labels, wider)
    assert recovered.labels.dtype == np.uint32
    assert recovered.documents == {"layer": {"name": "a"}, "state": {"edits": 2}}
    again.close()


def test_one_program_writes_a_journal(tmp_path):
    journal = make(tmp_path, random_labels((5, 5)))
    assert find_orphans(tmp_path) == []
    with pytest.raises(FileError, match="in use by another napari"):
        Journal.open(journal.folder)
    with pytest.raises(FileError, match="in use by another napari"):
        discard(journal.folder)
    journal.close()
    assert [orphan.folder for orphan in find_orphans(tmp_path)] == [journal.folder]


def test_a_dead_program_gives_its_journals_back(tmp_path):
    code = f"""
import os, pathlib, numpy as np
from segloop.corrections.journal import Journal
from segloop.corrections.journal_records import pack_block
from segloop.corrections.journal_blocks import Blocks
journal = Journal.create(pathlib.Path({str(tmp_path)!r}), Blocks((4, 4), "|u1"))
journal.append({{0: pack_block(np.full((4, 4), 7, np.uint8))}}, complete=True)
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    (orphan,) = find_orphans(tmp_path)
    journal, recovered = Journal.open(orphan.folder)
    assert (recovered.labels == 7).all()
    journal.close()


def test_looking_for_orphans_takes_away_the_empty_and_leaves_the_strange(tmp_path):
    labels = random_labels((5, 5))
    good = make(tmp_path, labels, layer={"name": "good"})
    good.close()
    Journal.create(tmp_path, Blocks((4, 4), "|u1")).close()
    strange = {"nothing": None, "other": b"not a journal", "newer": b"SEGLOOP-JOURNAL2" + bytes(50)}
    for name, content in strange.items():
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / LOG).write_bytes(content)
    assert [orphan.documents["layer"]["name"] for orphan in find_orphans(tmp_path)] == ["good"]
    assert {folder.name for folder in tmp_path.iterdir()} == {good.folder.name, *strange}
    for name, words in (
        ("other", "is no journal"),
        ("newer", "made by a newer SegLoop"),
        ("nothing", "cannot be read"),
    ):
        with pytest.raises(FileError, match=words):
            Journal.open(tmp_path / name)


def test_what_is_discarded_stays_for_a_while(tmp_path):
    journal = make(tmp_path, random_labels((5, 5)))
    journal.close()
    discard(journal.folder)
    assert find_orphans(tmp_path) == []
    trashed = tmp_path / TRASH / journal.folder.name
    assert (trashed / LOG).exists()
    past = time.time() - 31 * 86_400
    os.utime(trashed, (past, past))
    find_orphans(tmp_path)
    assert not trashed.exists()


class TestWriter:
    def test_newer_goes_over_older(self, tmp_path):
        writer, labels = JournalWriter(), random_labels((600, 300))
        lane = writer.begin(tmp_path, Blocks(labels.shape, labels.dtype.str))
        for number in range(30):
            labels[number] = number
            writer.put(lane, Batch(copied(labels), {"state": number, "table": lambda: [1, 2]}, complete=True))
        assert writer.flush(60)
        assert writer.stop()
        (orphan,) = find_orphans(tmp_path)
        journal, recovered = Journal.open(orphan.folder)
        np.testing.assert_array_equal(recovered.labels, labels)
        assert recovered.documents == {"state": 29, "table": [1, 2]}
        journal.close()

    @pytest.mark.parametrize("at_the_end", [False, True])
    def test_it_rests_between_many_blocks_but_not_while_the_end_waits(self, at_the_end, tmp_path, monkeypatch):
        rests, writer = [], JournalWriter()

        def rest(seconds: float) -> None:
            rests.append(seconds)
            if at_the_end:
                # as stop() does, without waiting for itself
                writer._stopping, lane._ending = True, Ending.KEEP

        monkeypatch.setattr(journal_writer.time, "sleep", rest)
        labels = random_labels((EDGE * 5, EDGE * 5))
        lane = writer.begin(tmp_path, Blocks(labels.shape, labels.dtype.str))
        writer.put(lane, Batch(copied(labels), complete=True))
        assert writer.flush(60) and writer.stop()
        assert len(rests) == (1 if at_the_end else 25) and max(rests) <= journal_writer.LONGEST_REST
        journal, recovered = Journal.open(lane.folder)
        np.testing.assert_array_equal(recovered.labels, labels)
        journal.close()

    def test_discarding_and_keeping(self, tmp_path):
        writer, labels = JournalWriter(), random_labels((20, 30))
        lanes = [writer.begin(tmp_path, Blocks(labels.shape, labels.dtype.str)) for _ in range(3)]
        for lane in lanes[:2]:
            writer.put(lane, Batch(copied(labels), complete=True))
        assert writer.flush(60)
        writer.end(lanes[0], Ending.DISCARD)
        writer.end(lanes[1], Ending.KEEP)
        writer.end(lanes[2], Ending.DISCARD)
        assert writer.flush(60)
        assert [orphan.folder for orphan in find_orphans(tmp_path)] == [lanes[1].folder]
        assert writer.stop()

    def test_another_layout_drops_what_waits(self, tmp_path):
        older = Batch(copied(random_labels((20, 30))), {"a": 1, "b": 1})
        newer = Batch(copied(random_labels((7, 8))), {"b": 2}, layout=Blocks((7, 8), "<u2"))
        both = newer.over(older)
        assert both.blocks[0].shape == (7, 8) and both.documents == {"a": 1, "b": 2} and both.layout is not None

    def test_an_error_of_any_kind_does_not_end_it(self, tmp_path):
        writer, labels = JournalWriter(retry_seconds=0.05), random_labels((20, 30))
        lane = writer.begin(tmp_path, Blocks(labels.shape, labels.dtype.str))
        attempts = itertools.count()

        def table() -> list[int]:
            if next(attempts) < 3:
                raise RuntimeError("not yet")
            return [1]

        writer.put(lane, Batch(copied(labels), {"table": table}, complete=True))
        assert writer.flush(60)
        assert writer.stop()
        assert find_orphans(tmp_path)[0].documents == {"table": [1]}


def test_full_disk_at_any_moment(tmp_path, monkeypatch):
    """Whatever the disk refuses, what was saved stays, and all is saved once there is room."""
    for step in range(12):
        home = tmp_path / str(step)
        writer, labels = JournalWriter(retry_seconds=0.02), random_labels((300, 300), seed=step)
        count, room = itertools.count(), threading.Event()

        def failing(function: Any) -> Any:
            def wrapper(*args: Any, **keywords: Any) -> Any:
                if next(count) >= step and not room.is_set():  # noqa: B023
                    raise OSError(28, "No space left on device")
                return function(*args, **keywords)

            return wrapper

        def half(file: Any, content: bytes) -> None:
            if next(count) >= step and not room.is_set():  # noqa: B023
                file.write(content[: len(content) // 2])
                raise OSError(28, "No space left on device")
            file.write(content)

        with monkeypatch.context() as patch:
            patch.setattr(journals, "_write_all", half)
            patch.setattr(os, "fsync", failing(os.fsync))
            patch.setattr(Path, "mkdir", failing(Path.mkdir))
            patch.setattr(Path, "replace", failing(Path.replace))
            lane = writer.begin(home, Blocks(labels.shape, labels.dtype.str))
            writer.put(lane, Batch(copied(labels), {"edits": 0}, complete=True))
            writer.flush(0.3)
            saved, edits = labels.copy(), 0
            for edits in range(1, 4):
                labels = labels.copy()
                labels[edits] = edits
                writer.put(lane, Batch(copied(labels), {"edits": edits}, complete=True))
                if writer.flush(0.1):
                    saved = labels.copy()
            if step < 4:
                assert writer.trouble is not None
                assert "No space left on device" in explain_trouble(writer.trouble)
            if lane.folder is not None:
                with (lane.folder / LOG).open("rb") as file:
                    content = scan(file)
                    if content.found:
                        np.testing.assert_array_equal(journals._recover(file, content).labels[5:], saved[5:])
            room.set()
            assert writer.flush(60)
            assert writer.trouble is None
        assert writer.stop()
        (orphan,) = find_orphans(home)
        journal, recovered = Journal.open(orphan.folder)
        np.testing.assert_array_equal(recovered.labels, labels)
        assert recovered.documents == {"edits": edits}
        journal.close()


ON_A_SMALL_DISK = """
import os, pathlib, sys
import numpy as np
from segloop.corrections.journal_blocks import Blocks
from segloop.corrections.journal_writer import Batch, JournalWriter, explain_trouble

home, ballast = pathlib.Path(sys.argv[1]) / "journals", pathlib.Path(sys.argv[1]) / "ballast"
writer, rng = JournalWriter(retry_seconds=0.1), np.random.default_rng(0)
labels = rng.integers(0, 65535, (600, 256)).astype(np.uint16)
blocks = Blocks(labels.shape, labels.dtype.str)
lane = writer.begin(home, blocks)

def put():
    writer.put(lane, Batch({n: labels[blocks.place(n)].copy() for n in range(len(blocks))}, complete=True))
    return writer.flush(2)

assert put()
saved = labels.copy()
ballast.write_bytes(bytes(os.statvfs(home).f_bavail * os.statvfs(home).f_frsize - 100_000))
labels[:] = rng.integers(0, 65535, labels.shape)
assert not put()
print(explain_trouble(writer.trouble))
np.save(sys.argv[2], saved)
if sys.argv[3] == "room":
    ballast.unlink()
    assert writer.flush(30) and writer.trouble is None
    np.save(sys.argv[2], labels)
os._exit(9)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk")
@pytest.mark.parametrize("then", ["killed", "room"])
def test_a_real_full_disk(tmp_path, then):
    disk, expected = tmp_path / "disk", tmp_path / "labels.npy"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("disks cannot be mounted here")
    try:
        command = [sys.executable, "-c", ON_A_SMALL_DISK, str(disk), str(expected), then]
        run = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert run.returncode == 9, run.stderr
        assert "No space left on device" in run.stdout and "Make room on the disk" in run.stdout
        (orphan,) = find_orphans(disk / "journals")
        journal, recovered = Journal.open(orphan.folder)
        np.testing.assert_array_equal(recovered.labels, np.load(expected))
        journal.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def mark(data: Any, source: str = "", name: str = "") -> ImageMark:
    dtype = np.dtype(data.dtype).str
    return ImageMark(data.shape, dtype, source, name, fingerprint(data.shape, dtype, samples(data)))


def test_images_are_known_by_their_pixels():
    image = random_labels((60, 70))
    assert mark(image, name="a").match(mark(image.copy(), name="b")) is Match.SAME
    assert mark(image).match(mark(image.astype(">u2"))) is Match.OTHER
    assert mark(image).match(mark(image.T)) is Match.OTHER
    other = image.copy()
    other[3, 3] += 1
    assert mark(image, name="a").match(mark(other, name="a")) is Match.OTHER
    assert mark(image, "/a.tif").match(mark(other, "/a.tif")) is Match.CHANGED
    unknown = ImageMark(image.shape, image.dtype.str, "/a.tif")
    assert unknown.match(mark(image, "/a.tif")) is Match.SAME
    assert unknown.match(mark(image, "/b.tif")) is Match.OTHER


def test_large_images_are_known_by_samples_wherever_they_are_kept(tmp_path):
    import zarr

    shape = (5, 2048, 2048)
    assert np.prod(shape) * 2 > WHOLE_BYTES
    image = random_labels(shape)
    stored = zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=(1, 512, 512), dtype="u2")
    stored[:] = image
    assert mark(image).match(mark(stored)) is Match.SAME
    assert sum(sample.nbytes for sample in samples(image)) < 1 << 24
    assert mark(image).match(mark(image + 1)) is Match.OTHER
    assert mark(image).match(mark(np.roll(image, 1, axis=2))) is Match.OTHER


def test_a_block_is_small_beside_a_layer():
    assert Blocks((4096, 4096), "<u4").block_bytes == EDGE * EDGE * 4

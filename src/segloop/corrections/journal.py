"""The journal of one label image: what a person did to it, on the disk within moments, whatever happens to the program.

A journal is a folder ``<home>/journals/<id>`` with one file, ``log``, that only ever grows at its end. It begins with
the image's layout; records of blocks follow, each whole and with a checksum, and of small JSON documents. The newest
record of a block is what holds. A record that was cut off, because the program was killed or the disk was full, is left
out, and nothing before it is touched. When most of the file is out of date, a new one is written beside it and put in
its place in one step.

The program that writes a journal holds a lock on it, which the system takes back when the program ends, however it
ends. So a journal without an owner is one that can be offered for restoring.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from segloop.corrections.journal_blocks import Blocks
from segloop.corrections.journal_folders import lock_folder, move_to_trash
from segloop.corrections.journal_records import (
    BLOCK_HEAD,
    FILE_MAGIC,
    RECORD_HEAD,
    Kind,
    decode_blocks,
    encode,
    encode_blocks,
    encode_json,
    read_records,
    unpack_block,
)
from segloop.errors import FileError

LOG = "log"
DRAFT = "log.next"

COMPACT_ABOVE = 1 << 25
"""A file smaller than this is never worth writing anew."""

COMPACT_FACTOR = 3
"""Written anew when the file is so many times as large as what holds."""


@dataclass
class Content:
    """What a journal's file says: where the newest record of each block is, and the newest documents."""

    blocks: Blocks | None = None
    found: dict[int, tuple[int, int]] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    complete: bool = False
    end: int = len(FILE_MAGIC)

    @property
    def live_bytes(self) -> int:
        """Size of all that holds, documents not counted."""
        return sum(length for _, length in self.found.values())


@dataclass(frozen=True, eq=False)
class Recovered:
    """What can be restored from a journal.

    Parameters
    ----------
    labels : integers, of the shape and type that the image had
        0 where a block was not yet written.
    documents : mapping
        As given to :meth:`Journal.append`.
    complete : bool
        Whether the image was written as a whole at least once. If not, only what was edited is sure to be there.
    """

    labels: np.ndarray
    documents: Mapping[str, Any]
    complete: bool


class Journal:
    """A journal that this program writes. Not for several threads at once.

    Raises
    ------
    FileError
        From the class methods, if another program writes it, or it cannot be read.
    OSError
        From all that writes, if the disk is full or refuses; then the journal is as it was before.
    """

    def __init__(self, folder: Path, lock: FileLock, content: Content) -> None:
        self.folder = folder
        self._lock = lock
        self._content = content
        self._replacing = False
        self._file: io.FileIO | None = None

    @classmethod
    def create(cls, home: Path, blocks: Blocks) -> Journal:
        """Make a new journal in ``home``/journals for labels of a layout."""
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        folder = home / name
        folder.mkdir(parents=True)
        try:
            journal = cls(folder, lock_folder(folder), Content(blocks))
            journal._write_file(LOG, b"")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return journal

    @classmethod
    def open(cls, folder: Path) -> tuple[Journal, Recovered]:
        """Take over a journal that no program writes, and return what it holds."""
        lock = lock_folder(folder)
        try:
            with open_log(folder) as file:
                content = scan(file)
                if content.blocks is None:
                    raise FileError(f"{folder / LOG} holds no labels; it was cut off at its very beginning")
                recovered = _recover(file, content)
            journal = cls(folder, lock, content)
            (folder / DRAFT).unlink(missing_ok=True)
            # what was cut off must go, or nothing that is written behind it would be found
            os.truncate(folder / LOG, content.end)
        except BaseException:
            lock.release()
            raise
        return journal, recovered

    @property
    def blocks(self) -> Blocks:
        """The layout of the labels."""
        assert self._content.blocks is not None
        return self._content.blocks

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self._content.end

    def append(
        self, pixels: Mapping[int, bytes], documents: Mapping[str, Any] | None = None, complete: bool = False
    ) -> None:
        """Write blocks and documents, and wait until they are on the disk.

        Parameters
        ----------
        pixels : mapping of block number to bytes
            From :func:`pack_block`. They count all together or not at all.
        documents : mapping of name to JSON document
            Each replaces the earlier one of its name.
        complete : bool
            Whether all blocks were written once now.
        """
        records: list[bytes] = []
        if pixels:
            records.append(encode_blocks(pixels.items()))
        if documents:
            records.append(encode_json(Kind.DOCUMENTS, documents))
        if complete:
            records.append(encode(Kind.COMPLETE, b""))
        content, start = self._content, self._content.end
        try:
            file = self._open()
            file.seek(start)
            _write_all(file, b"".join(records))
            os.fsync(file.fileno())
        except BaseException:
            self._cut_off(start)
            raise
        at = start + RECORD_HEAD
        for number, packed in pixels.items():
            at += BLOCK_HEAD
            content.found[number] = (at, len(packed))
            at += len(packed)
        content.documents.update(documents or {})
        content.complete |= complete
        content.end = start + sum(map(len, records))
        if complete and self._replacing:
            self._take_place()
        elif not self._replacing and content.end > max(COMPACT_ABOVE, COMPACT_FACTOR * content.live_bytes):
            # it can wait: the journal is good as it is
            with suppress(OSError):
                self._compact()

    def replace(self, blocks: Blocks) -> None:
        """Begin anew for labels of another layout. What is there holds until the new labels are complete."""
        content = Content(blocks, documents=dict(self._content.documents))
        self._close_file()
        before, self._content = self._content, content
        try:
            self._write_file(DRAFT, encode_json(Kind.DOCUMENTS, content.documents))
        except BaseException:
            self._content = before
            raise
        self._replacing = True

    def close(self) -> None:
        """Leave the journal as it is, for others to take over."""
        self._close_file()
        self._lock.release()

    def discard(self) -> None:
        """Close the journal and move it to what was discarded."""
        self.close()
        with suppress(OSError):
            move_to_trash(self.folder)

    def _open(self) -> io.FileIO:
        if self._file is None:
            # without a buffer: bytes that the disk refused must not be tried again behind our back
            self._file = io.FileIO(self.folder / (DRAFT if self._replacing else LOG), "r+")
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _cut_off(self, end: int) -> None:
        self._close_file()
        with suppress(OSError):
            os.truncate(self.folder / (DRAFT if self._replacing else LOG), end)

    def _write_file(self, name: str, rest: bytes) -> None:
        """Write the beginning of a file: magic, layout, and records."""
        start = FILE_MAGIC + encode_json(Kind.LAYOUT, asdict(self.blocks)) + rest
        with (self.folder / name).open("wb") as file:
            file.write(start)
            file.flush()
            os.fsync(file.fileno())
        self._content.end = len(start)

    def _take_place(self) -> None:
        """Put the draft in the place of the file."""
        self._close_file()
        (self.folder / DRAFT).replace(self.folder / LOG)
        self._replacing = False
        _sync_folder(self.folder)

    def _compact(self) -> None:
        """Write what holds into a new file and put it in place."""
        content = self._content
        self._close_file()
        draft = self.folder / DRAFT
        found: dict[int, tuple[int, int]] = {}
        try:
            with (self.folder / LOG).open("rb") as old, draft.open("wb") as new:
                new.write(FILE_MAGIC + encode_json(Kind.LAYOUT, asdict(self.blocks)))
                for number, (at, length) in content.found.items():
                    old.seek(at)
                    packed = old.read(length)
                    found[number] = (new.tell() + RECORD_HEAD + BLOCK_HEAD, length)
                    new.write(encode_blocks([(number, packed)]))
                new.write(encode_json(Kind.DOCUMENTS, content.documents))
                if content.complete:
                    new.write(encode(Kind.COMPLETE, b""))
                end = new.tell()
                new.flush()
                os.fsync(new.fileno())
            draft.replace(self.folder / LOG)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        content.found, content.end = found, end
        _sync_folder(self.folder)


def scan(file: BinaryIO) -> Content:
    """Read a journal's file up to its last whole record.

    Raises
    ------
    FileError
        If it is no journal of this version.
    """
    content = Content()
    magic = file.read(len(FILE_MAGIC))
    if magic != FILE_MAGIC:
        same = magic[:-1] == FILE_MAGIC[:-1]
        raise FileError(f"{file.name} " + ("was made by a newer SegLoop; update SegLoop" if same else "is no journal"))
    for record in read_records(file):
        match record.kind:
            case Kind.LAYOUT:
                content.blocks, content.found, content.complete = _layout(record.payload), {}, False
            case Kind.BLOCKS:
                for block in decode_blocks(record.payload):
                    content.found[block.number] = (record.start + block.offset, len(block.pixels))
            case Kind.DOCUMENTS:
                content.documents.update(json.loads(record.payload))
            case Kind.COMPLETE:
                content.complete = True
        content.end = record.end
    return content


def _recover(file: BinaryIO, content: Content) -> Recovered:
    assert content.blocks is not None
    labels = np.zeros(content.blocks.shape, content.blocks.dtype)
    for number, (at, length) in content.found.items():
        place = content.blocks.place(number)
        file.seek(at)
        try:
            shape = tuple(side.stop - side.start for side in place)
            labels[place] = unpack_block(file.read(length), content.blocks.dtype, shape)
        except (ValueError, zlib.error) as error:
            raise FileError(f"{file.name} is damaged in block {number}: {error}") from error
    return Recovered(labels, content.documents, content.complete)


def _layout(payload: bytes) -> Blocks:
    layout = json.loads(payload)
    blocks = Blocks(tuple(int(n) for n in layout["shape"]), str(layout["dtype"]))
    if np.dtype(blocks.dtype).kind not in "biu":
        raise ValueError(f"labels of type {blocks.dtype}")
    return blocks


def open_log(folder: Path) -> BinaryIO:
    """Open the file of a journal for reading; FileError if that is not possible."""
    try:
        return (folder / LOG).open("rb")
    except OSError as error:
        raise FileError(f"{folder / LOG} cannot be read: {error.strerror or error}") from error


def _write_all(file: io.FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _sync_folder(folder: Path) -> None:
    """Have the folder itself on the disk; what needs it is not known everywhere."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

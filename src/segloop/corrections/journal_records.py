"""Records: what a journal's file is made of, so that one cut off in the middle is told from a whole one."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, BinaryIO

import numpy as np

FILE_MAGIC = b"SEGLOOP-JOURNAL1"
"""Begins a file; its last byte is the version of the format."""

_MARK = b"REC\n"
_HEAD = struct.Struct("<4sBQI")
_BLOCK = struct.Struct("<QI")
RECORD_HEAD = _HEAD.size
BLOCK_HEAD = _BLOCK.size
FASTEST = 1
"""Labels are long runs of equal numbers: more effort gains little."""


class Kind(IntEnum):
    """What a record holds."""

    LAYOUT = 1
    BLOCKS = 2
    DOCUMENTS = 3
    COMPLETE = 4


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record, and where its payload begins and it ends in the file."""

    kind: Kind
    payload: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A block as it is stored: its number and its deflated pixels, at ``offset`` in the payload."""

    number: int
    offset: int
    pixels: bytes


def encode(kind: Kind, payload: bytes) -> bytes:
    """Return a record as it is written."""
    return _HEAD.pack(_MARK, kind, len(payload), _checksum(kind, payload)) + payload


def read_records(file: BinaryIO) -> Iterator[Record]:
    """Yield the records of a file, from behind its magic; stop at the first that is cut off or damaged."""
    size = os.fstat(file.fileno()).st_size
    while True:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        mark, kind, length, checksum = _HEAD.unpack(head)
        start = file.tell()
        if mark != _MARK or kind not in Kind.__members__.values() or start + length > size:
            return
        payload = file.read(length)
        if len(payload) < length or _checksum(kind, payload) != checksum:
            return
        yield Record(Kind(kind), payload, start, start + length)


def pack_block(pixels: np.ndarray) -> bytes:
    """Deflate a block."""
    return zlib.compress(np.ascontiguousarray(pixels).data, FASTEST)


def unpack_block(packed: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels of a block.

    Raises
    ------
    ValueError, zlib.error
        If they are not those of a block of this shape.
    """
    return np.frombuffer(zlib.decompress(packed), dtype).reshape(shape)


def encode_blocks(blocks: Iterable[tuple[int, bytes]]) -> bytes:
    """Return one record of several deflated blocks: they count all together or not at all."""
    return encode(Kind.BLOCKS, b"".join(_BLOCK.pack(number, len(pixels)) + pixels for number, pixels in blocks))


def decode_blocks(payload: bytes) -> Iterator[Packed]:
    """Yield the blocks of a record."""
    at = 0
    while at < len(payload):
        number, length = _BLOCK.unpack_from(payload, at)
        at += _BLOCK.size
        yield Packed(number, at, payload[at : at + length])
        at += length


def encode_json(kind: Kind, document: Mapping[str, Any]) -> bytes:
    """Return a record of a JSON document; NumPy numbers and paths become plain values, NaN stays."""
    return encode(kind, json.dumps(document, default=_plain, separators=(",", ":")).encode())


def _checksum(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<BQ", kind, len(payload))))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value)

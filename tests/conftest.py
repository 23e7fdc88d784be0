"""What every test gets: its own home for models, no network, fixed seeds, few threads."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.register_assert_rewrite("segloop.testing")

NUCLEI = Path(__file__).parent / "data" / "nuclei"
LOCAL = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def segloop_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the user's own models and journals to an empty folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SEGLOOP_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOCAL:
            pytest.fail(f"a test tried to reach {address[0]}; SegLoop must work without a network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Start every test from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that still draw from the global state
    import torch

    torch.manual_seed(0)
    # two threads give the same sums on every machine and leave room for others
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def nuclei() -> Path:
    """The folder of ten small real images: ``images/*.png`` and ``labels/*.tif`` of equal stems."""
    return NUCLEI

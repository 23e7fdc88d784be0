"""Networks of a few channels: more threads would only wait for each other."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread(seeded: None) -> None:
    torch.set_num_threads(1)

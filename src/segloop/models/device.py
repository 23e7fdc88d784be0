"""Where and how the network computes."""

from __future__ import annotations

from enum import Enum

import torch

from segloop.errors import SettingsError


class Device(Enum):
    """The device asked for; AUTO takes CUDA, then Apple's MPS, then the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def resolve(self) -> torch.device:
        """Return the torch device.

        Raises
        ------
        SettingsError
            If a device was named that this machine does not have.
        """
        available = {
            Device.CUDA: torch.cuda.is_available(),
            Device.MPS: torch.backends.mps.is_available(),
            Device.CPU: True,
        }
        if self is Device.AUTO:
            return torch.device(next(device.value for device, here in available.items() if here))
        if not available[self]:
            raise SettingsError(f"device {self.value!r} is not available on this machine; use auto or cpu")
        return torch.device(self.value)


def has_fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware. Without it, bfloat16 is many times slower than float32."""
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("arm_bf16", False))

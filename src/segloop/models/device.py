"""Where and how precisely the network computes."""

from __future__ import annotations

from enum import Enum
from functools import cache

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


class Precision(Enum):
    """The numbers that the network computes with; AUTO takes bfloat16 where the device multiplies it in hardware.

    bfloat16 has float32's range and 8 bits of precision. Weights, normalisation, boxes and sums stay float32.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    def resolve(self, device: torch.device) -> torch.dtype:
        """Return the torch dtype for ``device``.

        Raises
        ------
        SettingsError
            If bfloat16 was asked for by name where it would be many times slower than float32.
        """
        fast = has_fast_bfloat16(device)
        if self is Precision.BFLOAT16 and not fast:
            raise SettingsError(f"device {device.type!r} has no bfloat16 arithmetic; use precision auto or float32")
        return torch.bfloat16 if fast and self is not Precision.FLOAT32 else torch.float32


CPU = torch.device("cpu")


def has_fast_bfloat16(device: torch.device = CPU) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware. Without it, bfloat16 is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_has_bfloat16()


@cache
def _cpu_has_bfloat16() -> bool:
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    hardware = any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))
    # the processor may have what torch's build (or ONEDNN_MAX_CPU_ISA) does not use
    return bool(hardware and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())

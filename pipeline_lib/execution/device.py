"""The device and the precision of a run, from the untracked `runtime` section of params.yaml and the machine."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from pipeline_lib.params.runtime import RuntimeParams

CPU_INFO = Path("/proc/cpuinfo")
# CPU flags of x86 and ARM with bf16 matrix products in hardware; other CPUs emulate them, about ten times slower.
BF16_FLAGS = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16|svebf16)\b", re.MULTILINE)
# Smallest number of parameters with which a model trains faster in bf16 on a CPU. In smaller models the layers are too
# narrow for the tile units, and the conversions cost more than they save. Step speed in bf16 relative to fp32 with AMX:
# 1.5 M parameters 0.5, MobileNetV2 (2.2 M) 0.9, ConvNeXt-atto (3.4 M) 0.9, ResNet-10-T (4.9 M) 2.1, ResNet-18 2.3.
MIN_PARAMETERS_FOR_BF16 = 4_000_000

# Images or texts of a forward pass without gradients. On a CPU more are not faster: MobileNetV2 at 224 px computes 117
# photos/s in batches of 64 and 91 to 121 in larger ones, with 1.8 GB instead of 4.5.
BATCH_SIZES = {"cuda": 256, "cpu": 64}


def read_runtime() -> "RuntimeParams":
    """Return the runtime section of params.yaml."""
    # Slow to import, and not needed by a stage that runs as a fork.
    from pipeline_lib.params.runtime import RuntimeParams
    from pipeline_lib.params.section import load_params, parse_section

    return parse_section(RuntimeParams, load_params())


def pick_device(requested: str) -> str:
    """Return `cuda` or `cpu` for runtime.device; `auto` means the GPU if there is one.

    Raises ValueError for `cuda` without a visible CUDA device.
    """
    import torch  # slow to import, and not needed by stages without a model

    if requested == "cuda" and not torch.cuda.is_available():
        raise ValueError("params.yaml: runtime.device = 'cuda', but no CUDA device is visible; write auto or cpu")
    return "cuda" if requested != "cpu" and torch.cuda.is_available() else "cpu"


def inference_batch(requested: int | None, device: str) -> int:
    """Return how many images or texts one forward pass without gradients takes, for runtime.batch_size."""
    return requested or BATCH_SIZES[device]


def resolve_precision(requested: str, device: str, *modules: "nn.Module") -> str:
    """Return `fp32`, `tf32`, `fp16` or `bf16` for modules that run together.

    `auto` means bf16 if the device computes in bf16 without emulation and, on a CPU, if the modules are large enough,
    else fp32. Raises ValueError for `tf32` on a device without it.
    """
    if requested == "tf32" and not supports_tf32(device):
        raise ValueError(
            "precision = tf32 needs an NVIDIA GPU of compute capability 8.0 or later (Ampere); write auto, fp32 or fp16"
        )
    if requested != "auto":
        return requested
    if not supports_bf16(device):
        return "fp32"
    count = sum(value.numel() for module in modules for value in module.parameters())
    return "bf16" if device == "cuda" or count >= MIN_PARAMETERS_FOR_BF16 else "fp32"


def supports_bf16(device: str) -> bool:
    """Return whether a device computes in bf16 without emulation."""
    if device == "cuda":
        import torch  # slow to import

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return CPU_INFO.is_file() and has_bf16(CPU_INFO.read_text(encoding="utf-8"))


def supports_tf32(device: str) -> bool:
    """Return whether a device computes in TF32: GPUs from Ampere on."""
    if device != "cuda":
        return False
    import torch  # slow to import

    return torch.cuda.get_device_capability() >= (8, 0)


def has_bf16(cpu_info: str) -> bool:
    """Return whether the text of /proc/cpuinfo lists a flag of bf16 matrix products in hardware.

    >>> has_bf16("flags : fpu avx2 avx512f"), has_bf16("flags : avx512f avx512_bf16 amx_tile")
    (False, True)
    """
    return BF16_FLAGS.search(cpu_info) is not None

"""What the machine offers: workers and devices, read from the untracked `runtime` section."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.params.runtime import RuntimeParams
from pipeline_lib.params.section import load_params, parse_section

if TYPE_CHECKING:
    from torch import nn

CPU_INFO = Path("/proc/cpuinfo")
# Flags of x86 and ARM processors whose matrix products run in bf16; all others emulate it, about ten times slower.
BF16_FLAGS = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16|svebf16)\b", re.MULTILINE)
# Fewest parameters of a model that a processor trains faster in bf16. Below it layers are too narrow for the units that
# multiply whole tiles, and the conversions cost more than they save. Steps on a processor with AMX, bf16 against fp32:
# 1.5 M 0.5 times as fast, MobileNetV2 (2.2 M) 0.9, ConvNeXt-atto (3.4 M) 0.9, ResNet-10-T (4.9 M) 2.1, ResNet-18 2.3.
FEWEST_FOR_BF16 = 4_000_000


def read_runtime() -> RuntimeParams:
    """Return the runtime section of params.yaml."""
    return parse_section(RuntimeParams, load_params())


def pick_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; `auto` takes the GPU where there is one."""
    import torch  # slow to import, and stages without a model never need it

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("params.yaml: runtime.device = 'cuda', but no CUDA device is visible; write auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def pick_precision(wanted: str, device: str) -> str:
    """Return `fp32` or `bf16`; `auto` takes bf16 where the device computes in it and does not emulate it.

    On a processor that does, `auto` stays: `settle_precision` has to know the model.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "auto" if CPU_INFO.is_file() and has_bf16(CPU_INFO.read_text(encoding="utf-8")) else "fp32"


def settle_precision(picked: str, *modules: "nn.Module") -> str:
    """Return `fp32` or `bf16` for modules that are run together, `picked` being what `pick_precision` said."""
    if picked != "auto":
        return picked
    count = sum(value.numel() for module in modules for value in module.parameters())
    return "bf16" if count >= FEWEST_FOR_BF16 else "fp32"


def has_bf16(cpu_info: str) -> bool:
    """Tell from the text of /proc/cpuinfo whether the processor multiplies bf16 matrices itself.

    >>> has_bf16("flags : fpu avx2 avx512f"), has_bf16("flags : avx512f avx512_bf16 amx_tile")
    (False, True)
    """
    return BF16_FLAGS.search(cpu_info) is not None

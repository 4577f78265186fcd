"""The number formats of a forward and a backward pass: autocast, the scale of fp16's losses, TF32.

fp16 has gradients down to 6e-8 only, so its loss is multiplied by a scale that a `GradScaler` adapts: a step whose
gradients overflow is skipped. bf16 has the range of fp32 and needs no scale.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Precision -> the type that matrix products are computed in; fp32 and tf32 do not change any tensor's type.
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Whether float32 products round their inputs to TF32's 10 bits; PyTorch's default is no for matrices, yes for cuDNN.
USES_TF32 = {"fp32": False, "tf32": True}


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context in which a forward pass runs in a resolved precision."""
    return torch.autocast(device, AUTOCAST.get(precision, torch.bfloat16), enabled=precision in AUTOCAST)


def loss_scaler(device: str, precision: str) -> torch.amp.GradScaler:
    """Return the scaler of the losses; it does nothing unless the precision is fp16."""
    return torch.amp.GradScaler(device, enabled=precision == "fp16")


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Compute float32 products in TF32, or all in full float32, inside a `with` block; bf16 and fp16 change nothing."""
    if precision not in USES_TF32:
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    tf32 = USES_TF32[precision]
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]

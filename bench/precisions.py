"""Times a frozen image tower in the forms that could store its features: bf16, int8 and compiled, against float32.

    python bench/precisions.py

bf16 is autocast, as features.precision=bf16 is; int8 is PyTorch's dynamic quantisation of the linear layers; compiled
is torch.compile of the bf16 form. "Agrees" is the smallest cosine of a photo's vector with that of float32. The weights
are random: a ConvNeXt starts with a scale of 1e-6 on every block, which hides what int8 does to it.
"""

import argparse
import copy
import os
import tempfile
import time
import warnings

import timm
import torch
from results import Ratio, interleaved, report

TOWERS = ("vit_small_patch16_224", "convnext_tiny")
BATCH = 32


class Bf16(torch.nn.Module):
    """A tower under autocast."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, images):
        with torch.autocast("cpu", torch.bfloat16):
            return self.tower(images)


def int8(tower):
    """Return the tower with int8 linear layers; PyTorch says that another package will do this one day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(tower), {torch.nn.Linear}, dtype=torch.qint8)


def compiled(tower, images):
    """Return the compiled tower and the seconds until its first batch."""
    start = time.perf_counter()
    form = torch.compile(Bf16(copy.deepcopy(tower)))
    form(images)
    return form, time.perf_counter() - start


def rate(form, images):
    """Return photos a second of one batch."""
    start = time.perf_counter()
    form(images)
    return len(images) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as cache:
        # What another run compiled is not taken.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        measure(options)


@torch.inference_mode()
def measure(options):
    generator = torch.Generator().manual_seed(0)
    images, ratios, lines = torch.randn(BATCH, 3, 224, 224, generator=generator), [], []
    for name in TOWERS:
        torch.manual_seed(0)
        tower = timm.create_model(name, num_classes=0).eval()
        fast, seconds = compiled(tower, images)
        forms = {"bf16": Bf16(tower), "int8": int8(tower), "compiled bf16": fast}
        expected = tower(images)
        for label, form in forms.items():
            cosine = torch.cosine_similarity(expected, form(images).float()).min().item()
            values = interleaved(options.repetitions, lambda f=form: rate(f, images), lambda t=tower: rate(t, images))
            ratios.append(Ratio(f"{name}, {label} against float32", "photos/s", *values, "-"))
            lines.append(f"{name}, {label}: agrees to {cosine:.5f}.")
        lines.append(f"{name}: {seconds:.0f} s until the first compiled batch.")
    report("Number formats of frozen towers", f"Batches of {BATCH}. " + " ".join(lines), ratios, options.quick)


if __name__ == "__main__":
    main()

"""`auto` picks bf16 only on hardware that computes in bf16; elsewhere it is emulated and slow."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from torch import nn

from pipeline_lib.execution import device as runtime

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 {}\nbugs\t\t: none\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("avx512f avx512bw"), False),
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("model name\t: the bf16 processor\nflags\t: fpu\n", False),
        ("", False),
    ],
)
def test_bf16_support_depends_on_the_cpu_flags_only(text, expected, tmp_path, monkeypatch):
    assert runtime.has_bf16(text) is expected
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(runtime, "CPU_INFO", tmp_path / "cpuinfo")
    assert runtime.supports_bf16("cpu") is expected
    large = nn.Linear(runtime.MIN_PARAMETERS_FOR_BF16, 1, bias=False, device="meta")
    assert runtime.resolve_precision("auto", "cpu", large) == ("bf16" if expected else "fp32")


def test_an_explicit_precision_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "CPU_INFO", tmp_path / "none")
    assert [runtime.resolve_precision(name, "cpu") for name in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]


@pytest.mark.parametrize(
    ("requested", "count", "expected"),
    [
        ("auto", 1_518_898, "fp32"),
        ("auto", 4_000_000, "bf16"),
        ("auto", 3_999_999, "fp32"),
        ("bf16", 10, "bf16"),
        ("fp32", 10**9, "fp32"),
    ],
)
def test_auto_picks_bf16_on_a_cpu_for_large_enough_models(requested, count, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(X86.format("amx_bf16"))
    monkeypatch.setattr(runtime, "CPU_INFO", tmp_path / "cpuinfo")
    halves = [nn.Linear(part, 1, bias=False, device="meta") for part in (count // 2, count - count // 2)]
    assert runtime.resolve_precision(requested, "cpu", *halves) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_spin_for_a_bounded_time_unless_the_user_sets_it(variables, expected):
    """The check reads the settings that torch's libgomp prints when it is loaded; importing all of torch is slow."""
    named = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    library = Path(find_spec("torch").submodule_search_locations[0], "lib", "libgomp.so.1")
    code = f"import ctypes, pipeline_lib.execution.threads; ctypes.CDLL({str(library)!r})"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr


def test_a_forward_pass_takes_fewer_images_on_a_cpu_unless_the_user_sets_it():
    assert [runtime.inference_batch(None, device) for device in ("cpu", "cuda")] == [64, 256]
    assert [runtime.inference_batch(7, device) for device in ("cpu", "cuda")] == [7, 7]

"""What the machine offers beside what the settings ask for: cores, memory, shared memory, bf16, a GPU."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from pipeline_lib.execution.device import supports_bf16
from pipeline_lib.experiments.doctor.finding import NOTE, OK, PROBLEM, Finding, Params

CGROUP = Path("/sys/fs/cgroup")
SHARED = Path("/dev/shm")
QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
# Memory under which the sample's stages did not run, and shared memory of a container that was not given any.
LITTLE_MEMORY, LITTLE_SHARED = 4e9, 256e6
PRECISIONS = ("train", "embed", "features")


@dataclass(frozen=True)
class Cores:
    """CPU cores of the machine, those that this process may use, the quota of its cgroup (None without), and settings.

    `threads` is OMP_NUM_THREADS, None if it is not set.
    """

    machine: int
    allowed: int
    quota: float | None
    workers: int
    threads: str | None


def read_cores(root: Path, params: Params, cgroup: Path = CGROUP) -> Cores:
    """Return the cores and runtime.workers."""
    allowed = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS")
    return Cores(os.cpu_count() or 1, allowed, cpu_quota(cgroup), params["runtime"]["workers"], threads)


def cpu_quota(cgroup: Path) -> float | None:
    """Return the cores that a cgroup of version 2 or 1 allows, None without a limit."""
    new, old = cgroup / "cpu.max", cgroup / "cpu" / "cpu.cfs_quota_us"
    if new.is_file():
        quota, period = new.read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    if old.is_file() and (limit := int(old.read_text(encoding="utf-8"))) > 0:
        return limit / int(old.with_name("cpu.cfs_period_us").read_text(encoding="utf-8"))
    return None


def judge_cores(found: Cores) -> list[Finding]:
    """Return whether workers and threads fit the cores."""
    usable = max(1, int(min(found.allowed, found.quota or found.allowed)))
    findings = []
    if found.workers > usable:
        line = f"runtime.workers = {found.workers}, but this process may use {usable} of {found.machine} cores"
        findings.append(Finding(NOTE, line, f"set runtime.workers to {usable}"))
    if usable < found.allowed and found.threads is None:
        line = f"a quota gives {found.quota:g} cores, and libraries start {found.allowed} threads for {found.machine}"
        findings.append(Finding(NOTE, line, f"export OMP_NUM_THREADS={usable}"))
    return findings or [Finding(OK, f"{usable} of {found.machine} cores, runtime.workers = {found.workers}")]


@dataclass(frozen=True)
class Memory:
    """Bytes: of the machine, allowed by the cgroup (None without a limit), available now, shared and free of that."""

    machine: int
    limit: int | None
    available: int
    shared: int | None
    shared_free: int | None


def read_memory(root: Path, params: Params, cgroup: Path = CGROUP, shared: Path = SHARED) -> Memory:
    """Return the memory of the machine and of its shared-memory folder."""
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(shared) if shared.is_dir() else None
    return Memory(
        memory.total, memory_limit(cgroup), memory.available, disk and disk.total, disk and disk.free
    )  # fmt: skip


def memory_limit(cgroup: Path) -> int | None:
    """Return the bytes that a cgroup of version 2 or 1 allows, None without a limit."""
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        if file.is_file() and (text := file.read_text(encoding="utf-8").strip()).isdigit():
            return int(text) if int(text) < 2**60 else None  # version 1 writes a huge number for no limit
    return None


def judge_memory(found: Memory) -> list[Finding]:
    """Return whether memory and shared memory are enough to start."""
    usable = min(found.machine, found.limit or found.machine)
    findings = []
    if usable < LITTLE_MEMORY:
        line = f"{usable / 1e9:.1f} GB of memory; the sample needs {LITTLE_MEMORY / 1e9:.0f}"
        findings.append(Finding(NOTE, line, "lower runtime.batch_size, train.batch_size and runtime.cache_gb"))
    if found.shared is not None and found.shared < LITTLE_SHARED:
        line = f"{SHARED} has {found.shared / 1e6:.0f} MB; processes pass batches through it"
        findings.append(Finding(PROBLEM, line, "start the container with --shm-size=2g or --ipc=host"))
    elif found.shared_free is not None and found.shared_free < LITTLE_SHARED:
        line = f"{SHARED} is nearly full: {found.shared_free / 1e6:.0f} MB free"
        findings.append(Finding(PROBLEM, line, f"see what ended processes left there: ls -la {SHARED}"))
    shared = "" if found.shared is None else f", {found.shared / 1e9:.1f} GB shared"
    text = f"{usable / 1e9:.1f} GB of memory, {found.available / 1e9:.1f} available{shared}"
    return findings or [Finding(OK, text)]


@dataclass(frozen=True)
class Gpu:
    """Lines of nvidia-smi (name, memory, driver), the CUDA that torch was built for (None: CPU), and the settings.

    `native_bf16` is that of the CPU; `precisions` are setting -> value.
    """

    names: list[str]
    torch_cuda: str | None
    device: str
    native_bf16: bool
    precisions: dict[str, str]


def read_gpu(root: Path, params: Params) -> Gpu:
    """Return the GPUs without importing torch, which takes seconds."""
    names = []
    if shutil.which(QUERY[0]):
        done = subprocess.run(QUERY, capture_output=True, text=True, check=False)
        names = done.stdout.strip().splitlines() if done.returncode == 0 else []
    precisions = {f"{section}.precision": params[section]["precision"] for section in PRECISIONS}
    return Gpu(names, torch_cuda(), params["runtime"]["device"], supports_bf16("cpu"), precisions)


def torch_cuda() -> str | None:
    """Return the version of CUDA that torch was built for, from its file of versions; None for a CPU build."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    text = file.read_text(encoding="utf-8") if file and file.is_file() else ""
    match = re.search(r"^cuda[^=]*= '([\d.]+)'", text, re.MULTILINE)
    return match[1] if match else None


def judge_gpu(found: Gpu) -> list[Finding]:
    """Return whether the device and the precision of the settings are there."""
    if found.names and found.torch_cuda is None:
        line = f"{'; '.join(found.names)}, but this torch is built for CPUs alone"
        return [Finding(PROBLEM, line, "install a CUDA build of torch, or set runtime.device to cpu")]
    if found.names:
        return [Finding(OK, f"{'; '.join(found.names)}; torch for CUDA {found.torch_cuda}")]
    if found.device == "cuda":
        return [Finding(PROBLEM, "runtime.device = cuda, but no GPU is visible", "set it to auto or cpu")]
    emulated = [key for key, value in found.precisions.items() if value == "bf16"]
    if emulated and not found.native_bf16:
        line = f"{', '.join(emulated)} = bf16, which this CPU emulates, about ten times slower than fp32"
        return [Finding(NOTE, line, "set it to auto or fp32")]
    tf32 = [key for key, value in found.precisions.items() if value == "tf32"]
    if tf32:
        return [Finding(PROBLEM, f"{', '.join(tf32)} = tf32, which needs a GPU", "set it to auto or fp32")]
    bf16 = "bf16 in hardware" if found.native_bf16 else "no bf16 in hardware, so `auto` is fp32"
    return [Finding(OK, f"no GPU: everything runs on the CPU ({bf16})")]

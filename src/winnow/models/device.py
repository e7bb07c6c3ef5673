"""The device that models run on: its precision, speed and memory."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(name in flags.read_text() for name in ("amx_bf16", "avx512_bf16"))


def precision(wanted: str, device: torch.device) -> str:
    """Resolve `auto` to bf16 or fp32 for the device."""
    if wanted == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return wanted


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured FLOP/s of square matrix products on the device; takes a fraction of a second."""
    size, repeats = (4096, 20) if device.type == "cuda" else (768, 8)
    left = torch.randn(size, size, device=device, dtype=dtype)
    left @ left
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        left @ left
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def device_memory(device: torch.device) -> int:
    """Bytes that the device has: a GPU's own, else the machine's, or what its container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text().strip() if limit.exists() else ""
    return min(machine, int(words)) if words.isdigit() else machine


def watch_memory(device: torch.device) -> Callable[[], float | None]:
    """Watch the memory from now on.

    Returns:
        A function that says the peak since then, in GB: of a GPU what torch held, else what the
        process held beyond now (None where Linux's /proc does not say it).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    except OSError:
        return lambda: None

    def kilobytes(name: str) -> int:
        (line,) = [line for line in status.read_text().splitlines() if line.startswith(name)]
        return int(line.split()[1])

    before = kilobytes("VmRSS")
    return lambda: (kilobytes("VmHWM") - before) * 1024 / 1e9


def environment() -> str:
    """The machine in words, and the processes if several, for the record of a measurement."""
    cpu = f"cpu, {os.cpu_count()} cores"
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    processes = PartialState().num_processes
    return name if processes == 1 else f"{name}, {processes} processes"

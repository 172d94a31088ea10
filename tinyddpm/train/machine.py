"""What the machine can do: its device, its memory, its threads."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch

from ..door import check_name
from .config import CHOICES

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What glibc calls two of its settings."""

AT_ONCE, PIXELS = 500, 500 * 16**2
"""How many samples are made at a time, and of how many pixels at most, to save memory."""


def device_of(kind: str) -> torch.device:
    """The device of a name: "auto" is the GPU if there is one; of several, the one that torchrun gave to this process.

    Raises:
        ValueError: when there is no such device here.
    """
    check_name("device", kind, CHOICES["device"])
    if kind == "cpu" or not torch.cuda.is_available():
        if kind == "cuda":
            raise ValueError("device must be cpu or auto here: PyTorch finds no GPU")
        return torch.device("cpu")
    number, count = whole_from("LOCAL_RANK", 0), torch.cuda.device_count()
    if number >= count:
        raise ValueError(f"LOCAL_RANK must lie below the number of GPUs, {count}, got {number}")
    return torch.device("cuda", number)


def whole_from(variable: str, lowest: int) -> int:
    """A whole number from the environment, where torchrun says what each process is; the lowest if nothing is said.

    Raises:
        ValueError: when it is none.
    """
    text = os.environ.get(variable, str(lowest))
    if not text.isdecimal() or int(text) < lowest:
        raise ValueError(f"{variable} in the environment must be a whole number from {lowest}, got {text!r}")
    return int(text)


def half_pays(device: torch.device, shape: tuple[int, ...]) -> bool:
    """Whether to compute in bfloat16: where the processor has it and, on a CPU, pictures are large enough to gain by it."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # which older versions do not tell
    return bool(able.get("avx512_bf16")) and math.prod(shape[1:]) > 16 * 16


def seed_here(seed: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and of this device; `torch.manual_seed` would seed every GPU there is."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def in_precision(precision: str, device: torch.device) -> Iterator[None]:
    """For a while, float32 on a GPU has all its digits if it was asked for; else products and convolutions are in TF32."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread for a while: sums come out the same on any number of cores, and small networks lose nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compile_mode(device: torch.device, parts: int = 1) -> str:
    """How `torch.compile` compiles a network: on a GPU with CUDA graphs.

    Not with several processes, whose messages run beside the network, nor with a batch in parts, of which the second
    would be written over the gradients of the first.
    """
    return "reduce-overhead" if device.type == "cuda" and parts == 1 else "default"


def keep_memory() -> None:
    """Have the C library keep what is freed, for the next step: else each step asks for it anew, page by page.

    It costs some memory and saves a tenth of the time with networks this small. Elsewhere than in glibc nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def at_once(shape: tuple[int, ...]) -> int:
    """How many samples of this shape are made at a time."""
    return max(1, min(AT_ONCE, PIXELS // math.prod(shape[1:])))


def peak_memory_mb(device: torch.device) -> float | None:
    """The most memory held so far: the GPU's, or this process's; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

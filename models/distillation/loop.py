"""One step: parts of a batch -> embeddings -> loss of the whole -> gradients.

A contrastive loss of a whole batch is not the mean of its parts' losses. With accumulate
above 1 every part is embedded without a graph, the loss is computed on all embeddings,
and every part is embedded again to carry its rows' gradient back (GradCache,
arXiv:2101.06983): the gradient is that of the whole batch, in the memory of one part.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.distillation.errors import NotFinite

BETAS: Final = (0.9, 0.98)
REFERENCE_BATCH: Final = 1024  # that a recipe's learning rate is for
M_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc
M_MMAP_MAX: Final = -4

# (B, D) image, (B, D) text -> the loss of the whole batch and a report of it.
LossOf = Callable[[Tensor, Tensor], tuple[Tensor, Any]]
Forward = Callable[[slice], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Stepped:
    """What a step gave, beside its gradients."""

    loss: float
    report: Any
    image: Tensor  # (B, D) this process's rows, constants
    text: Tensor


def compute(
    forward: Forward, count: int, parts: int, loss_of: LossOf, module: nn.Module | None = None
) -> Stepped:
    """Gradients of one batch of `count` rows in `parts` parts, added to .grad.

    forward: rows -> embeddings. module: the wrapped student, whose processes are to agree
    once a step and not once a part.
    """
    if parts == 1:
        image, text = forward(slice(0, count))
        loss, report = loss_of(image, text)
        _require_finite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        return Stepped(float(loss.detach()), report, image.detach(), text.detach())
    size = count // parts
    slices = [slice(start, start + size) for start in range(0, count, size)]
    states: list[Tensor] = []
    rows: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for chosen in slices:
            states.append(torch.get_rng_state())  # the second pass drops the same units
            rows.append(forward(chosen))
    image = torch.cat([pair[0] for pair in rows]).detach().requires_grad_()
    text = torch.cat([pair[1] for pair in rows]).detach().requires_grad_()
    loss, report = loss_of(image, text)
    _require_finite(loss)
    loss.backward()  # type: ignore[no-untyped-call]
    after = torch.get_rng_state()
    for number, chosen in enumerate(slices):
        torch.set_rng_state(states[number])
        last = number == len(slices) - 1
        with contextlib.nullcontext() if last else unsynchronised(module):
            again = forward(chosen)
            grads = [_zeros_if_none(side)[chosen] for side in (image, text)]
            # As one product, because DistributedDataParallel wants one backward a step.
            total = sum(
                (mine * grad.to(mine.dtype)).sum() for mine, grad in zip(again, grads, strict=True)
            )
            assert isinstance(total, Tensor)
            if total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
    torch.set_rng_state(after)
    return Stepped(float(loss.detach()), report, image.detach(), text.detach())


def _zeros_if_none(side: Tensor) -> Tensor:
    return torch.zeros_like(side) if side.grad is None else side.grad


@contextlib.contextmanager
def unsynchronised(module: nn.Module | None) -> Iterator[None]:
    """Leave gradients of this part to this process for now."""
    if isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    else:
        yield


def _require_finite(loss: Tensor) -> None:
    if not bool(torch.isfinite(loss)):
        raise NotFinite(f"the loss is {float(loss)}; lower learning_rate, or look at the input")


def parameter_groups(modules: Sequence[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and temperatures do not."""
    learned = [p for module in modules for p in module.parameters() if p.requires_grad]
    if not learned:
        raise ValueError("nothing to learn: every parameter is frozen")
    decayed = [p for p in learned if p.ndim >= 2]
    kept = [p for p in learned if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def rate(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate: linear warm-up, then half a cosine to zero."""
    ramp = max(1, round(warmup * steps))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))


def freeze_norms(module: nn.Module) -> None:
    """Batch norms keep the statistics they have: a part of a batch has others than the whole,
    and each process others than all together."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


def keep_memory() -> bool:
    """Have the C library keep freed memory for the next step; whether it can.

    glibc gives blocks of 32 MB and more back to the kernel at once, and gets them again, page by
    page and zeroed, for the next layer: half of a large batch's time. For programs only: it
    holds for the whole process, whose memory no longer shrinks.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def autocast(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)

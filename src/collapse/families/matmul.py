"""``x W' + b`` on a CPU through oneDNN, which torch ships beside MKL.

torch multiplies float32 matrices with MKL, which runs AVX2 code on AMD processors; oneDNN runs AVX-512 where there is
any, twice as fast on those and as fast elsewhere. It prepares code for each new shape in a third of a millisecond: let
few shapes occur. Where oneDNN is missing, or for tensors that are not float32 on a CPU, `linear` is torch's own.
"""

import platform

import torch
from torch import Tensor
from torch.nn import functional

AVAILABLE = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""Whether products go through oneDNN."""


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W' + b. Shapes: x (N, I), weight (O, I) of any strides, bias (O,), result (N, O)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """The product with its derivatives: dX = G W, dW = G' X, db = sum of G's rows."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        # dW or its transpose: the wider side is faster as the rows of the second factor
        wide = weight.shape[1] >= weight.shape[0]
        dw = _product(g.t(), x.t()) if wide else _product(x.t(), g.t()).t()
        return _product(g, weight.t()), dw, g.sum(0) if ctx.biased else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W' + b with first derivatives. Shapes: x (..., I), weight (O, I), bias (O,), result (..., O)."""
    if not (AVAILABLE and x.dtype == torch.float32 and x.device.type == "cpu"):
        return functional.linear(x, weight, bias)
    product = _Linear.apply if torch.is_grad_enabled() else _product
    return product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], weight.shape[0])

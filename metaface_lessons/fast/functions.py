"""Convolution, max-pooling and normalisation whose derivatives have derivatives in closed form.

Second-order MAML differentiates its inner gradients. Autograd can do that for every operation, but takes many passes
over memory for what a formula does in two or three. So each operation here is a pair of `torch.autograd.Function`s, the
operation and its backward, and the backward of the backward is written out: once more in terms of the same pair, where
it can be.

Feature maps are `[S, H, W, T·C]`, channels last in memory: S images of each of T tasks. Within a formula, g is the
gradient with respect to an operation's output; u and v are the gradients with respect to what its backward returns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


def convolve(x: Tensor, w: Tensor, groups: int, stride: int = 1) -> Tensor:
    """Convolution of x `[S, H, W, T·C]` with w `[T·F, 3, 3, C]`, T groups, padding 1 → `[S, H', W', T·F]`.

    With w `[T·F, 1, 1, C]` there is no padding: of patches, this is their product with a matrix.
    """
    return _Convolve.apply(x, w, groups, stride)


class _Convolve(Function):
    """y = x ∗ w, linear in both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, groups: int, stride: int) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.how = groups, stride
        return _nhwc(torch.conv2d(_nchw(x), _nchw(w), None, stride, w.shape[1] // 2, 1, groups))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        return *_ConvolveBackward.apply(g, x, w, *ctx.how, x.requires_grad), None, None


class _ConvolveBackward(Function):
    """(g, x, w) → (∂x, ∂w) = (g ⋆ w, g ⋆ x): the correlations that are adjoint to the convolution in x and in w.

    ⟨u, ∂x⟩ + ⟨v, ∂w⟩ = ⟨u ∗ w, g⟩ + ⟨x ∗ v, g⟩. Read as a function of g its gradient is u ∗ w + x ∗ v; read as one of
    x and w it is this very operation at (g, u, v), with v in the place of the weights and u in that of the images.
    Where x is data, not learned, there is no ∂x and no u.
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, groups: int, stride: int, learned: bool
    ) -> tuple[Tensor | None, Tensor]:
        ctx.save_for_backward(*(g, x, w) if learned else (None, x, None))
        ctx.how = groups, stride
        how = [stride] * 2, [w.shape[1] // 2] * 2, [1, 1], False, [0, 0], groups, [learned, True, False]
        dx, dw, _ = aten.convolution_backward(_nchw(g), _nchw(x), _nchw(w), None, *how)
        return None if dx is None else _nhwc(dx), _nhwc(dw)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None, v: Tensor) -> tuple[Tensor | None, ...]:
        g, x, w = ctx.saved_tensors
        if u is None:
            return convolve(x, v, *ctx.how), None, None, None, None, None
        dg = convolve(u, w, *ctx.how) + convolve(x, v, *ctx.how)
        return dg, *_ConvolveBackward.apply(g, u, v, *ctx.how, True), None, None, None


def _nchw(x: Tensor) -> Tensor:
    """A view, in the order in which torch's operations name the dimensions; the memory stays channels last."""
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def relu(x: Tensor) -> Tensor:
    """ReLU. Autograd's own would send a gradient of zeros back through its output."""
    return _ReLU.apply(x)


class _ReLU(Function):
    """y = max(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.relu()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _ReLUBackward.apply(g, *ctx.saved_tensors)


class _ReLUBackward(Function):
    """g where y > 0, and so is its gradient."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return aten.threshold_backward(g, y, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None]:
        return aten.threshold_backward(u, *ctx.saved_tensors, 0), None


def max_pool(x: Tensor) -> Tensor:
    """2×2 max-pooling: `[S, H, W, C]` → `[S, H // 2, W // 2, C]`."""
    return _MaxPool.apply(x)


def _winners(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each 2×2 window, and where it is: h·W + w, both `[S, H // 2, W // 2, C]`."""
    value, index = aten.max_pool2d_with_indices(_nchw(x), [2, 2], [2, 2])
    return _nhwc(value), _nhwc(index)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """The winners' values in x: max-pooling is this linear operation, as long as the winners stay the same."""
    return x.flatten(1, 2).gather(1, index.flatten(1, 2)).view(index.shape)


def _put(x: Tensor, g: Tensor, index: Tensor) -> Tensor:
    """Add g to x, in place, where the winners are: the adjoint of `_pick`."""
    x.view(len(x), -1, x.shape[-1]).scatter_add_(1, index.flatten(1, 2), g.flatten(1, 2))
    return x


class _MaxPool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        value, index = _winners(x)
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _MaxPoolBackward.apply(g, *ctx.saved_tensors, ctx.shape)


class _MaxPoolBackward(Function):
    """g goes to the winners, and u comes from them."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, index: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(index)
        x = g.new_empty(shape)  # of which only the shape is read
        how = [2, 2], [2, 2], [0, 0], [1, 1], False
        return _nhwc(aten.max_pool2d_with_indices_backward(_nchw(g), _nchw(x), *how, _nchw(index)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None, None]:
        return _pick(u, *ctx.saved_tensors), None, None


def normalise(
    y: Tensor, weight: Tensor, bias: Tensor, eps: float, first: int | None = None, pool: bool = False
) -> Tensor:
    """ReLU of batch normalisation, each image's channels by the statistics of the first `first` images (None: of all).

    pool: 2×2 max-pooling besides. It commutes with what is rising, so it is done first: weights must not be negative.
    y `[S, H, W, C]`, weight and bias `[C]` → `[S, H, W, C]`, or `[S, H // 2, W // 2, C]`.
    """
    return _Normalise.apply(y, weight, bias, eps, first, pool)


def _sums(u: Tensor, y: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel, Σ u and Σ u·ŷ with ŷ = (y − mean)·scale, in one pass over memory."""
    two = [False, True, True]
    _, dot, total = aten.native_batch_norm_backward(_nchw(u), _nchw(y), None, None, None, mean, scale, True, 0.0, two)
    return total, dot


class _Normalise(Function):
    """out = ReLU(γ·Pŷ + β), ŷ = (y − μ)/σ. P picks the winners of pooling, or is the identity.

    μ and σ² (with eps in it) are mean and variance of y over the M values of a channel in the known images, K.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, bias: Tensor, eps: float, first: int | None, pool: bool) -> Tensor:
        picked, index = _winners(y) if pool else (y, None)
        if first is None and not pool:  # torch's own does all at once; scale = 1/σ
            out, mean, scale = torch.native_batch_norm(_nchw(y), weight, bias, None, None, True, 0.0, eps)
            out = _nhwc(out).relu_()
        else:
            mean, variance = torch.batch_norm_update_stats(_nchw(y[:first]), None, None, 0.0)
            scale = (variance + eps).rsqrt()
            out = torch.addcmul(bias - mean * scale * weight, picked, scale * weight).relu_()
        ctx.save_for_backward(y, weight, picked, index, out, mean, scale)
        ctx.first = first
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        grads = _NormaliseBackward.apply(g, *ctx.saved_tensors, ctx.first)
        return *grads, None, None, None


class _NormaliseBackward(Function):
    """(g, y, γ) → (∂y, ∂γ, ∂β). With m = g where out > 0, and P' the adjoint of P, sums over all images:

        ∂β = Σ m,    ∂γ = Σ m·Pŷ,    ∂y = γ/σ · (P'm − [K]·(∂β + ŷ·∂γ)/M)

    where [K] is 1 for the known images and 0 for others: they alone move μ and σ.
    """

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        y: Tensor,
        weight: Tensor,
        picked: Tensor,
        index: Tensor | None,
        out: Tensor,
        mean: Tensor,
        scale: Tensor,
        first: int | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        m = aten.threshold_backward(g, out, 0)
        if first is None and index is None:
            known = _nchw(m), _nchw(y), weight, None, None, mean, scale, True, 0.0
            dy, dweight, dbias = aten.native_batch_norm_backward(*known, [True, True, True])
            dy = _nhwc(dy)
        else:
            dbias, dweight = _sums(m, picked, mean, scale)
            a, count = weight * scale, y[:first, ..., 0].numel()
            dy = _affine(y, first, -a * dweight / count, -a * dbias / count, mean, scale)
            dy = _put_scaled(dy, m, a, index)
        ctx.save_for_backward(m, y, weight, picked, index, out, mean, scale, dbias, dweight)
        ctx.first = first
        return dy, dweight, dbias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of ⟨u, ∂y⟩ + ⟨v, ∂γ⟩ + ⟨w, ∂β⟩. With s = Σ u and t = Σ u·ŷ over the known images,

            ∂g = [out > 0]·(γ/σ · (Pu − (s + t·Pŷ)/M) + v·Pŷ + w)
            ∂γ = ⟨u, ∂y⟩/γ = 1/σ · (⟨Pu, m⟩ − (s·∂β + t·∂γ)/M)

        y acts through ŷ, with gradient h = p·[K]·u + q·P'm, p = −γ/σ · ∂γ/M and q = v − γ/σ · t/M, and through the
        factor 1/σ, whose gradient along ŷ is −⟨u, ∂y⟩·ŷ/M:

            ∂y = 1/σ · (h − [K]·(Σ h + ŷ·(Σ h·ŷ + ⟨u, ∂y⟩))/M)
        """
        m, y, weight, picked, index, out, mean, scale, dbias, dweight = ctx.saved_tensors
        first = ctx.first
        count = y[:first, ..., 0].numel()
        a = weight * scale
        s, t = _sums(u[:first], y[:first], mean, scale)
        pu = u if index is None else _pick(u, index)

        k = v - a * t / count
        dg = torch.addcmul(w - a * s / count - k * scale * mean, picked, k * scale).addcmul_(pu, a)
        dg = aten.threshold_backward(dg, out, 0)
        dweight2 = scale * ((pu * m).sum((0, 1, 2)) - (s * dbias + t * dweight) / count)

        p, q = -a * dweight / count, k
        total, dot = p * s + q * dbias, p * t + q * dweight
        dy = _affine(y, first, -scale * (dot + weight * dweight2) / count, -scale * total / count, mean, scale)
        dy[:first].addcmul_(u[:first], scale * p)
        return dg, _put_scaled(dy, m, scale * q, index), dweight2, None, None, None, None, None, None


def _affine(y: Tensor, first: int | None, a: Tensor, b: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """a·ŷ + b for the first images, 0 for others."""
    if first is None:
        return torch.addcmul(b - a * scale * mean, y, a * scale)
    out = torch.zeros_like(y)
    torch.addcmul(b - a * scale * mean, y[:first], a * scale, out=out[:first])
    return out


def _put_scaled(x: Tensor, m: Tensor, a: Tensor, index: Tensor | None) -> Tensor:
    """x + P'(a·m), in place."""
    return x.addcmul_(m, a) if index is None else _put(x, m * a, index)

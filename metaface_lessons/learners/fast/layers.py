"""The layers of Conv-4, each with four passes: forward, backward, and how both change when the weights move.

An inner step needs the gradient of a loss. Second-order MAML also needs the product of the loss's Hessian with a vector
v, which is how that gradient changes as the weights move along v. Pearlmutter (1994) computes it without a graph of the
backward pass. Differentiate every line of the forward and the backward pass along ẇ = v. The derivative of the forward
pass is how each map changes, ẏ. The derivative of the backward pass is how each gradient changes, and that of the
weights' gradient is the Hessian times v.

Here g is the gradient with respect to y; ∂x and ∂w are the gradients that follow from it. A dot is a derivative along
v; in code it is `x_dot`. A layer remembers what these passes share. They come in this order:

    forward            x, w → y
    backward           g → ∂x, ∂w
    tangent            ẋ, ẇ → ẏ
    tangent_backward   ġ → (∂x)˙, (∂w)˙

Feature maps are `[S, H, W, T·C]`, channels last in memory: S images of each of T tasks. Weights are `[T, …]`, and so
are their gradients. A pass may overwrite the map that it is given, but never the weights. So no layer may keep a map
that the next one may overwrite. ReLU and Normalisation keep the map that they make, so no ReLU may follow them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import MetaFaceError

aten = torch.ops.aten

CHUNK = 2**20  # numbers in a map that stays in a processor's cache between two operations: 4 MB of float32


class Layer(Protocol):
    """The four passes of a layer, explained above. An x that is data is given as None: it has no gradient.

    weights: how many tensors of weights the layer takes.
    """

    weights: int

    @property
    def forward(self) -> Callable[..., Tensor]: ...

    @property
    def backward(self) -> Callable[[Tensor], tuple[Any, ...]]: ...

    @property
    def tangent(self) -> Callable[..., Tensor]: ...

    @property
    def tangent_backward(self) -> Callable[[Tensor], tuple[Any, ...]]: ...


def convolve(x: Tensor, w: Tensor, groups: int, stride: int = 1) -> Tensor:
    """The convolution x ∗ w, in T groups, with padding 1: `[S, H', W', T·F]`.

    x: maps `[S, H, W, T·C]`.
    w: filters `[T·F, 3, 3, C]`; or `[T·F, 1, 1, C]`, without padding, which multiplies patches by a matrix.
    groups: T.
    stride: that of the convolution.
    """
    return _nhwc(torch.conv2d(_nchw(x), _nchw(w), None, stride, w.shape[1] // 2, 1, groups))


def correlate(g: Tensor, x: Tensor, w: Tensor, groups: int, stride: int = 1) -> tuple[Tensor, Tensor]:
    """g ⋆ w and g ⋆ x: the gradients of a convolution with respect to x and w, if g is that of its output."""
    dx, dw = _correlate(g, x, w, groups, stride, [True, True, False])
    return _nhwc(dx), _nhwc(dw)


def correlate_data(g: Tensor, x: Tensor, w: Tensor, groups: int, stride: int = 1) -> Tensor:
    """Only g ⋆ x, which has the shape of w."""
    return _nhwc(_correlate(g, x, w, groups, stride, [False, True, False])[1])


def _correlate(g: Tensor, x: Tensor, w: Tensor, groups: int, stride: int, which: list[bool]) -> tuple[Tensor, ...]:
    how = [stride] * 2, [w.shape[1] // 2] * 2, [1, 1], False, [0, 0], groups, which
    return aten.convolution_backward(_nchw(g), _nchw(x), _nchw(w), None, *how)[:2]


def join(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """`torch.cat`, which would copy even a single part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _nchw(x: Tensor) -> Tensor:
    """A view with the dimensions in the order that torch's operations expect; the memory stays channels last."""
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


class Convolution:
    """y = x ∗ w, with w `[T, F, C, 3, 3]`."""

    weights = 1

    def __init__(self, tasks: int, stride: int) -> None:
        self.how = tasks, stride

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        self.x, self.w = x, self._filters(w)
        return convolve(x, self.w, *self.how)

    def backward(self, g: Tensor) -> tuple[Tensor, Tensor]:
        self.g = g
        dx, dw = correlate(g, self.x, self.w, *self.how)
        return dx, self._weights(dw)

    def tangent(self, x_dot: Tensor, w_dot: Tensor) -> Tensor:
        """ẏ = ẋ ∗ w + x ∗ ẇ."""
        self.x_dot, self.w_dot = x_dot, self._filters(w_dot)
        return convolve(x_dot, self.w, *self.how).add_(convolve(self.x, self.w_dot, *self.how))

    def tangent_backward(self, g_dot: Tensor) -> tuple[Tensor, Tensor]:
        """ġ ⋆ w + g ⋆ ẇ and ġ ⋆ x + g ⋆ ẋ. The first is one correlation, with the channels side by side."""
        tasks, stride = self.how
        g = torch.cat([g_dot.unflatten(3, (tasks, -1)), self.g.unflatten(3, (tasks, -1))], dim=4).flatten(3)
        w = torch.cat([self.w.unflatten(0, (tasks, -1)), self.w_dot.unflatten(0, (tasks, -1))], dim=1).flatten(0, 1)
        dx, _ = _correlate(g, self.x, w, tasks, stride, [True, False, False])
        dw = correlate_data(g_dot, self.x, self.w, tasks, stride)
        dw.add_(correlate_data(self.g, self.x_dot, self.w, tasks, stride))
        return _nhwc(dx), self._weights(dw)

    def _filters(self, w: Tensor) -> Tensor:
        return w.permute(0, 1, 3, 4, 2).flatten(0, 1)

    def _weights(self, w: Tensor) -> Tensor:
        return w.unflatten(0, (self.how[0], -1)).permute(0, 1, 4, 2, 3)


class PatchConvolution:
    """The first convolution, of patches that are data: w `[T, F, K]` → `[S, H, W, T·F]`. It is linear in w.

    patches: `[S, H, W, T·K]`, of all tasks.
    """

    weights = 1

    def __init__(self, patches: Tensor) -> None:
        self.patches = patches

    def forward(self, x: None, w: Tensor) -> Tensor:
        self.w = w
        return self.tangent(None, w)

    def backward(self, g: Tensor) -> tuple[None, Tensor]:
        dw = correlate_data(g, self.patches, _pixels(self.w).flatten(0, 1), len(self.w))
        return None, dw.view(self.w.shape)

    def tangent(self, x_dot: None, w_dot: Tensor) -> Tensor:
        return convolve(self.patches, _pixels(w_dot).flatten(0, 1), len(w_dot))

    tangent_backward = backward


def _pixels(w: Tensor) -> Tensor:
    """Filters of one pixel: `[…, F, K]` → `[…, F, 1, 1, K]`."""
    return w[..., None, None, :]


class PooledPatchConvolution:
    """The first convolution and 2×2 max-pooling: w `[T, F, K]` → `[S, H // 2, W // 2, T·F]`.

    The map between the two is the largest of the network. It is made for some images of one task at a time, so that it
    is still in the processor's cache when it is pooled.

    patches: `[T, S, H, W, K]`.
    """

    weights = 1

    def __init__(self, patches: Tensor) -> None:
        self.patches = patches

    def forward(self, x: None, w: Tensor) -> Tensor:
        self.map = height, width, filters = *self.patches.shape[2:4], w.shape[1]
        images = len(self.patches[0]) if w.is_cuda else max(1, CHUNK // (height * width * filters))
        self.pieces = [patches.split(images) for patches in self.patches]
        self.index: list[list[Tensor]] = []
        self.w = _pixels(w).unbind()
        values = []
        for task, own in zip(self.pieces, self.w, strict=True):
            winners = [_winners(convolve(piece, own, 1)) for piece in task]
            values.append(join([value for value, _ in winners]))
            self.index.append([index for _, index in winners])
        return torch.cat(values, dim=3)

    def backward(self, g: Tensor) -> tuple[None, Tensor]:
        height, width, filters = self.map
        found = []
        for task, indices, own, part in zip(self.pieces, self.index, self.w, g.split(filters, dim=3), strict=True):
            pairs = zip(task, indices, part.split([len(index) for index in indices]), strict=True)
            each = [
                correlate_data(_put_back(some, index, (len(piece), height, width, filters)), piece, own, 1)
                for piece, index, some in pairs
            ]
            found.append(sum(each[1:], each[0]))
        return None, torch.stack(found).flatten(2)

    def tangent(self, x_dot: None, w_dot: Tensor) -> Tensor:
        values = []
        for task, indices, own in zip(self.pieces, self.index, _pixels(w_dot).unbind(), strict=True):
            pairs = zip(task, indices, strict=True)
            values.append(join([_pick(convolve(piece, own, 1), index) for piece, index in pairs]))
        return torch.cat(values, dim=3)

    tangent_backward = backward


def _winners(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each 2×2 window, and its place h·W + w; both `[S, H // 2, W // 2, C]`."""
    value, index = aten.max_pool2d_with_indices(_nchw(x), [2, 2], [2, 2])
    return _nhwc(value), _nhwc(index)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """The values of x at the winners. As long as the winners stay the same, max-pooling is this linear operation."""
    return x.flatten(1, 2).gather(1, index.flatten(1, 2)).view(index.shape)


def _put(x: Tensor, g: Tensor, index: Tensor) -> Tensor:
    """Add g to x, in place, where the winners are: the adjoint of `_pick`."""
    x.view(len(x), -1, x.shape[-1]).scatter_add_(1, index.flatten(1, 2), g.flatten(1, 2))
    return x


def _put_back(g: Tensor, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`_put` into a map of zeros, by a faster operation that torch has for it."""
    x = g.new_empty(shape)  # the operation reads only its shape
    how = [2, 2], [2, 2], [0, 0], [1, 1], False
    return _nhwc(aten.max_pool2d_with_indices_backward(_nchw(g.contiguous()), _nchw(x), *how, _nchw(index)))


class MaxPool:
    """2×2 max-pooling: `[S, H, W, C]` → `[S, H // 2, W // 2, C]`."""

    weights = 0

    def forward(self, x: Tensor) -> Tensor:
        self.shape = x.shape
        y, self.index = _winners(x)
        return y

    def backward(self, g: Tensor) -> tuple[Tensor]:
        return (_put_back(g, self.index, self.shape),)

    def tangent(self, x_dot: Tensor) -> Tensor:
        return _pick(x_dot, self.index)

    tangent_backward = backward


class ReLU:
    """y = max(x, 0)."""

    weights = 0

    def forward(self, x: Tensor) -> Tensor:
        self.y = x.relu_()
        return self.y

    def backward(self, g: Tensor) -> tuple[Tensor]:
        return (_where_positive(self.y, g),)

    def tangent(self, x_dot: Tensor) -> Tensor:
        return _where_positive(self.y, x_dot)

    tangent_backward = backward


def _where_positive(y: Tensor, g: Tensor) -> Tensor:
    """g where y > 0, else 0; in place."""
    return aten.threshold_backward.grad_input(g, y, 0, grad_input=g)


class Normalisation:
    """y = ReLU(γ·Px̂ + β) with x̂ = (x − μ)/σ. P picks the winners of 2×2 max-pooling, or is the identity.

    μ and σ² (which includes eps) are mean and variance over the M values that a channel has in the images that count;
    M is `self.count`. γ and β are `[T, C]`. Pooling commutes with a rising function, so it is done first, which leaves
    less to do. For that γ must not be negative.

    eps: added to the variance.
    first: how many images count, from the first on; None for all.
    pool: whether to pool.
    """

    weights = 2

    def __init__(self, eps: float, first: int | None, pool: bool = False) -> None:
        self.eps, self.first, self.pool = eps, first, pool
        self.index: Tensor | None = None  # places of the winners

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        self.shape, gamma, beta = gamma.shape, gamma.flatten(), beta.flatten()
        self.x, self.gamma, self.count = x, gamma, x[: self.first, ..., 0].numel()
        if self.count == 1:
            raise MetaFaceError(
                "A normalisation needs more than one value of each channel, but got one image with a map of one pixel."
                " Use more images, larger ones, or fewer blocks."
            )
        self.picked = x
        if self.pool:
            self.picked, self.index = _winners(x)
        if self.first is None and not self.pool:  # torch has one operation for this; scale = 1/σ
            y, self.mean, self.scale = torch.native_batch_norm(_nchw(x), gamma, beta, None, None, True, 0.0, self.eps)
            self.y = _nhwc(y).relu_()
        else:
            self.mean, variance = torch.batch_norm_update_stats(_nchw(x[: self.first]), None, None, 0.0)
            self.scale = (variance + self.eps).rsqrt()
            self.y = torch.addcmul(beta - gamma * self.scale * self.mean, self.picked, gamma * self.scale).relu_()
        self.a = gamma * self.scale
        return self.y

    def backward(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """∂x, ∂γ and ∂β, with m = g where y > 0 (elsewhere 0), a = γ/σ, and P' the adjoint of P:

            ∂β = Σ m,    ∂γ = Σ m·Px̂,    ∂x = a·(P'm − [counts]·(∂β + x̂·∂γ)/M)

        The sums are over all images. [counts] is 1 for images whose statistics count and 0 for others, because only
        the former move μ and σ.
        """
        self.m = m = _where_positive(self.y, g)
        if self.first is None and not self.pool:
            known = _nchw(m), _nchw(self.x), self.gamma, None, None, self.mean, self.scale, True, 0.0
            dx, self.dgamma, self.dbeta = aten.native_batch_norm_backward(*known, [True, True, True])
            return _nhwc(dx), *self._weights(self.dgamma, self.dbeta)
        self.dbeta, self.dgamma = self._sums(m, self.picked)
        dx = self._affine(-self.a * self.dgamma / self.count, -self.a * self.dbeta / self.count)
        return self._add(dx, m * self.a), *self._weights(self.dgamma, self.dbeta)

    def tangent(self, x_dot: Tensor, gamma_dot: Tensor, beta_dot: Tensor) -> Tensor:
        """ẏ: μ moves by s, the mean of ẋ, and σ by t, the mean of x̂·ẋ. So, where y > 0 (elsewhere ẏ is 0):

        x̂˙ = (ẋ − s − t·x̂)/σ,    ẏ = γ·Px̂˙ + γ̇·Px̂ + β̇
        """
        assert self.first is None  # an inner loop sees only the support set
        self.x_dot = x_dot
        total, dot = self._sums(x_dot, self.x)
        self.s, self.t = total / self.count, dot / self.count
        self.picked_dot = x_dot if self.index is None else _pick(x_dot, self.index)
        self.a_dot = (gamma_dot.flatten() - self.a * self.t) * self.scale
        shift = beta_dot.flatten() - self.a * self.s - self.a_dot * self.mean
        y_dot = torch.addcmul(shift, self.picked, self.a_dot).addcmul_(self.picked_dot, self.a)
        return _where_positive(self.y, y_dot)

    def tangent_backward(self, g_dot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The derivatives of ∂x, ∂γ and ∂β, with ṁ = ġ where y > 0 (elsewhere 0) and ȧ = γ̇/σ − a·t/σ:

            (∂β)˙ = Σ ṁ,    (∂γ)˙ = Σ (ṁ·Px̂ + m·Px̂˙),
            (∂x)˙ = P'(ȧ·m + a·ṁ) − (ȧ·(∂β + x̂·∂γ) + a·((∂β)˙ + x̂·(∂γ)˙ + x̂˙·∂γ))/M

        With x̂˙ = (ẋ − s − t·x̂)/σ the last is P'(ȧ·m + a·ṁ) − (shift + slope·x̂ + c·ẋ)/M.
        """
        m, m_dot, a, a_dot = self.m, _where_positive(self.y, g_dot), self.a, self.a_dot
        dbeta_dot, dgamma_dot = self._sums(m_dot, self.picked)
        also = (m * self.picked_dot).sum((0, 1, 2)) - self.s * self.dbeta - self.t * self.dgamma  # Σ m·Px̂˙, times σ
        dgamma_dot = dgamma_dot + self.scale * also
        c = a * self.scale * self.dgamma
        slope = a_dot * self.dgamma + a * dgamma_dot - c * self.t
        shift = a_dot * self.dbeta + a * dbeta_dot - c * self.s
        dx_dot = self._affine(-slope / self.count, -shift / self.count).addcmul_(self.x_dot, -c / self.count)
        return self._add(dx_dot, m_dot.mul_(a).addcmul_(m, a_dot)), *self._weights(dgamma_dot, dbeta_dot)

    def _weights(self, dgamma: Tensor, dbeta: Tensor) -> tuple[Tensor, Tensor]:
        return dgamma.view(self.shape), dbeta.view(self.shape)

    def _sums(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Σ u and Σ u·x̂ of each channel, in one pass over memory."""
        # The sums do not depend on γ, but on a GPU torch returns nothing for them if it is not given.
        how = self.gamma, None, None, self.mean, self.scale, True, 0.0, [False, True, True]
        _, dot, total = aten.native_batch_norm_backward(_nchw(u), _nchw(x), *how)
        return total, dot

    def _affine(self, a: Tensor, b: Tensor) -> Tensor:
        """a·x̂ + b for images whose statistics count, 0 for others."""
        a = a * self.scale
        shift = b - a * self.mean
        if self.first is None:
            return torch.addcmul(shift, self.x, a)
        out = torch.zeros_like(self.x)
        torch.addcmul(shift, self.x[: self.first], a, out=out[: self.first])
        return out

    def _add(self, x: Tensor, m: Tensor) -> Tensor:
        """x + P'm, in place."""
        return x.add_(m) if self.index is None else _put(x, m, self.index)


class Head:
    """The logits `[T, S, N]` of maps: p·wᵀ + b, with w `[T, N, D]`, b `[T, N]`, and the maps as points p."""

    weights = 2

    def forward(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        self.shape, self.w = x.shape, w
        self.points = self._points(x)
        return torch.baddbmm(b[:, None], self.points, w.mT)

    def backward(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.g = g
        return self._maps(g @ self.w), g.mT @ self.points, g.sum(1)

    def tangent(self, x_dot: Tensor, w_dot: Tensor, b_dot: Tensor) -> Tensor:
        self.points_dot, self.w_dot = self._points(x_dot), w_dot
        return torch.baddbmm(b_dot[:, None], self.points_dot, self.w.mT).baddbmm_(self.points, w_dot.mT)

    def tangent_backward(self, g_dot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dp_dot = (g_dot @ self.w).baddbmm_(self.g, self.w_dot)
        dw_dot = (g_dot.mT @ self.points).baddbmm_(self.g.mT, self.points_dot)
        return self._maps(dp_dot), dw_dot, g_dot.sum(1)

    def _points(self, x: Tensor) -> Tensor:
        tasks = len(self.w)
        return x.unflatten(-1, (tasks, -1)).permute(3, 0, 4, 1, 2).reshape(tasks, len(x), -1)

    def _maps(self, p: Tensor) -> Tensor:
        images, height, width, channels = self.shape
        p = p.view(len(p), images, channels // len(p), height, width)
        return p.permute(1, 3, 4, 0, 2).reshape(self.shape).contiguous()

"""Layers of the fast formulation: each pass against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from metaface_lessons.learners.fast import layers

LAYERS: dict[str, tuple[Callable[[], layers.Layer], list[tuple[int, ...]]]] = {  # and what it takes
    "convolution": (lambda: layers.Convolution(2, 1), [(3, 5, 4, 4), (2, 3, 2, 3, 3)]),
    "convolution with strides": (lambda: layers.Convolution(2, 2), [(3, 5, 4, 4), (2, 3, 2, 3, 3)]),
    "patches": (lambda: layers.PatchConvolution(random(3, 5, 4, 10)), [(2, 3, 5)]),
    "pooled patches": (lambda: layers.PooledPatchConvolution(random(2, 3, 5, 4, 5)), [(2, 3, 5)]),
    "pooling": (layers.MaxPool, [(3, 5, 4, 4)]),
    "ReLU": (layers.ReLU, [(3, 5, 4, 4)]),
    "normalisation": (lambda: layers.Normalisation(1e-5, None), [(3, 5, 4, 4), (2, 2), (2, 2)]),
    "normalisation by the first": (lambda: layers.Normalisation(1e-5, 2), [(3, 5, 4, 4), (2, 2), (2, 2)]),
    "pooled normalisation": (lambda: layers.Normalisation(1e-5, None, pool=True), [(3, 5, 4, 4), (2, 2), (2, 2)]),
    "pooled normalisation by the first": (
        lambda: layers.Normalisation(1e-5, 2, pool=True),
        [(3, 5, 4, 4), (2, 2), (2, 2)],
    ),
    "head": (layers.Head, [(3, 2, 2, 4), (2, 5, 8), (2, 5)]),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("kind", LAYERS)
def test_passes_of_a_layer_are_the_derivatives_of_one_another(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By central differences along a direction that moves inputs, weights and the gradient that comes back."""
    monkeypatch.setattr(layers, "CHUNK", 120)  # two images of the pooled patches at a time
    make, shapes = LAYERS[kind]
    data = [None] if "patches" in kind else []
    inputs, inputs_dot = ([random(*shape, seed=seed + i) for i, shape in enumerate(shapes)] for seed in (0, 100))
    if "pooled" in kind and len(inputs) == 3:
        inputs[1].abs_()  # the scale, which may not be negative when pooling comes first

    def run(e: float) -> tuple[Tensor, tuple[Any, ...]]:
        layer = make()
        y = layer.forward(*data, *(x + e * x_dot for x, x_dot in zip(inputs, inputs_dot, strict=True)))
        g, g_dot = random(*y.shape, seed=200), random(*y.shape, seed=300)
        return y.clone(), layer.backward(g + e * g_dot)

    (y, gradients), (after, gradients_after), (before, gradients_before) = (run(e) for e in (0.0, 1e-6, -1e-6))
    y_dot = (after - before) / 2e-6
    g, g_dot = random(*y.shape, seed=200), random(*y.shape, seed=300)
    along = torch.stack([(a * b).sum() for a, b in zip(gradients[len(data) :], inputs_dot, strict=True)])
    torch.testing.assert_close((y_dot * g).sum(), along.sum(), rtol=1e-7, atol=1e-7)  # adjoint to forward
    if kind.endswith("by the first"):
        return  # only queries are normalised so, and nothing differentiates their gradient

    layer = make()
    layer.forward(*data, *(x.clone() for x in inputs))
    layer.backward(g.clone())
    torch.testing.assert_close(layer.tangent(*data, *(x.clone() for x in inputs_dot)), y_dot, rtol=1e-7, atol=1e-7)
    found = layer.tangent_backward(g_dot.clone())
    assert len(found) == len(data) + len(inputs)
    assert found[: len(data)] == (None,) * len(data)
    for each, up, down in [*zip(found, gradients_after, gradients_before, strict=True)][len(data) :]:
        torch.testing.assert_close(each, (up - down) / 2e-6, rtol=1e-6, atol=1e-6)

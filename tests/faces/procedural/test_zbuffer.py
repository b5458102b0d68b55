"""The z-buffer, against brute force."""

from __future__ import annotations

import numpy as np
import torch

from metaface_lessons.faces.procedural.zbuffer import depth_map, zbuffer


def nearest_triangle(screen, faces, height, width):
    """By hand, in float64: for every pixel, the triangle of least depth at its centre."""
    seen = np.full((len(screen), height, width), -1)
    for m, corners in enumerate(screen.double().numpy()):
        for i in range(height):
            for j in range(width):
                best = 1.0
                for f, (a, b, c) in enumerate(faces.numpy()):
                    system = np.array([[*corners[k, :2], 1.0] for k in (a, b, c)]).T
                    if abs(np.linalg.det(system)) < 1e-9:
                        continue
                    weights = np.linalg.solve(system, [j + 0.5, i + 0.5, 1.0])
                    depth = weights @ corners[[a, b, c], 2]
                    if weights.min() >= 0 and 0 <= depth < best:
                        best, seen[m, i, j] = depth, f
    return seen


def test_zbuffer_agrees_with_brute_force():
    draw = torch.Generator().manual_seed(3)
    screen = torch.rand(2, 30, 3, generator=draw) * torch.tensor([20.0, 16.0, 1.1]) - torch.tensor([4.0, 4.0, 0.0])
    faces = torch.randint(30, (14, 3), generator=draw)
    seen = zbuffer(screen, faces, 9, 12)
    expected = nearest_triangle(screen, faces, 9, 12)
    assert (expected >= 0).mean() > 0.5
    np.testing.assert_array_equal(seen.face.numpy(), expected)
    torch.testing.assert_close(depth_map(screen, faces, 9, 12), seen.depth)


def test_zbuffer_weights_reconstruct_the_pixel():
    draw = torch.Generator().manual_seed(4)
    screen = torch.rand(1, 30, 3, generator=draw) * torch.tensor([12.0, 9.0, 1.0])
    faces = torch.randint(30, (14, 3), generator=draw)
    seen = zbuffer(screen, faces, 9, 12)
    place = (screen[0][seen.corners] * seen.weights[:, :, None]).sum(1)
    torch.testing.assert_close(place[:, 0], seen.pixels % 12 + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(place[:, 1], seen.pixels // 12 + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(place[:, 2], seen.depth.view(-1)[seen.pixels], atol=1e-4, rtol=0)


def test_zbuffer_leaves_out_backs_and_hidden_vertices():
    screen = torch.tensor([[[0.0, 0.0, 0.5], [0.0, 8.0, 0.5], [8.0, 0.0, 0.5]]])
    one = torch.tensor([True])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert (zbuffer(screen, front, 8, 8, one).face == 0).sum() > 20
    assert (zbuffer(screen, back, 8, 8, one).face == 0).sum() == 0
    assert (zbuffer(screen, back, 8, 8, ~one).face == 0).sum() > 20
    hidden = torch.tensor([[True, False, False]])
    assert (zbuffer(screen, front, 8, 8, one, hidden).face == 0).sum() == 0


def test_zbuffer_of_nothing_sees_nothing():
    seen = zbuffer(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]), 4, 4)
    assert len(seen.pixels) == 0
    assert (seen.depth == 1).all()

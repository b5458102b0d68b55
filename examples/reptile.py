"""Reptile in one file: recognise people by one picture of each, by gradient descent from a learned start.

    python examples/reptile.py    # a minute on a CPU; the first time the faces take a few more

θ are the weights of a network with an output for each of N people. k steps of gradient descent on minibatches B_j of
all pictures of a task make its weights φ_k, and θ moves a part of the way towards them (Nichol, Achiam & Schulman, "On
first-order meta-learning algorithms", 2018, algorithm 1):

    φ_0 = θ,    φ_j = φ_{j−1} − α ∇L(φ_{j−1}; B_j)                               (1)
    θ ← θ + ε (φ_k − θ)                                                          (2)
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.faces import FaceSet, load_faces


def conv4(outputs: int) -> nn.Sequential:
    """A network from images `[M, 3, 32, 32]` to numbers `[M, outputs]`."""
    layers: list[nn.Module] = [nn.InstanceNorm2d(3)]  # brightness and contrast say nothing about a person
    for channels in (3, 32, 32, 32):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.MaxPool2d(2), nn.GroupNorm(8, 32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * 2 * 32, outputs))


def tasks(episodes: Episodes) -> list[tuple[Examples, Examples]]:
    """The support set and the query set of each task; pixels from 0 to 1."""
    sets = ([Examples(x / 255, y) for x, y in zip(*part, strict=True)] for part in (episodes.support, episodes.query))
    return list(zip(*sets, strict=True))


def adapt(network: nn.Module, batches: list[Examples], rate: float = 0.1) -> dict[str, Tensor]:
    """The weights φ_k of a task, whose minibatches are k `batches`."""
    phi = dict(network.named_parameters())  # φ_0 = θ
    for x, y in batches:
        loss = F.cross_entropy(functional_call(network, phi, (x,)), y)
        gradient = torch.autograd.grad(loss, list(phi.values()))
        phi = {name: w - rate * g for (name, w), g in zip(phi.items(), gradient, strict=True)}  # (1)
    return phi


def recognise(network: nn.Module, support: Examples, x: Tensor) -> Tensor:
    """Pictures `[Q, 3, 32, 32]` → a number for each of N people, `[Q, N]`."""
    return functional_call(network, adapt(network, [support] * 8), (x,))


@torch.no_grad()
def outer_step(network: nn.Module, phi: dict[str, Tensor], rate: float) -> None:
    """Move θ, the weights of the network; `rate` is ε."""
    for name, theta in network.named_parameters():
        theta += rate * (phi[name] - theta)  # (2)


def main(faces: FaceSet, steps: int = 1000, episodes: int = 300) -> None:
    """Train on most of the people, test on the others."""
    torch.manual_seed(0)
    base, _, novel = faces.split(seed=0)
    network = conv4(outputs=5)
    nn.init.zeros_(network[-1].weight)  # which output a person gets is chance: prefer none
    sampler = EpisodeSampler(base, ways=5, shots=5, queries=5, seed=0)
    for step in range(steps):
        for support, query in tasks(sampler.sample(1)):
            x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
            batches = [Examples(x[rows], y[rows]) for rows in torch.rand(8, len(y)).argsort(dim=1)[:, :10]]
            outer_step(network, adapt(network, batches), rate=1 - step / steps)
    test = EpisodeSampler(novel, ways=5, shots=1, queries=5, seed=1).sample(episodes)
    right = torch.stack([recognise(network, s, q.x).argmax(dim=1) == q.y for s, q in tasks(test)])
    who = test.identities.gather(1, test.query.y)
    people = torch.stack([right[who == person].float().mean() for person in who.unique()])
    interval = 1.96 * people.std() / len(people) ** 0.5  # 95%, over people
    print(f"5 people never seen, 1 picture of each: {right.float().mean():.1%} ± {interval:.1%} right (chance: 20%)")


if __name__ == "__main__":
    main(load_faces("procedural").resized(32))

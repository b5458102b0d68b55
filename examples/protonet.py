"""Prototypical Networks in one file: recognise people by one picture of each, as the nearest mean.

    python examples/protonet.py    # a minute on a CPU; the first time the faces take a few more

A network f makes a picture into a point. The prototype c_k of person k is the mean point of the support pictures S_k,
and a query picture x belongs to the nearest prototype. f learns by gradient descent on −log p(y | x), task after task
(Snell, Swersky & Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017, equations 1 and 2):

    c_k = 1/|S_k| · Σ f(x)  over x in S_k                                        (1)
    p(y = k | x) = exp(−‖f(x) − c_k‖²) / Σ_j exp(−‖f(x) − c_j‖²)                 (2)
"""

import torch
from torch import Tensor, nn
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


def recognise(network: nn.Module, support: Examples, x: Tensor) -> Tensor:
    """Pictures `[Q, 3, 32, 32]` → a number for each of N people, `[Q, N]`: minus the squared distance."""
    points = network(support.x)
    prototypes = torch.stack([points[support.y == k].mean(dim=0) for k in support.y.unique()])  # (1)
    return -(network(x)[:, None] - prototypes).square().sum(dim=2)


def query_loss(network: nn.Module, support: Examples, query: Examples) -> Tensor:
    """−log p(y | x), the mean over the query set."""
    return F.cross_entropy(recognise(network, support, query.x), query.y)  # (2)


def main(faces: FaceSet, steps: int = 400, episodes: int = 300) -> None:
    """Train on most of the people, test on the others."""
    torch.manual_seed(0)
    base, _, novel = faces.split(seed=0)
    network = conv4(outputs=64)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    sampler = EpisodeSampler(base, ways=20, shots=1, queries=4, seed=0)
    for step in range(steps):
        loss = torch.stack([query_loss(network, *task) for task in tasks(sampler.sample(1))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.2f}")
    test = EpisodeSampler(novel, ways=5, shots=1, queries=5, seed=1).sample(episodes)
    right = torch.stack([recognise(network, s, q.x).argmax(dim=1) == q.y for s, q in tasks(test)])
    who = test.identities.gather(1, test.query.y)
    people = torch.stack([right[who == person].float().mean() for person in who.unique()])
    interval = 1.96 * people.std() / len(people) ** 0.5  # 95%, over people
    print(f"5 people never seen, 1 picture of each: {right.float().mean():.1%} ± {interval:.1%} right (chance: 20%)")


if __name__ == "__main__":
    main(load_faces("procedural").resized(32))

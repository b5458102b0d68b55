"""MAML in one file: recognise people by one picture of each, by gradient descent from a learned start.

    python examples/maml.py    # a minute on a CPU; the first time the faces take a few more

θ are the weights of a network with an output for each of N people. k steps of gradient descent on the support set S of
a task make its weights φ_k, and θ learns by gradient descent on the loss *after* them, on the query set Q (Finn, Abbeel
& Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017, algorithm 1):

    φ_0 = θ,    φ_j = φ_{j−1} − α ∇L(φ_{j−1}; S)                                 (1)
    min_θ  mean over tasks of L(φ_k; Q)                                          (2)
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


def adapt(network: nn.Module, support: Examples, graph: bool, k: int = 2, rate: float = 0.2) -> dict[str, Tensor]:
    """The weights φ_k of a task. With a `graph`, gradients flow from them through all steps back to θ."""
    phi = dict(network.named_parameters())  # φ_0 = θ
    for _ in range(k):
        loss = F.cross_entropy(functional_call(network, phi, (support.x,)), support.y)
        gradient = torch.autograd.grad(loss, list(phi.values()), create_graph=graph)
        phi = {name: w - rate * g for (name, w), g in zip(phi.items(), gradient, strict=True)}  # (1)
    return phi


def recognise(network: nn.Module, support: Examples, x: Tensor, graph: bool = False) -> Tensor:
    """Pictures `[Q, 3, 32, 32]` → a number for each of N people, `[Q, N]`."""
    return functional_call(network, adapt(network, support, graph), (x,))


def query_loss(network: nn.Module, support: Examples, query: Examples) -> Tensor:
    """L(φ_k; Q), whose gradient reaches θ."""
    return F.cross_entropy(recognise(network, support, query.x, graph=True), query.y)  # (2)


def main(faces: FaceSet, steps: int = 250, episodes: int = 300) -> None:
    """Train on most of the people, test on the others."""
    torch.manual_seed(0)
    base, _, novel = faces.split(seed=0)
    network = conv4(outputs=5)
    nn.init.zeros_(network[-1].weight)  # which output a person gets is chance: prefer none
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    sampler = EpisodeSampler(base, ways=5, shots=2, queries=3, seed=0)
    for step in range(steps):
        loss = torch.stack([query_loss(network, *task) for task in tasks(sampler.sample(4))]).mean()
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

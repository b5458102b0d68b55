# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Prototypical networks
#
# Somebody hands you one photo each of five people, then a sixth photo: which of the five is it? One photo is not enough to *train* anything
# on. It is enough to *compare* with, if you know how to compare. That is what this lesson's algorithm learns.
#
# **After this lesson you can**
#
# * write a prototypical network from scratch, loss and all, in fifteen lines, and train one;
# * prove why a class is represented by its *mean*, why the distance is *squared*, and say what breaks if it is not;
# * turn the whole classifier into one linear layer, and use the cosine without the two mistakes that it invites;
# * compare methods on the same episodes, with two kinds of interval, and say when the network does *not* win.

# %% [markdown]
# **You need** lesson 01 (episodes, base and novel people, the baselines), PyTorch, derivatives of a sum of squares. **Time** 75 minutes, with
# five exercises, worth 10 points. **Computing** less than 120 seconds on two CPU cores; a GPU is not needed. With the environment variable
# `METAFACE_BUDGET=full` the live training is longer.

# %%
import os

import torch
from matplotlib import pyplot as plt
from torch.nn import functional as F

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.experiments.snapshots import load_snapshots, snapshot_split
from metaface_lessons.figures import COLOURS, face_grid, show, style, table
from metaface_lessons.learners import protonet
from metaface_lessons.learners.protonet import ProtoNet

style()
FULL = os.environ.get("METAFACE_BUDGET") == "full"

# %% [markdown]
# ## 1 · Five strangers, one photo each
#
# The faces are synthetic, and split *by person*: what is learned on the base people is tested on novel people, whom it has never seen.

# %% tags=["nbval-ignore-output"]
base, _, novel = snapshot_split()
print(len(base.identities), "base people,", len(novel.identities), "novel people")

# %% [markdown]
# Below is a 5-way 1-shot episode: in the upper row the **support set**, one photo of each person, in the lower row five **queries**.

# %% [markdown]
# **Predict:** which query belongs to which person? Take your time, and notice what you look at, and what you have learned to ignore.

# %%
puzzle = EpisodeSampler(novel, ways=5, shots=1, queries=1, seed=2).sample()
shuffled = torch.randperm(5, generator=torch.Generator().manual_seed(34))
figure = face_grid(
    torch.cat([puzzle.support.x[0], puzzle.query.x[0, shuffled]]),
    columns=5,
    titles=[*"ABCDE", *[f"query {i}" for i in range(1, 6)]],
)
show(
    figure,
    alt="Upper row: five synthetic people, A to E, one photo each. Lower row: the same five in"
    " another order.",
)

# %% [markdown]
# <details><summary>The answer</summary>Query 1 is D, query 2 is A, query 3 is E, query 4 is C, query 5 is B.</details>
#
# You could do it because you have seen thousands of *other* faces in all sorts of light. You know what varies within a person and what does
# not. Five new people cannot teach that; the base people can. So the plan has two parts: learn *how to compare* from many people, slowly; then
# recognise new people by comparing, at once.

# %% [markdown]
# ## 2 · Embed, average, compare
#
# An **embedding** is a network $f_\theta$ that maps a face x to a point with D coordinates. Say that the support set of an episode holds the images
# $S_k$ of person k. The **prototype** of person k is the mean of their points:
#
# $$ c_k = \frac{1}{|S_k|} \sum_{x \in S_k} f_\theta(x) \tag{2.1} $$
#
# With one shot the prototype is simply the point of the one photo.

# %% [markdown]
# A query is more likely to be of a person the nearer it lies to their prototype. A softmax over *minus* the distances d turns that into
# probabilities over the N people:
#
# $$ p_\theta(y = k \mid x) = \frac{\exp\!\big(-d(f_\theta(x), c_k)\big)}{\sum_{j=1}^{N} \exp\!\big(-d(f_\theta(x), c_j)\big)} \tag{2.2} $$
#
# And θ is learned by gradient descent on the negative log-probability of the truth, averaged over the queries Q of many episodes, each with other
# people:
#
# $$ \mathcal L(\theta) = -\frac{1}{|Q|} \sum_{(x, y) \in Q} \log p_\theta(y \mid x) \tag{2.3} $$

# %% [markdown]
# That is the whole algorithm of Snell, Swersky and Zemel (2017). Their distance is the *squared* Euclidean one,
#
# $$ d(a, b) = \lVert a - b \rVert^2 = \sum_{i=1}^{D} (a_i - b_i)^2 \tag{2.4} $$
#
# and why it is squared takes up half of this lesson. There is no classifier to train for new people, and nothing is learned when they arrive: they
# are *enrolled* by a mean. In the words of lesson 01, θ are the slow weights, and the prototypes are all that the learner of one task has.

# %% [markdown]
# ### Exercise 1: prototypes
#
# *2 points, 8 minutes.* Equation (2.1) for one episode. `points [S, D]` are embeddings of the support set, `labels [S]` say whose they are (0 to
# `ways` − 1, in any order, and not always as many of each). Return `[ways, D]`, row k for label k.


# %% exercise="protonet-prototypes"
def my_prototypes(points, labels, ways):
    ### BEGIN SOLUTION
    member = F.one_hot(labels, ways).to(points.dtype)  # [S, N]: 1 where example s is of class n
    return member.T @ points / member.sum(0)[:, None]  # (2.1)
    ### END SOLUTION


check("protonet.prototypes", my_prototypes)

# %% [markdown]
# ### Exercise 2: squared distances of all pairs
#
# *2 points, 8 minutes.* Equation (2.4) for every query with every prototype: `a […, Q, D]`, `b […, N, D]` → `[…, Q, N]`. The dots stand for any axes in
# front, such as T tasks at once; if you count axes from the end, you need not care.


# %% exercise="protonet-squared-distances"
def my_squared_distances(a, b):
    ### BEGIN SOLUTION
    difference = a[..., :, None, :] - b[..., None, :, :]  # […, Q, N, D]
    return difference.square().sum(dim=-1)  # (2.4)
    ### END SOLUTION


check("protonet.squared_distances", my_squared_distances)

# %% [markdown]
# ### Exercise 3: the loss
#
# *2 points, 8 minutes.* Equations (2.2) and (2.3): from `distances [Q, N]` and the true `labels [Q]` to one number. Embeddings have hundreds of
# coordinates, so squared distances reach the thousands. exp(−2000) is 0 to a computer: mind the logarithm.


# %% exercise="protonet-loss"
def my_loss(distances, labels):
    ### BEGIN SOLUTION
    log_p = (-distances).log_softmax(dim=1)  # (2.2)
    return -log_p.gather(1, labels[:, None]).mean()  # (2.3)
    ### END SOLUTION


check("protonet.loss", my_loss)

# %% [markdown]
# Now put together, for one episode. Cells that need an answer compute with `yours("…", …)`: that is your own function once it passes, and the course's
# until then. So they run whether or not you have solved the exercises.

# %%
prototypes = yours("protonet.prototypes", my_prototypes)
squared_distances = yours("protonet.squared_distances", my_squared_distances)
loss_of = yours("protonet.loss", my_loss)


def episode_loss(embed, support, query, ways):
    centres = prototypes(embed(support.x[0]), support.y[0], ways)  # (2.1)
    distances = squared_distances(embed(query.x[0]), centres)  # (2.4)
    return loss_of(distances, query.y[0])  # (2.2) and (2.3)


# %% [markdown]
# Three lines, and nothing is hidden behind them that is not yours. The package's `ProtoNet.loss` does the same for T episodes at once, in one pass. Do they
# agree, on a trained network and real episodes?

# %%
snapshots = load_snapshots()  # one network at several moments of its training; see section 8
net = ProtoNet(snapshots[max(snapshots)].embedding)
episodes = EpisodeSampler(novel, ways=5, shots=2, queries=3, seed=0).sample(tasks=1)
with torch.no_grad():
    ours = episode_loss(net.embedding, episodes.support, episodes.query, ways=5)
    theirs, _ = net.loss(episodes)
net.double()  # further below we compare to many digits
print("from scratch and package agree:", bool(torch.isclose(ours, theirs, rtol=1e-4)))

# %% [markdown]
# What does the gradient want? Put (2.2) into the loss of one query with the true label y, and take the logarithm:
#
# $$ -\log p(y \mid x) = \underbrace{d(f_\theta(x), c_y)}_{\text{pull to the own prototype}} + \underbrace{\log \sum_{j=1}^{N} \exp\!\big(-d(f_\theta(x), c_j)\big)}_{\text{push from near prototypes}} \tag{2.5} $$
#
# The first term alone would draw all faces into one point. The second is a soft maximum of −d: it is large when *any* prototype is near. Its gradient
# pushes away from prototype j with the strength $2\,p(j \mid x)\,\lVert f_\theta(x) - c_j \rVert$, which grows with the distance and with the
# probability that the softmax gives to j. Where the squared distances differ by much more than 1, the probability decides, and the nearest prototype
# pushes hardest. (If you have met the contrastive loss: this is its relative, with prototypes for partners.)

# %% [markdown]
# ## 3 · Why the mean?
#
# A prototype stands for all support points $z_1, …, z_S$ of its class. Which point p does that best? One answer: the p with the least total cost
#
# $$ J(p) = \sum_{s=1}^{S} \lVert z_s - p \rVert^2 \tag{2.6} $$
#
# Coordinate i of p occurs in the term $(z_{s,i} - p_i)^2$ of each s, whose derivative is $-2(z_{s,i} - p_i)$. Collected into a vector, with
# $\bar z = \frac1S \sum_s z_s$:
#
# $$ \nabla J(p) = \sum_{s=1}^{S} 2\,(p - z_s) = 2S\,(p - \bar z) \tag{2.7} $$
#
# which is zero at $p = \bar z$ and nowhere else.

# %% [markdown]
# Is that the least? Write $z_s - p = (z_s - \bar z) + (\bar z - p)$ and multiply out:
#
# $$ J(p) = \sum_s \lVert z_s - \bar z \rVert^2 + 2\,(\bar z - p) \cdot \underbrace{\sum_s (z_s - \bar z)}_{=\,S\bar z - S\bar z\,=\,0} + S\,\lVert \bar z - p \rVert^2 \tag{2.8} $$
#
# The middle term vanishes, the first is $J(\bar z)$. So
#
# $$ J(p) = J(\bar z) + S\,\lVert p - \bar z \rVert^2 \tag{2.9} $$
#
# and every step away from the mean costs: the mean is *the* best prototype. Check it by autograd and by numbers:

# %%
generator = torch.Generator().manual_seed(0)
z = torch.randn(7, 16, generator=generator, dtype=torch.float64)
mean, p = z.mean(0), torch.randn(16, generator=generator, dtype=torch.float64, requires_grad=True)


def J(p):
    return (z - p).square().sum()  # (2.6)


(gradient,) = torch.autograd.grad(J(p), p)
print("(2.7) agrees:", torch.allclose(gradient, 2 * 7 * (p - mean)))  # (2.7)
print("(2.9) agrees:", torch.allclose(J(p), J(mean) + 7 * (p - mean).square().sum()))  # (2.9)

# %% [markdown]
# ### Which other distances have this property?
#
# Take any function φ that is smooth and *strictly convex*: it curves upwards everywhere, so it lies above each of its tangents. The
# **Bregman divergence** of φ is the height of that gap, at z, above the tangent at p:
#
# $$ D_\varphi(z, p) = \varphi(z) - \varphi(p) - \nabla\varphi(p) \cdot (z - p) \;\ge\; 0, \quad = 0 \text{ only if } z = p \tag{2.10} $$
#
# With $\varphi(z) = \lVert z \rVert^2$, whose gradient at p is 2p, this is the squared distance:
#
# $$ \lVert z \rVert^2 - \lVert p \rVert^2 - 2p \cdot (z - p) = \lVert z \rVert^2 - 2\,p \cdot z + \lVert p \rVert^2 = \lVert z - p \rVert^2 \tag{2.11} $$

# %% [markdown]
# For *every* Bregman divergence the mean is the best prototype (Banerjee et al. 2005). The proof is (2.9) again. In the difference of the two sums,
# all $\varphi(z_s)$ cancel:
#
# $$ \begin{aligned} \sum_s D_\varphi(z_s, p) - \sum_s D_\varphi(z_s, \bar z)
# &= S\,\big[\varphi(\bar z) - \varphi(p)\big] - \nabla\varphi(p) \cdot \sum_s (z_s - p) + \nabla\varphi(\bar z) \cdot \underbrace{\sum_s (z_s - \bar z)}_{0} \\
# &= S\,\big[\varphi(\bar z) - \varphi(p) - \nabla\varphi(p) \cdot (\bar z - p)\big] = S\,D_\varphi(\bar z, p) \;\ge\; 0 \end{aligned} \tag{2.12} $$
#
# Nothing but $\sum_s z_s = S\bar z$ was used. The converse holds, too, for smooth divergences: *only* Bregman divergences always have the mean as their best
# prototype (Banerjee, Guo and Wang 2005).

# %% [markdown]
# Another member of the family: with $\varphi(z) = \sum_i z_i \log z_i$ on probability vectors, $D_\varphi$ is the Kullback-Leibler divergence. Does (2.12) hold
# for it? We let autograd take ∇φ, so that the code below is (2.10) and nothing else.

# %%
from torch.func import grad, vmap


def bregman(phi, z, p):
    return phi(z) - phi(p) - grad(phi)(p) @ (z - p)  # (2.10)


def total(phi, z, p):
    return vmap(lambda one: bregman(phi, one, p))(z).sum()


histograms = torch.rand(7, 16, generator=generator, dtype=torch.float64).softmax(-1)
other = torch.rand(16, generator=generator, dtype=torch.float64).softmax(-1)
for name, phi in {
    "squared distance": lambda z: z @ z,
    "Kullback-Leibler": lambda z: (z * z.log()).sum(),
}.items():
    left = total(phi, histograms, other) - total(phi, histograms, histograms.mean(0))
    print(
        f"{name}: (2.12) agrees:", torch.allclose(left, 7 * bregman(phi, histograms.mean(0), other))
    )  # (2.12)

# %% [markdown]
# ## 4 · Why the square?
#
# Leave the square out, and d is the plain distance, $\lVert z - p \rVert$. That is no Bregman divergence, so the derivation fails. What takes the
# mean's place? The gradient of a distance is a *unit* vector, so the gradient of the cost is a sum of unit vectors, each pointing from a support
# point to p:
#
# $$ K(p) = \sum_s \lVert z_s - p \rVert, \qquad \nabla K(p) = \sum_s \frac{p - z_s}{\lVert p - z_s \rVert} \tag{2.13} $$
#
# It vanishes where the unit vectors cancel: at the **geometric median** (which may also be a support point, where K has a kink and no gradient). How *far* a point is does not enter, only in which direction it lies.
# Setting (2.13) to zero and solving for the p in the numerator gives p as a *weighted* mean, with weights that depend on p, which one iterates
# (Weiszfeld 1937):


# %%
def geometric_median(points, steps=300):
    p = points.mean(0)
    for _ in range(steps):
        weight = 1 / (points - p).norm(dim=1)
        p = weight @ points / weight.sum()  # where (2.13) is zero
    return p


z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.2, 1.1], [6.0, 4.0]], dtype=torch.float64)
mean, median = z.mean(0), geometric_median(z)
print("mean  ", [round(v, 2) for v in mean.tolist()])
print("median", [round(v, 2) for v in median.tolist()])

# %% [markdown]
# **Predict:** four support points lie together, one far off to the upper right: say, four good photos and a blurred one. Where is the mean, and where
# the geometric median? Then: which of the two moves if the far point goes further away in the same direction?

# %%
ticks = torch.linspace(-1.5, 6.5, 200, dtype=torch.float64)
plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
away = (plane[..., None, :] - z).norm(dim=-1)  # [200, 200, S]
fig, axes = plt.subplots(1, 2, figsize=(9, 4.2))
for ax, cost, name in zip(
    axes,
    (away.square().sum(-1), away.sum(-1)),
    ("squared: J, (2.6)", "unsquared: K, (2.13)"),
    strict=True,
):
    ax.contour(ticks, ticks, cost, levels=15, colors="#BBBBBB", linewidths=1)
    ax.plot(*z.T, "o", color=COLOURS[0], label="support points")
    ax.plot(*mean, "*", color=COLOURS[1], ms=16, label="mean")
    ax.plot(*median, "D", color=COLOURS[2], ms=9, label="geometric median")
    ax.set(title=name, aspect="equal")
axes[0].legend(loc="upper left", frameon=True)
show(
    fig,
    alt="Two maps of the same five points, four close together and one far off. The level lines of"
    " J are circles around"
    " the mean, which the far point has drawn out of the group. Those of K are lopsided ovals"
    " around the geometric"
    " median, which stays within the group.",
)

# %% [markdown]
# The level lines of J are circles around the mean: that is (2.9). Those of K surround the median, and the mean is not at their bottom. Now push the
# far point out, along the line from the median:

# %%
direction = F.normalize(z[-1] - median, dim=0)
for distance in (2, 6, 18):
    pushed = torch.cat([z[:-1], (median + distance * direction)[None]])
    m, g = pushed.mean(0), geometric_median(pushed)
    print(
        f"far point at {distance:2d}: mean at ({m[0]:.2f}, {m[1]:.2f}), median at ({g[0]:.2f},"
        f" {g[1]:.2f})"
    )

# %% [markdown]
# The median does not move at all: in (2.13) the far point's unit vector is the same. That makes the median *robust*, which is a virtue. But whoever
# takes the **mean** for a prototype and the **unsquared** distance for the softmax has put together two halves that do not fit: the prototype is not
# the best one for the distance that it is compared by.

# %% [markdown]
# ### What the softmax makes of it
#
# The second difference shows with two classes. The log-odds of class 1 are $d(f, c_2) - d(f, c_1)$. Squared, the $\lVert f \rVert^2$ cancels:
#
# $$ \log\frac{p_1}{p_2} = \lVert f - c_2 \rVert^2 - \lVert f - c_1 \rVert^2 = 2\,(c_1 - c_2) \cdot f + \lVert c_2 \rVert^2 - \lVert c_1 \rVert^2 \tag{2.14} $$
#
# which is *linear* in f: the lines of equal probability are parallel, and probability goes to 0 and 1. Unsquared, the points where two distances differ
# by a constant form a *hyperbola*, and by the triangle inequality
#
# $$ \left|\, \lVert f - c_2 \rVert - \lVert f - c_1 \rVert \,\right| \;\le\; \lVert c_1 - c_2 \rVert \quad\Longrightarrow\quad p_1 \le \frac{1}{1 + \exp(-\lVert c_1 - c_2 \rVert)} \tag{2.15} $$

# %% [markdown]
# **Predict:** two prototypes lie 2 apart. Sketch the lines where $p_1$ is 5, 25, 50, 75 and 95 %, for the squared and the plain distance. Where is a
# query most surely class 1? Is every one of the five lines there?


# %%
c = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
ticks = torch.linspace(-3, 3, 300)
plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
fig, axes = plt.subplots(1, 2, figsize=(9, 4.4))
shades = [COLOURS[0], COLOURS[5], "black", COLOURS[4], COLOURS[1]]
for ax, name in zip(axes, ("squared", "euclidean"), strict=True):
    p1 = (-protonet.DISTANCES[name](plane, c)).softmax(-1)[..., 0]  # (2.2)
    lines = ax.contour(ticks, ticks, p1, levels=[0.05, 0.25, 0.5, 0.75, 0.95], colors=shades)
    ax.clabel(lines, fmt=lambda v: f"{100 * v:.0f}%")
    ax.plot(*c.T, "o", color="black", ms=9)
    ax.set(title=f"{name}: p₁ from {p1.min():.2f} to {p1.max():.2f}", aspect="equal")
show(
    fig,
    alt="Two maps with the same two prototypes. Squared: the lines of 5, 25, 50, 75 and 95 percent"
    " are parallel and"
    " straight. Unsquared: the 50 percent line is the same, those of 25 and 75 percent are the two"
    " branches of a"
    " hyperbola, and lines of 5 and 95 percent do not exist.",
)

# %% [markdown]
# The 50 % lines are the same: *which* prototype is nearest does not depend on the square. So with the same embedding and the same prototypes
# both distances predict the same people, always. Probabilities differ, and with them the loss and its gradient: by (2.15) the plain distance can never be
# surer here than $1/(1+e^{-2})$, or 88 %, wherever the query lies, while the squared one is the surer the further out a query is.

# %% [markdown]
# The gradients by f say how hard a query is pulled:
#
# $$ \nabla_f \lVert f - c \rVert^2 = 2\,(f - c), \qquad \nabla_f \lVert f - c \rVert = \frac{f - c}{\lVert f - c \rVert} \tag{2.16} $$
#
# A spring that pulls harder the further it is stretched; and a rope with the same pull at any length. **Predict** the lengths of both gradients at
# distances 0.1, 1 and 10.

# %%
for r in (0.1, 1.0, 10.0):
    f = torch.tensor([[r, 0.0]], requires_grad=True)
    distances = [
        protonet.DISTANCES[name](f, torch.zeros(1, 2)).sum() for name in ("squared", "euclidean")
    ]
    pulls = [torch.autograd.grad(d, f)[0].norm().item() for d in distances]
    print(
        f"distance {r:4}: squared pulls with {pulls[0]:.1f}, unsquared with {pulls[1]:.1f}"
    )  # (2.16)

# %% [markdown]
# **A trap in the wild.** The library easy-few-shot-learning computes its prototypical logits as `-torch.cdist(samples, prototypes)`: the *unsquared*
# distance. It learns, and often well, for the network can adapt to either loss. But it is not the classifier that the paper derives, the linear head of
# the next section does not hold for it, and numbers from the two are not of the same method. Look for the square before you compare.

# %% [markdown]
# ### The square has a scale
#
# One thing the square does need care for. Squared distances grow with the number of coordinates, and what enters the softmax may be huge before
# anything is learned. A **temperature** τ divides it; that is the same algorithm with the embedding in other units:
#
# $$ \frac{\lVert f - c \rVert^2}{\tau} = \left\lVert \frac{f}{\sqrt\tau} - \frac{c}{\sqrt\tau} \right\rVert^2 \tag{2.17} $$

# %% [markdown]
# **Predict:** an untrained network knows nothing of 20 people. Guessing evenly costs ln 20 ≈ 3.0. What will its loss be at τ = 1?

# %%
from metaface_lessons.networks import Conv4

small = base.resized(32)  # a laptop can train on these while you watch
batch = EpisodeSampler(small, ways=20, shots=1, queries=4, seed=0).sample(tasks=5)
for temperature in (1, 4, 16, 64):
    with torch.no_grad():
        loss, _ = ProtoNet(Conv4(3, 32, width=32), temperature=temperature).loss(batch)  # (2.17)
    print(f"temperature {temperature:2d}: loss {loss:.1f}")

# %% [markdown]
# At τ = 1 the untrained network is not ignorant, it is *wrong with conviction*: many times the loss of an even guess. Training then has to unlearn the
# scale before it learns faces. So when the first loss of a ProtoNet stands far above ln N, divide the distances
# until it does not. We take τ = 64 below.

# %% [markdown]
# ## 5 · A linear classifier in disguise
#
# Multiply out minus the squared distance:
#
# $$ -\lVert f - c_k \rVert^2 = -\lVert f \rVert^2 + 2\,c_k \cdot f - \lVert c_k \rVert^2 \tag{2.18} $$
#
# The first term is the same for all classes k, and a softmax does not notice what all its inputs have in common:
#
# $$ \frac{e^{a_k + t}}{\sum_j e^{a_j + t}} = \frac{e^t\, e^{a_k}}{e^t \sum_j e^{a_j}} = \frac{e^{a_k}}{\sum_j e^{a_j}} \tag{2.19} $$
#
# What remains is a linear layer on the embedding:
#
# $$ p(y = k \mid x) = \operatorname{softmax}_k\big(W f_\theta(x) + b\big), \qquad W_k = 2\,c_k, \quad b_k = -\lVert c_k \rVert^2 \tag{2.20} $$

# %% [markdown]
# So a prototypical network *is* a linear classifier, whose last layer is not trained but written down, from K photos, in closed form. All that is
# non-linear about faces has to happen in the embedding. With the unsquared distance no term cancels, and there is no such layer. (Lesson 09 starts from
# (2.20) and lets gradient descent improve it.)

# %% [markdown]
# ### Exercise 4: the linear head
#
# *2 points, 8 minutes.* Equation (2.20): `prototypes [N, D]` → weight `[N, D]` and bias `[N]`, as `F.linear` takes them.


# %% exercise="protonet-linear-head"
def my_linear_head(prototypes):
    ### BEGIN SOLUTION
    return 2 * prototypes, -prototypes.square().sum(dim=1)  # (2.20)
    ### END SOLUTION


check("protonet.linear_head", my_linear_head)

# %% [markdown]
# Does the linear layer give the very same probabilities as the distances, on faces? And what of the unsquared distance: does *it* bend along a straight
# line in the embedding? For a linear function the value in the middle is the mean of the values at the ends.

# %%
with torch.no_grad():
    points = net.embed(episodes.query.x)[0]  # [Q, D], float64
    c = net.adapt(episodes.support).prototypes[0]
weight, bias = yours("protonet.linear_head", my_linear_head)(c)  # (2.20)
by_distance = (-protonet.squared_euclidean(points, c)).softmax(-1)
by_layer = F.linear(points, weight, bias).softmax(-1)
print("same probabilities to 1e-12:", bool((by_layer - by_distance).abs().max() < 1e-12))

ends_and_middle = torch.stack([points[0], (points[0] + points[-1]) / 2, points[-1]])
for name in ("squared", "euclidean"):
    odds = -protonet.DISTANCES[name](ends_and_middle, c[:2]).diff(dim=1)[:, 0]  # (2.14)
    print(f"{name}: log-odds are linear:", bool((odds[0] - 2 * odds[1] + odds[2]).abs() < 1e-9))

# %% [markdown]
# ## 6 · The cosine, and its two mistakes
#
# Face recognisers often compare directions only: $\cos(a, b) = a \cdot b / (\lVert a \rVert \lVert b \rVert)$. With the unit vectors
# $u = a/\lVert a \rVert$ and $v = b/\lVert b \rVert$, everything above applies, because
#
# $$ \tfrac12 \lVert u - v \rVert^2 = \tfrac12\big(\lVert u \rVert^2 - 2\,u \cdot v + \lVert v \rVert^2\big) = \tfrac12 (1 - 2\,u \cdot v + 1) = 1 - \cos(a, b) \tag{2.21} $$
#
# The cosine distance is half the *squared* Euclidean distance, on the unit sphere. What is the best prototype there, if it has to have length 1, too?

# %% [markdown]
# For unit vectors $u_1, …, u_S$ with mean $\bar u$ and any v of length 1
#
# $$ \sum_s (1 - u_s \cdot v) = S - S\,\bar u \cdot v = S - S\,\lVert \bar u \rVert \cos(\bar u, v) \tag{2.22} $$
#
# which is least when v points along $\bar u$:
#
# $$ v^* = \frac{\bar u}{\lVert \bar u \rVert}, \qquad \bar u = \frac1S \sum_s \frac{z_s}{\lVert z_s \rVert} \tag{2.23} $$

# %% [markdown]
# **First mistake:** to average the raw points and let the cosine sort it out. Then a point of ten times the length has ten times the say, though the
# cosine claims that length does not count.

# %% [markdown]
# ### Exercise 5: the best prototype for the cosine
#
# *2 points, 6 minutes.* Equation (2.23): `points [S, D]`, of any lengths, of one class → `[D]`, of length 1.


# %% exercise="protonet-cosine-prototype"
def my_cosine_prototype(points):
    ### BEGIN SOLUTION
    directions = F.normalize(points, dim=1)
    return F.normalize(directions.mean(dim=0), dim=0)  # (2.23)
    ### END SOLUTION


check("protonet.cosine_prototype", my_cosine_prototype)

# %% [markdown]
# Check (2.21) on the face embeddings. Then take three points of one class, one of them ten times as long, and your prototype. By (2.22) the sum
# $S - \sum_s (1 - u_s \cdot v)$ falls with the cosine of the angle between v and the best direction, and 10,000 directions drawn at random should all do
# worse. What does the first mistake cost?

# %%
a, b = points[:3], points[3:7]
half = protonet.squared_euclidean(F.normalize(a, dim=1), F.normalize(b, dim=1)) / 2  # (2.21)
print("(2.21) agrees:", torch.allclose(half, 1 - F.cosine_similarity(a[:, None], b, dim=-1)))

one_long = torch.cat([10 * points[:1], points[1:3]])
best = yours("protonet.cosine_prototype", my_cosine_prototype)(one_long)  # (2.23)


def cost(v):
    """The total cosine distance of the three points to each v [V, D]."""
    return protonet.cosine(one_long, v).sum(dim=0)


others = torch.randn(10_000, len(best), generator=generator, dtype=best.dtype)
towards = F.cosine_similarity(best[None], others)
print(
    "(2.22) agrees:", torch.allclose(3 - cost(others), (3 - cost(best[None])) * towards)
)  # (2.22)
print("(2.23) is the best of all:", bool((cost(others) > cost(best[None])).all()))
raw = one_long.mean(dim=0)
print(f"total cosine distance to it {cost(best[None]).item():.4f}", end="")
print(f", to the mean of raw points {cost(raw[None]).item():.4f}")

# %% [markdown]
# **Second mistake:** no temperature. A cosine distance lies between 0 and 2, so logits lie between −2/τ and 0. The best that can happen is that a query lies
# on its own prototype, and opposite to all others:
#
# $$ p_{\max} = \frac{e^{0}}{e^{0} + (N-1)\,e^{-2/\tau}} = \frac{1}{1 + (N-1)\,e^{-2/\tau}} \tag{2.24} $$

# %% [markdown]
# **Predict:** with 5 people and τ = 1, how sure can the network be at the very most? With 100 people?

# %%
for ways in (5, 20, 100):
    best = [
        1 / (1 + (ways - 1) * torch.tensor(-2 / tau).exp()) for tau in (1.0, 0.3, 0.1)
    ]  # (2.24)
    print(
        f"{ways:3d} ways: "
        + ", ".join(f"τ = {t}: {p:.3f}" for t, p in zip((1.0, 0.3, 0.1), best, strict=True))
    )

# %% [markdown]
# Without a temperature the loss cannot come near zero, however good the embedding: the gradient goes on pulling at faces that are
# recognised perfectly. With τ around 0.1 the ceiling is gone. `ProtoNet(embedding, "cosine", temperature=0.1)` does (2.23) and (2.24) for you.

# %% [markdown]
# ## 7 · Train one
#
# Now live, on 32×32 pictures so that it takes seconds. Each step draws a fresh 20-way 1-shot episode of base people. Twenty ways, though we test with
# five: a harder question in each step, and more comparisons for the same images (Snell et al. found that more ways in training help).

# %% [markdown]
# **Predict:** where does the loss begin, and what does the curve look like: smooth, noisy, with a plateau? (The training takes 25 seconds.)

# %% tags=["nbval-ignore-output"]
from metaface_lessons.training import meta_train

fresh = ProtoNet(Conv4(3, 32, width=32), temperature=64)
sampler = EpisodeSampler(small, ways=20, shots=1, queries=4, seed=0)
trained = meta_train(fresh, sampler, steps=4000 if FULL else 400, seconds=None if FULL else 25)
print(f"{trained.steps} steps in {trained.seconds:.0f} s")

# %%
history = trained.history
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
chance, window = torch.tensor(20.0).log().item(), min(25, trained.steps)
for ax, values, level, name in zip(
    axes, (history.loss, history.accuracy), (chance, 0.05), ("loss", "accuracy"), strict=True
):
    ax.plot(values, color=COLOURS[5], lw=0.7)
    ax.plot(
        range(window - 1, len(values)),
        torch.tensor(values).unfold(0, window, 1).mean(1),
        color=COLOURS[0],
    )
    ax.axhline(level, color="black", ls="--", lw=1)
    ax.annotate("guessing", (len(values), level), ha="right", va="bottom")
    ax.set(xlabel="step", title=f"{name} on 20-way 1-shot training episodes")
show(
    fig,
    alt="Two noisy curves over the training steps, each with its running mean. The loss falls well"
    " below that of"
    " guessing, the accuracy rises well above it; neither has levelled out at the end.",
)

# %% [markdown]
# Noisy, because every step asks another question about other people; the running mean tells the story. The true test is people whom training has
# never seen:

# %% tags=["nbval-ignore-output"]
from metaface_lessons.evaluation import evaluate

test = EpisodeSampler(novel.resized(32), ways=5, shots=1, queries=5, seed=1)
methods = {"untrained": ProtoNet(Conv4(3, 32, width=32)), "trained": trained.learner}
for name, result in evaluate(methods, test, episodes=100).items():
    print(f"{name:10s} {result}   (5-way 1-shot, novel people, 100 episodes)")

# %% [markdown]
# ### Which mean and variance does batch normalisation use?
#
# While training, batch normalisation uses the statistics of the batch: support and query images of the episode together. If it did so in the test as
# well, the answer for one query would depend on *which other queries are asked with it*: that is **transductive**, peeks at the test set, and can be worth
# several points. Here, in evaluation mode, it uses running averages from training: **inductive**, each query judged by itself. Which one was used belongs
# beside every number.

# %%
task = EpisodeSampler(novel.resized(32), ways=5, shots=1, queries=5, seed=3).sample()
for mode in ("training", "evaluation"):
    trained.learner.train(mode == "training")
    with torch.no_grad():
        learner = trained.learner.adapt(task.support)
        together, alone = learner.predict(task.query.x)[:, :2], learner.predict(task.query.x[:, :2])
    same = torch.allclose(together, alone, atol=1e-3)
    print(f"{mode} mode: two queries are judged alike with 23 others and without: {same}")

# %% [markdown]
# ## 8 · Watch the embedding take shape
#
# A longer training on the 64×64 pictures, with τ = 50, is stored at several moments: `load_snapshots()` gave them to you in section 2, and
# `metaface experiment snapshots` makes them again. Three prototypes always lie in a plane, and the explorer shows that plane, for three
# novel people: prototypes, support, queries, and the region in which each person wins.

# %% [markdown]
# **Predict, then try:**
#
# 1. At step 0 the network is untrained. Are the three people apart?
# 2. From one shot to five: what moves, and does it help?
# 3. Change the distance from squared to euclidean. Does any frame change its colour? Does the loss change? (Section 4 knows.)

# %%
from metaface_lessons.widgets import embedding_explorer
from metaface_lessons.widgets.explorer import describe

describe(embedding_explorer.State)

# %% tags=["nbval-ignore-output"]
net.float()
embedding_explorer.explore(snapshots, novel.of(novel.identities[:30]))

# %% [markdown]
# <details><summary>What you may have seen</summary>1. Hardly: the queries of all three lie in one heap, and many frames have the wrong colour. 2. The prototypes: each moves from its one photo to the middle of its person's points. A bad photo has less say, and accuracy over 100 episodes rises. 3. No frame changes, and neither does the accuracy; the shading and the loss do.</details>

# %% [markdown]
# The answer to the third question, measured instead of seen: one embedding, the same episodes, both distances. Same people, other losses.

# %%
from metaface_lessons.learners.baselines import FixedFeatures


def frozen(net, distance="squared", temperature=1.0):
    """The same learner, embedding each image once, which evaluation mode allows."""

    def features(images):
        with torch.no_grad():
            return torch.cat([net.embedding(part) for part in images.split(100)]).numpy()

    return ProtoNet(FixedFeatures(features), distance, temperature)


# %%
task = EpisodeSampler(novel, ways=5, shots=5, queries=5, seed=4).sample(tasks=20)
answers = {}
for distance, temperature in (
    ("squared", 50.0),
    ("euclidean", 50**0.5),
):  # (2.17): the same units for both
    logits = frozen(net, distance, temperature).adapt(task.support).predict(task.query.x)
    answers[distance] = logits.argmax(-1)
    print(f"{distance:9s} loss {F.cross_entropy(logits.flatten(0, 1), task.query.y.flatten()):.2f}")
print("same predictions:", torch.equal(answers["squared"], answers["euclidean"]))

# %% [markdown]
# ## 9 · Is it any good?
#
# A number alone says nothing. The stored network meets the baselines of lesson 01 **on the very same episodes** of novel people: nearest class mean
# on pixels, on LBP, and on LDA features learned from the same base people. All of them are prototype learners, so nothing but the embedding
# differs (and for LDA the distance: the cosine). Two conditions: **full nuisance** (what you saw above), and **clean** (frontal, fixed light, neutral, nothing covered). The clean pictures of the
# novel people are rendered now.

# %%
from metaface_lessons.faces import FaceSet
from metaface_lessons.faces.procedural import render, sample_identities, sample_nuisance

who = novel.identities.repeat_interleave(8)
people, how = sample_identities(300)[who], sample_nuisance(len(who), seed=1, kind="clean")
clean = FaceSet(render(people, how, 64), who, name="clean", synthetic=True)
show(
    face_grid(clean.images[::8][:10], columns=10),
    alt="Ten synthetic people, frontal, evenly lit, neutral.",
)

# %% [markdown]
# **Predict** the order of the four methods, once for clean and once for full nuisance, with one shot. Where will the largest gap be? (Four evaluations,
# each with a bar, take about half a minute.)

# %% tags=["nbval-ignore-output"]
from metaface_lessons.learners.baselines import baselines

methods = baselines(base) | {"protonet": frozen(net)}
results = {}
for condition, faces, count in (("clean", clean, 200), ("full nuisance", novel, 600)):
    for shots in (1, 5):
        sampler = EpisodeSampler(faces, ways=5, shots=shots, queries=3, seed=shots)
        results[condition, shots] = evaluate(methods, sampler, episodes=count, progress=True)

rows = {
    name: [
        f"{100 * r[name].accuracy:.1f} ± {100 * r[name].ci95:.1f} (±"
        f" {100 * r[name].ci95_people:.1f})"
        for r in results.values()
    ]
    for name in methods
}
table(
    rows,
    [f"{condition}, {shots} shot{'s' * (shots > 1)}" for condition, shots in results],
    title="5-way accuracy, % ± over episodes (± over people)",
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
for ax, condition in zip(axes, ("clean", "full nuisance"), strict=True):
    for i, name in enumerate(methods):
        row = [results[condition, shots][name] for shots in (1, 5)]
        place = [0.2 * i + s for s in (0, 1)]
        height, error = [100 * r.accuracy for r in row], [100 * r.ci95_people for r in row]
        ax.bar(place, height, 0.18, yerr=error, label=name, color=COLOURS[i], capsize=3)
    ax.axhline(20, color="black", ls="--", lw=1)
    ax.set(title=condition, xticks=[0.3, 1.3], xticklabels=["1 shot", "5 shots"], ylim=(0, 105))
axes[0].set_ylabel("accuracy, %")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
show(
    fig,
    alt="Bars of accuracy for pixels, LBP, LDA and ProtoNet, with intervals over people. On clean"
    " faces all four stand"
    " at the top. Under full nuisance pixels and LBP are not far above chance, the dashed line at"
    " 20 percent, and"
    " ProtoNet stands far above all others, with one shot and with five.",
)

# %% [markdown]
# The bars are the intervals over *people*. Read them as: other strangers, how different a number? The intervals over *episodes* are narrower, and
# answer a smaller question: the same strangers, asked again. Neither contains the luck of one training; for that one trains with several seeds, as the stored
# results of section 10 do.

# %% [markdown]
# ### Where it does not win
#
# On **clean** faces there is nothing to gain: people differ, pictures of a person do not. Plain pixels do it all, and a network that has learned to
# ignore light and pose finds no light and pose to ignore. Real faces from a studio are not far from that, as the next section shows. Meta-learning pays
# where **nuisance is larger than the difference between people**, and the base people show what nuisance does. Try the simple method first; if it
# ties, keep it.

# %% [markdown]
# ### Controls: is it the face?
#
# A high score is worth nothing if the *background* gives people away. A control is a method that must fail: if it succeeds, the test is broken. Three: the mean
# colour alone; a frame of pixels at the border, where there is hardly any face; and the same network untrained, to show that training, not the shape of the
# network, did it.

# %% [markdown]
# **Predict:** chance is 20 %. Which control will be the furthest above it?

# %% tags=["nbval-ignore-output"]
border = torch.ones(64, 64, dtype=torch.bool)
border[6:-6, 6:-6] = False
controls = {
    "mean colour": ProtoNet(FixedFeatures(lambda x: x.float().mean((2, 3)).numpy())),
    "border": ProtoNet(FixedFeatures(lambda x: x[:, :, border].float().flatten(1).numpy())),
    "untrained": frozen(snapshots[0]),
}
for name, r in evaluate(
    controls, EpisodeSampler(novel, ways=5, shots=1, queries=3, seed=1), 300
).items():
    print(f"{name:12s} {100 * r.accuracy:.1f} ± {100 * r.ci95:.1f} %")

# %% [markdown]
# ## 10 · Real faces
#
# Synthetic faces prove the mechanism, never the accuracy on real ones. *Labeled Faces in the Wild* holds press photos: light, pose and expression as they
# came. *Olivetti* was taken in a studio. The course stores results, not pictures: `data/results/` has them, with the commands that made them. The next cell
# reads the means over the runs, each trained and tested on another split of the people.
#
# **Predict:** on which of the two will ProtoNet gain more over LDA?

# %% tags=["real-faces"]
from metaface_lessons.experiments import few_shot

rows = {}
for name, shots in (("lfw", 1), ("lfw", 4), ("olivetti", 1), ("olivetti", 5)):
    stored = few_shot.load("protonet", name, shots)
    found = {"protonet": stored, **stored["baselines"]}
    rows[f"{name}, {shots}-shot, {stored['identities']} strangers"] = [
        f"{100 * r['accuracy']:.1f} ± {100 * r['ci95']:.1f} (± {100 * r['ci95_people']:.1f})"
        for r in found.values()
    ]
runs, date = len(stored["runs"]), stored["date"]
table(
    rows,
    list(found),
    title=f"5-way accuracy, % ± over episodes (± over people), {runs} runs each, {date}",
)

# %% [markdown]
# In the wild ProtoNet stands far above every classical method, with one photo and with four. In the studio LDA is level with it: light and pose change
# little there, so LDA, and with five photos even LBP, get nearly everybody right, and what separates them is less than the interval over ten strangers: nobody has won. Both
# results are worth knowing.

# %% [markdown]
# If Olivetti is in scikit-learn's cache on your machine (`metaface faces olivetti` fetches it), the next cell trains on 24 of its people for some
# seconds and tests on 10 others. Without Olivetti the cell says so, and the table above has the numbers. It shows numbers only: pictures of real people do not belong in a notebook that one saves and sends around.

# %% tags=["nbval-ignore-output", "real-faces"]
from metaface_lessons.doctor import check_olivetti
from metaface_lessons.faces import load_faces

if check_olivetti().status == "ok":
    real = load_faces("olivetti").resized(32).split(seed=0)
    mine = ProtoNet(Conv4(1, 32, width=32), temperature=64)
    meta_train(
        mine, EpisodeSampler(real.base, 15, 1, 4, seed=0), steps=200, seconds=8, progress=False
    )
    sampler = EpisodeSampler(real.novel, ways=5, shots=1, queries=5, seed=1)
    for name, r in evaluate(baselines(real.base) | {"protonet": mine}, sampler, 300).items():
        print(
            f"{name:9s} {100 * r.accuracy:5.1f} ± {100 * r.ci95:.1f} (± {100 * r.ci95_people:.1f})"
            " %"
        )
else:
    print("Olivetti is not in scikit-learn's cache here. To fetch it: metaface faces olivetti")

# %% [markdown]
# If the cell ran, two things can be read off. A training of seconds on two dozen people is no match for LDA, which gets by with few examples. And the
# interval over people is wide: ten are few. Whoever reports only the narrow one, over episodes, sees differences where there may be none.

# %% [markdown]
# ## 11 · Four traps
#
# The unsquared distance was the first. **The second: query images reused as support.** With one shot each query then lies *on* its prototype.
# **Predict** the accuracy of plain pixels, which you have seen fail.

# %%
pixels = methods["pixels"]
honest = EpisodeSampler(novel, ways=5, shots=1, queries=1, seed=5).sample(tasks=100)
for name, query in (
    ("other images as query", honest.query),
    ("support reused as query", honest.support),
):
    right = pixels.adapt(honest.support).predict(query.x).argmax(-1) == query.y
    print(f"{name:24s} {100 * right.float().mean():.0f} %")

# %% [markdown]
# A perfect score is the symptom. Whenever one appears, ask first what leaked.

# %% [markdown]
# **The third: the mean over the wrong axis.** Someone reshapes N·K points to `[N, K, D]` and averages axis 0 instead of 1. With as many ways as shots the
# shape is right, and nothing complains:

# %%
task = EpisodeSampler(novel, ways=5, shots=5, queries=3, seed=6).sample(tasks=100)
learner = frozen(net)
support, query = learner.embed(task.support.x).view(100, 5, 5, -1), learner.embed(task.query.x)
for axis, name in ((2, "over the shots"), (1, "over the people")):
    logits = learner.logits(query, support.mean(dim=axis))
    print(f"mean {name:16s} {100 * (logits.argmax(-1) == task.query.y).float().mean():.0f} %")

# %% [markdown]
# At chance, without an error message. Test with *different* numbers of ways, shots and coordinates, and such mistakes cannot hide.

# %% [markdown]
# **The fourth: detached prototypes.** To save memory, or by a `no_grad` in the wrong place, the support set is embedded without a graph. Training still
# runs, and the loss still falls. **Predict:** is the gradient the same, smaller, or elsewhere?

# %%
task = EpisodeSampler(small, ways=20, shots=1, queries=4, seed=7).sample()
probe = ProtoNet(Conv4(3, 32, width=32, norm="group"), temperature=64)
gradients = {}
for detach in (False, True):
    points = probe.embed(task.support.x)
    centres = protonet.prototypes(points.detach() if detach else points, task.support.y, 20)
    loss = F.cross_entropy(probe.logits(probe.embed(task.query.x), centres)[0], task.query.y[0])
    gradients[detach] = torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, list(probe.parameters()))]
    )
whole, part = gradients[False], gradients[True]
print(f"length of the detached gradient: {part.norm() / whole.norm():.2f} of the whole")
print(f"cosine between the two:          {F.cosine_similarity(whole, part, dim=0):.2f}")

# %% [markdown]
# Another direction and another length, with no sign of it but these two numbers: only the queries learn to come to the prototypes, never
# the prototypes to stand well. A check of the gradient by finite differences finds it at once; `tests/learners/test_protonet.py` has one.

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. A new person is to be recognised by a trained prototypical network. What has to be trained?**
#
# <details><summary>The last layer</summary>No. By (2.20) the last layer is written down from the prototypes.</details>
# <details><summary>Nothing</summary>Right. Embed the photos, average them: the person is enrolled.</details>
# <details><summary>The whole network, for a few steps</summary>No. That is MAML's way, lesson 03. Here θ stays as it is.</details>
#
# **2. Somebody doubles every embedding. What happens with the squared distance at the same τ?**
#
# <details><summary>Nothing</summary>No. Nothing happens to the <i>predicted</i> person, but squared distances grow fourfold, and all probabilities get more extreme.</details>
# <details><summary>Predictions stay, probabilities get more extreme</summary>Right: the nearest prototype stays the nearest, and the logits are four times as large. It is (2.17) with τ divided by 4.</details>
# <details><summary>Predictions change</summary>No. All distances are multiplied by the same number, so their order stays.</details>

# %% [markdown]
# **3. You replace the class mean of five shots by the geometric median and keep the squared distance. What have you got?**
#
# <details><summary>A better ProtoNet, since the median is robust</summary>Robust it is, but for the squared distance it is not the best prototype: (2.9) says what it costs, S times its squared distance from the mean. It may still pay if support sets hold outliers; then measure it.</details>
# <details><summary>A prototype that does not fit its distance</summary>Right. The median fits the plain distance, the mean the squared one.</details>
# <details><summary>The same: both stand in the middle of the class</summary>Only with one shot, where the mean and the median of one point are that
# point.</details>
#
# **4. A cosine ProtoNet with τ = 1 stays at a high loss, though its training accuracy is 100 %. Why?**
#
# <details><summary>The learning rate is too low</summary>No. Everybody is recognised; there is nothing left to learn.</details>
# <details><summary>Its logits cannot get far enough apart</summary>Right, that is (2.24). Divide by a τ well below 1.</details>
# <details><summary>It overfits</summary>No. Overfitting shows on novel people; this is about training episodes.</details>

# %% [markdown]
# **5. "ProtoNet 62.1 ± 0.4, LDA 61.0 ± 0.4, 5000 episodes of 10 people, one training." What may be said?**
#
# <details><summary>ProtoNet is better, for the intervals do not overlap</summary>Not for people in general: that interval is over episodes of the <i>same</i> ten people, and one training. Over people it would be many times as wide.</details>
# <details><summary>On these ten people, this network was better</summary>Right, and no more. For more, take more people, the interval over people, and several seeds.</details>
# <details><summary>Nothing at all, since accuracy is random</summary>Too strict. It says something true, about ten people and one network.</details>
#
# **6. Which line hides a bug? (support [N·K, D], class by class)**
#
# <details><summary><code>support.view(N, K, D).mean(1)</code></summary>No bug, as long as the examples come class by class.</details>
# <details><summary><code>support.view(K, N, D).mean(0)</code></summary>Right, this one: it reads the examples as if they came shot by
# shot. The shape is [N, D] all the same, and the means mix people.</details>
# <details><summary><code>F.one_hot(y).float().T @ support / K</code></summary>No bug, with K examples in every class. With unequal numbers divide by
# each class's count.</details>

# %% [markdown]
# ## Recap
#
# * Embed, average, compare: (2.1) to (2.3). People are enrolled by a mean; nothing is trained for them.
# * The mean is the best prototype for every Bregman divergence, (2.12), and the squared distance is one, (2.11). The plain distance is not: its best
#   prototype is the geometric median, (2.13).
# * Squared, the classifier is a linear layer with $W_k = 2c_k$, $b_k = -\lVert c_k \rVert^2$, (2.20). Mind the scale: the first loss belongs near ln N.
# * The cosine is half the squared distance of unit vectors; average directions, scale to length 1, and give it a temperature.
# * It wins where nuisance exceeds the difference between people. Elsewhere pixels or LDA tie, and are simpler.
# * `examples/protonet.py` is all of it in one short program, from the faces to the test on strangers. Read it before you read the package.

# %%
progress("02")

# %% [markdown]
# ## References
#
# * J. Snell, K. Swersky, R. Zemel. *Prototypical Networks for Few-shot Learning.* NeurIPS 2017. Section 2.3: Bregman divergences; 2.4: the linear model; equations 1, 2, 8.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)
# * A. Banerjee, S. Merugu, I. S. Dhillon, J. Ghosh. *Clustering with Bregman Divergences.* Journal of Machine Learning Research 6, 2005, 1705-1749. Proposition 1: the mean.
#   [jmlr.org](https://jmlr.org/papers/v6/banerjee05b.html)
# * A. Banerjee, X. Guo, H. Wang. *On the Optimality of Conditional Expectation as a Bregman Predictor.* IEEE Transactions on Information Theory 51(7), 2005, 2664-2669. The converse.
#   [doi:10.1109/TIT.2005.850145](https://doi.org/10.1109/TIT.2005.850145)
# * E. Weiszfeld. *Sur le point pour lequel la somme des distances de n points donnés est minimum.* Tôhoku Mathematical Journal 43, 1937, 355-386.
# * T. Ahonen, A. Hadid, M. Pietikäinen. *Face Description with Local Binary Patterns: Application to Face Recognition.* IEEE TPAMI 28(12), 2006,
#   2037-2041.
#   [doi:10.1109/TPAMI.2006.244](https://doi.org/10.1109/TPAMI.2006.244)
# * P. N. Belhumeur, J. P. Hespanha, D. J. Kriegman. *Eigenfaces vs. Fisherfaces: Recognition Using Class Specific Linear Projection.*
#   IEEE TPAMI 19(7), 1997, 711-720.
#   [doi:10.1109/34.598228](https://doi.org/10.1109/34.598228)
# * G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller. *Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained
#   Environments.* University of Massachusetts Amherst, Technical Report 07-49, 2007.
# * easy-few-shot-learning: `l2_distance_to_prototypes` in `easyfsl/methods/few_shot_classifier.py`, [github.com/sicara/easy-few-shot-learning](https://github.com/sicara/easy-few-shot-learning).

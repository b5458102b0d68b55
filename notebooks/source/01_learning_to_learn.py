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
# # 01 · Learning to learn
#
# A new colleague starts on Monday. You see one photo on the intranet, and on Monday you know them: with another hair style, in the light of the
# canteen, from the side. One example was enough, because you have learned on *other* people how faces change and how they do not. This lesson
# says what that means exactly, how one measures it, and how easily one measures something else.
#
# **After this lesson you can**
#
# * name the three players (learner, meta-learner, meta-task) and write down what each optimises;
# * make N-way K-shot episodes by hand and with one line, and prove why their labels cannot be memorised;
# * report an accuracy with its interval, and say what the interval does *not* cover;
# * run the conventional methods that every meta-learner has to beat: pixels, LBP, LDA, pre-training with a new head;
# * split people instead of images, find a leak, and run a control.

# %% [markdown]
# **You need** lesson 00, PyTorch with a training loop, the mean and variance of a sum. **Time** 60 minutes, with five exercises, worth 10 points.
# **Computing** less than 60 seconds on two CPU cores; a GPU is not needed. With the environment variable `METAFACE_BUDGET=full` images are larger and
# trainings longer.

# %%
import math
import os

import torch
from matplotlib import pyplot as plt
from torch.nn import functional as F

from metaface_lessons.bars import Bar
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.evaluation import evaluate
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.figures import COLOURS, face_grid, show, style, table
from metaface_lessons.learners.baselines import FixedFeatures, lbp, lda, pixels
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Conv4

style()
FULL = os.environ.get("METAFACE_BUDGET") == "full"

# %% [markdown]
# The faces are the synthetic ones of lesson 00, divided *by person* into *base* people, to learn from, *validation* people, to choose with, and
# *novel* people, to report on: strangers. To save time we compute with shrunk images, unless you have asked for the full budget.

# %% tags=["nbval-ignore-output"]
from metaface_lessons.faces import load_faces

faces, parts = load_faces("procedural"), (0.7, 0.05, 0.25)
size = 64 if FULL else 32
base, validation, novel = faces.resized(size).split(parts, seed=0)
sharp = faces.split(parts, seed=0).novel  # the same images as `novel`, to look at
print(
    *[f"{len(part.identities)} people, {len(part)} images" for part in (base, validation, novel)],
    sep="\n",
)

# %% [markdown]
# ## 1 · Three players
#
# **Conventional learning** has one training set of M images $x_m$ with labels $y_m$, and looks for the weights with the least mean loss, say the
# negative log-probability of the truth:
#
# $$ \hat\theta = \arg\min_\theta \; \frac{1}{M} \sum_{m=1}^{M} -\log p(y_m \mid x_m; \theta) \tag{1.1} $$
#
# The labels are *the people of the training set*. Someone who is not among them has no output unit: the network cannot even say their name. You would
# collect many images of the newcomer and train again.
#
# **Learning to learn** takes that apart into two speeds.

# %% [markdown]
# * The **learner** is fast. It is made for one task t from a handful of labelled images, the *support set* $S_t$, and its state is $\varphi_t$: it
#   knows the people of this task, and nobody else.
# * The **meta-learner** is slow. Its weights θ are what all tasks have in common. It has one skill, to turn a support set into a learner:
#
# $$ \varphi_t = \mathcal A_\theta(S_t) \tag{1.2} $$
#
# * A **meta-task** $(S_t, Q_t)$ scores that skill. The *query set* $Q_t$ holds other images of the same people, which the learner has not seen.

# %% [markdown]
# So what is to be minimised is not the loss on what was learned from, but the loss *after learning*, on the queries, over many tasks:
#
# $$ \min_\theta \; \frac{1}{T} \sum_{t=1}^{T} \frac{1}{|Q_t|} \sum_{(x, y) \in Q_t} -\log p\big(y \mid x;\, \mathcal A_\theta(S_t)\big) \tag{1.3} $$
#
# This is a *bi-level* problem: inside, (1.2) learns a task; outside, θ is changed so that (1.2) learns better. All algorithms of this course fill in the
# same frame, and differ only in $\mathcal A_\theta$. In code the frame is three types: `Episodes` (meta-tasks), `MetaLearner` with
# `adapt(support)` (1.2), and the learner that `adapt` gives back, with `predict(images)`.

# %% [markdown]
# Even the plainest method fits: call two images alike if their pixels are. It has no θ at all, but it turns a support set into a learner. We
# compute (1.3) for it twice: as it is written, task by task and query by query, and in one line as the package does.

# %%
episodes = EpisodeSampler(novel, ways=5, shots=1, queries=3, seed=0).sample(tasks=4)
learner = pixels().adapt(episodes.support)  # (1.2)
log_p = learner.predict(episodes.query.x).log_softmax(dim=-1)  # [T, N·Q, N]

total = 0.0
for t in range(4):
    truth = episodes.query.y[t]
    total += sum(-log_p[t, i, truth[i]] for i in range(len(truth))) / len(truth)
one_line = F.cross_entropy(log_p.flatten(0, 1), episodes.query.y.flatten())  # (1.3)
print("sum by sum and in one line agree:", torch.allclose(total / 4, one_line))

# %% [markdown]
# The one line may average over everything at once because all query sets have the same size.
#
# ## 2 · Episodes
#
# A meta-task is also called an *episode*. An **N-way K-shot** episode has N people (*ways*), K support images of each (*shots*), and Q query images of
# each. We draw one by hand, from the novel people: first people without repetition, then images without repetition.

# %%
draw = torch.Generator().manual_seed(3)
N, K, Q = 5, 1, 3

people = novel.identities[torch.randperm(len(novel.identities), generator=draw)[:N]]
support, query = [], []
for person in people:
    own = (novel.identity == person).nonzero().flatten()
    own = own[torch.randperm(len(own), generator=draw)]
    support += own[:K].tolist()
    query += own[K : K + Q].tolist()
print("people", people.tolist())

# %% [markdown]
# **Predict:** in the figure the first row is the support set. Below it are three query images of each person, one under the other. In which column
# would you err, if the queries were shuffled?

# %%
order = torch.tensor(query).view(N, Q).T.flatten().tolist()
figure = face_grid(
    sharp.images[support + order], columns=N, titles=[f"label {n}" for n in range(N)] + [""] * N * Q
)
show(
    figure,
    alt="A 5-way 1-shot episode: in the first row one photo of each of five synthetic people,"
    " labels 0"
    " to 4, below each three other photos of the person.",
)

# %% [markdown]
# A learner must output one of N labels, so the people get new names for the time of the episode: the person at place n of `people` is label n. If
# image s shows the person $\mathrm{id}_s$ and the chosen people are $p_0, \dots, p_{N-1}$, then
#
# $$ y_s = n \quad\Longleftrightarrow\quad \mathrm{id}_s = p_n \tag{1.4} $$
#
# ### Exercise 1: from people to labels
#
# *2 points, 8 minutes.* Equation (1.4) for all images of an episode. `identity [S]` says who is on each image, `people [N]` who takes part, in the
# order of their labels. Return the labels, int64 `[S]`.


# %% exercise="episodes-relabel"
def my_relabel(identity, people):
    ### BEGIN SOLUTION
    return (identity[:, None] == people).int().argmax(dim=1)  # (1.4)
    ### END SOLUTION


check("episodes.relabel", my_relabel)

# %% [markdown]
# The package's `EpisodeSampler` does all this for T tasks at a time. We look at the shapes, and check the properties that we built in by hand.

# %%
sampler = EpisodeSampler(novel, ways=5, shots=2, queries=4, seed=0)
episodes = sampler.sample(tasks=3)
print("support", list(episodes.support.x.shape), "  query", list(episodes.query.x.shape))
print("labels of the support of task 0:", episodes.support.y[0].tolist())

task = torch.cat([episodes.support.x[0], episodes.query.x[0]]).flatten(1)
print("no image occurs twice:", len(task.unique(dim=0)) == len(task))
print("no person occurs twice:", len(episodes.identities[0].unique()) == 5)

# %% [markdown]
# ### Why nobody can memorise the labels
#
# How many tasks are there? The first label goes to one of I people, the next to one of the remaining I − 1, and so on:
#
# $$ I\,(I-1) \cdots (I-N+1) = \frac{I!}{(I-N)!} \tag{1.5} $$
#
# even before images are chosen. **Predict** the power of ten for our base people and N = 5.

# %%
print(
    f"{math.perm(len(base.identities), 5):.1e} ordered choices of 5 of {len(base.identities)}"
    " people"
)

# %% [markdown]
# The number itself is not the point; the *order* is. The same person is label 0 today and label 3 tomorrow. Take a predictor that ignores the support
# set: whatever the image, it has some probabilities $q_0, \dots, q_{N-1}$ for the labels. Since labels are dealt out at random, the truth is each of the
# N with probability 1/N, whoever is on the image. Its expected loss is
#
# $$ \mathbb E\big[-\log q_y\big] = -\frac{1}{N} \sum_{n=0}^{N-1} \log q_n \tag{1.6} $$

# %% [markdown]
# The logarithm is concave, so the mean of logarithms is at most the logarithm of the mean (Jensen), and the $q_n$ sum to 1:
#
# $$ \frac{1}{N} \sum_n \log q_n \;\le\; \log\Big(\frac{1}{N} \sum_n q_n\Big) = \log \frac{1}{N} \tag{1.7} $$
#
# Multiply by −1, which turns the inequality round:
#
# $$ \mathbb E\big[-\log q_y\big] \;\ge\; \log N, \quad\text{with equality for } q_n = \tfrac1N \tag{1.8} $$
#
# **So nothing below log N can be had without the support set.** A loss that stays at log N tells you that your meta-learner has not learned to use it. In
# lesson 05 you will meet that number in a broken program. Let us look for a counterexample among 100,000 random q.

# %%
q = torch.rand(100_000, 5, dtype=torch.float64, generator=draw)
q = q / q.sum(dim=1, keepdim=True)
loss = -q.log().mean(dim=1)  # (1.6)
print(f"least loss of 100,000 tries {loss.min():.4f}, bound (1.8) {math.log(5):.4f}")
print("kept:", bool((loss >= math.log(5)).all()))

# %% [markdown]
# ### Look at more episodes
#
# Move the sliders: ways, shots, queries, another episode. The drop-down list lets support and query differ in condition. Tick *shuffle and hide the
# queries*, decide for each whose it is, then tick *reveal*.
#
# **Questions to answer with it,** with hidden queries. (1) With which condition do *you* begin to err? (2) What is the second shot worth when the first
# photo is covered? (3) How does your own error change from 2 ways to 8?

# %%
from metaface_lessons.widgets import episode_explorer

episode_explorer.explore(sharp)

# %% [markdown]
# ## 3 · A number, and how far to trust it
#
# Whoever guesses is right with probability
#
# $$ p_\text{chance} = \frac1N \tag{1.9} $$
#
# and what is better than guessing must be told from luck. The accuracy of episode e is the share of its queries that are right:
#
# $$ a_e = \frac{1}{NQ} \sum_{(x,y) \in Q_e} \mathbb 1\big[\hat y(x) = y\big] \tag{1.10} $$
#
# and what we report is the mean over E episodes:
#
# $$ \bar a = \frac1E \sum_{e=1}^{E} a_e \tag{1.11} $$

# %% [markdown]
# How far would $\bar a$ move if other episodes were drawn? Episodes are drawn independently of one another, and with the same distribution. Let σ² be the
# variance of one $a_e$. A factor leaves a variance squared, and variances of independent terms add up:
#
# $$ \operatorname{Var}(\bar a) = \frac{1}{E^2} \sum_{e=1}^{E} \operatorname{Var}(a_e) = \frac{E\,\sigma^2}{E^2} = \frac{\sigma^2}{E} \tag{1.12} $$
#
# We do not know σ², so we estimate it; dividing by E − 1 makes up for the mean being estimated from the same numbers:
#
# $$ s^2 = \frac{1}{E-1} \sum_{e=1}^{E} (a_e - \bar a)^2 \tag{1.13} $$

# %% [markdown]
# A mean of many independent terms is nearly normal (central limit theorem), and a normal variable is within 1.96 standard deviations of its mean in 95%
# of the cases. Hence the interval that nearly every few-shot paper prints:
#
# $$ \bar a \;\pm\; 1.96\, \frac{s}{\sqrt E} \tag{1.14} $$
#
# Note that the unit is the *episode*. Queries of one episode share their support set: if the one photo of somebody is bad, all of their queries suffer
# together. Counting the NQ queries as if they were independent would make the interval too narrow.
#
# ### Exercise 2: an accuracy and its interval
#
# *2 points, 6 minutes.* From the `accuracies [E]` of E episodes to two numbers: $\bar a$ and what stands behind ± in (1.14).


# %% exercise="evaluation-interval"
def my_interval(accuracies):
    ### BEGIN SOLUTION
    standard_error = accuracies.std() / math.sqrt(len(accuracies))  # (1.12), with s of (1.13)
    return accuracies.mean(), 1.96 * standard_error  # (1.14)
    ### END SOLUTION


check("evaluation.interval", my_interval)

# %% [markdown]
# The package's `evaluate` does it for any number of methods, all on the same episodes. Equation and package agree? As in lesson 00, `yours` is your
# function once it passes, and the course's until then.

# %%
result = evaluate({"pixels": pixels()}, EpisodeSampler(novel, 5, 1, 5, seed=0), episodes=100)[
    "pixels"
]
interval = yours("evaluation.interval", my_interval)
mean, half = interval(torch.from_numpy(result.episodes))  # (1.14)
agree = [
    math.isclose(one, float(other), rel_tol=1e-6)
    for one, other in ((result.ci95, half), (result.accuracy, mean))
]
print("agree:", *agree)

# %% [markdown]
# Does (1.14) keep its promise? We let a guesser, of whom we know the truth (20%), go through 600 episodes with 25 queries each, and repeat the whole
# evaluation 1000 times.
#
# **Predict:** how many of the 1000 intervals miss the truth? And how wide are they?

# %%
guesses = (
    (torch.rand(1000, 600, 25, generator=draw) < 0.2).double().mean(dim=2)
)  # a_e: [evaluations, episodes]
means, halves = torch.tensor([[float(number) for number in interval(row)] for row in guesses]).T
missed = (means - 0.2).abs() > halves
print(
    f"{int(missed.sum())} of 1000 intervals miss the truth; they are ± {100 * halves.mean():.2f} %"
    " wide"
)

# %%
figure, axes = plt.subplots(figsize=(8, 2.8))
for i in range(60):
    colour = COLOURS[1] if missed[i] else COLOURS[0]
    axes.errorbar(
        i,
        100 * means[i],
        100 * halves[i],
        color=colour,
        marker="s" if missed[i] else "o",
        markersize=4,
        linewidth=1.5,
    )
axes.axhline(20, color="#555555", linestyle=":")
axes.set(xlabel="evaluation", ylabel="accuracy of a guesser, %")
show(
    figure,
    alt=f"Sixty intervals around the accuracy of a guesser. {int(missed[:60].sum())} of them, drawn"
    " as"
    " squares, miss the dotted line at 20%.",
)

# %% [markdown]
# It keeps its promise, about one in twenty misses. Now the catch: it promises something about *other episodes of the same people*. We divide the
# novel people into five groups and evaluate the same method on each.
#
# **Predict:** do the five intervals overlap?

# %% tags=["nbval-ignore-output"]
found = []
for g in range(5):
    group = novel.of(novel.identities[g::5])
    r = evaluate(
        {"pixels": pixels()}, EpisodeSampler(group, 5, 1, 5, seed=0), episodes=600 if FULL else 300
    )["pixels"]
    print(f"group {g}, {len(group.identities)} people: {r}")
    found.append(r)
spread = torch.tensor([r.accuracy for r in found]).std()
explained = (
    torch.tensor([r.ci95 / 1.96 for r in found]).square().mean().sqrt()
)  # (1.14): the root of (1.12)
print(
    f"standard deviation of the five: {100 * spread:.1f} %; the draw of episodes explains"
    f" {100 * explained:.1f} %"
)
r = evaluate({"pixels": pixels()}, EpisodeSampler(novel, 5, 1, 5, seed=0), episodes=300)["pixels"]
print(f"all {len(novel.identities)}: {r} over episodes, ± {100 * r.ci95_people:.1f} over people")

# %% [markdown]
# The groups lie further apart than the draw of episodes explains: some people are simply easier to tell apart. Drawing more episodes of a group narrows its
# interval as much as you like, and never finds that out. So the package gives a second interval, (1.14) with *people* in place of
# episodes (the share of right answers about each person). It is the wider one, and closer to what a reader wants to know: what about other people? It is itself
# rough, since people meet in the same episodes. And neither covers a third source, the *training*: another seed gives another network. Report at least
# three seeds.
#
# ## 4 · What a meta-learner has to beat
#
# The simplest learner has no weights. Describe each image by numbers z (its *features*). Average the support of each label,
#
# $$ c_n = \frac{1}{|S_n|} \sum_{(x, y) \in S,\; y = n} z(x) \tag{1.15} $$
#
# and give a query the label of the nearest mean:
#
# $$ \hat y(x) = \arg\min_n \; \lVert z(x) - c_n \rVert \tag{1.16} $$

# %% [markdown]
# ### Exercise 3: nearest class mean
#
# *2 points, 8 minutes.* Equations (1.15) and (1.16): features `support [S, D]` with `labels [S]`, and `query [Q, D]` → the predicted labels, int64 `[Q]`.


# %% exercise="baselines-nearest-mean"
def my_nearest_mean(support, labels, query, ways):
    ### BEGIN SOLUTION
    means = torch.stack([support[labels == n].mean(dim=0) for n in range(ways)])  # (1.15)
    return torch.cdist(query, means).argmin(dim=1)  # (1.16)
    ### END SOLUTION


check("baselines.nearest_mean", my_nearest_mean)

# %% [markdown]
# The package's baselines are this classifier on fixed features. Equation and package agree?

# %%
episode = EpisodeSampler(novel, 5, 2, 4, seed=1).sample()
method = pixels()
z_support, z_query = method.embed(episode.support.x)[0], method.embed(episode.query.x)[0]
nearest_mean = yours("baselines.nearest_mean", my_nearest_mean)
by_hand = nearest_mean(z_support, episode.support.y[0], z_query, 5)  # (1.15), (1.16)
package = method.adapt(episode.support).predict(episode.query.x).argmax(dim=-1)[0]
print("equations and package agree:", torch.equal(by_hand, package))

# %% [markdown]
# What remains is the choice of z. Three classics:
#
# * **pixels**: the standardised image itself.
# * **LBP**, local binary patterns: each pixel is compared with its eight neighbours, and what is counted, in each of 8 × 8 cells, is how often each pattern of
#   brighter and darker occurs. Made to ignore brightness.
# * **LDA**, linear discriminant analysis ("Fisherfaces"): the first that *learns* from the base people. Let B be the covariance of the means of the people, and W
#   the mean covariance within a person. It looks for directions w along which people differ much, and images of one person little:
#
# $$ \max_w \; r(w) = \frac{w^\top B\, w}{w^\top W\, w} \tag{1.17} $$

# %% [markdown]
# At a maximum the derivative is zero. By the quotient rule, with $\nabla\, w^\top B w = 2Bw$ and $\nabla\, w^\top W w = 2Ww$ for symmetric B and W,
#
# $$ \nabla r(w) = \frac{2Bw\,(w^\top W w) - 2Ww\,(w^\top B w)}{(w^\top W w)^2} = \frac{2}{w^\top W w}\big(Bw - r(w)\,Ww\big) = 0 \;\Longrightarrow\; Bw = r(w)\, Ww \tag{1.18} $$
#
# an eigenvalue problem. (Before that PCA reduces the images to 100 numbers, or W could not be inverted.) What remains of two images is compared by its cosine, which on
# LFW serves LDA much better than the distance; lesson 07 has the figures.
#
# A fourth is what most engineers would do today: **pre-train**. Train a network on (1.1), with the base people as classes. Throw the last layer away, keep the
# features, and for each episode either take nearest means, or fit a *new last layer* to the support set.


# %%
def pretrain(faces, epochs, width=64 if FULL else 32, seed=0):
    """Conv-4 and a linear layer with one output for each person of `faces`, trained on (1.1)."""
    people, label = faces.identity.unique(return_inverse=True)
    embedding = Conv4(faces.shape[0], faces.shape[1], width, seed=seed)
    size = embedding(faces.images[:2]).shape[1]
    last = torch.zeros(len(people), size, requires_grad=True)
    optimiser = torch.optim.Adam([*embedding.parameters(), last], lr=2e-3)
    draw = torch.Generator().manual_seed(seed)
    for _ in Bar(range(epochs), "pre-train", "epoch"):
        for batch in torch.randperm(len(faces), generator=draw).split(64):
            loss = F.cross_entropy(embedding(faces.images[batch]) @ last.T, label[batch])  # (1.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return embedding.eval()


# %% [markdown]
# The new last layer has a row $w_n$ for each label, $p = \mathrm{softmax}(Wz)$, and starts at zero. Let y be the one-hot truth of one support image.
# With $L = -\sum_n y_n \log p_n = -\sum_n y_n (Wz)_n + \log \sum_j e^{(Wz)_j}$ (the $y_n$ sum to 1), the derivative by the logit $(Wz)_n$ is
# $-y_n + p_n$, and the logit depends on $w_n$ as $w_n \cdot z$. So
#
# $$ \frac{\partial L}{\partial W} = (p - y)\, z^\top \tag{1.19} $$
#
# and one step of gradient descent is one line, for T tasks at once:


# %%
def step(W, z, truth, rate):
    """W [T, N, D], z [T, S, D], one-hot truth [T, S, N] → W one step down the support loss."""
    p = (z @ W.mT).softmax(dim=-1)
    return W - rate * (p - truth).mT @ z / z.shape[1]  # (1.19)


z = torch.randn(1, 6, 8, generator=draw, dtype=torch.float64)
W = torch.randn(1, 3, 8, generator=draw, dtype=torch.float64, requires_grad=True)
label = torch.tensor([0, 1, 2, 0, 1, 2])
F.cross_entropy((z @ W.mT)[0], label).backward()
by_hand = step(W.detach(), z, F.one_hot(label, 3)[None].double(), rate=1.0)
print("(1.19) and autograd agree:", torch.allclose(W.detach() - by_hand, W.grad))


# %% [markdown]
# As a method in our frame: `adapt` is the inner loop, `predict` applies what it found. Features are scaled to length 1, so that one rate suits all;
# nearest means below get them scaled, too (`"cosine"` does that), so that the two differ in the last layer alone.


# %%
class NewHead:
    """Fits a fresh last layer to the support set, on features that stay as they are."""

    def __init__(self, features, steps=100, rate=10.0):
        self.features, self.steps, self.rate = features, steps, rate

    def points(self, x):
        return F.normalize(self.features(x.flatten(0, 1)).unflatten(0, x.shape[:2]), dim=-1)

    def adapt(self, support):
        z, truth = self.points(support.x), F.one_hot(support.y).float()
        self.W = torch.zeros(len(z), truth.shape[-1], z.shape[-1])
        for _ in range(self.steps):
            self.W = step(self.W, z, truth, self.rate)
        return self

    def predict(self, x):
        return self.points(x) @ self.W.mT


# %% [markdown]
# Now all methods on the very same episodes of strangers, twice. Under **full nuisance**, as in the figures above. And **clean**: the same strangers,
# photographed once more, frontal, in fixed light, with a neutral face and nothing on it. (With synthetic people one can. What has learned, has learned from the base people
# under full nuisance in both cases.)

# %%
from metaface_lessons.faces import FaceSet
from metaface_lessons.faces.procedural import render, sample_identities, sample_nuisance

who = novel.identities.repeat_interleave(6)
how = sample_nuisance(len(who), seed=1, kind="clean")
everyone = sample_identities(300, seed=0)  # the people of the default set
rows = torch.arange(len(who)).split(50)
photos = torch.cat([render(everyone[who[r]], how[r]) for r in rows])
clean = FaceSet(photos, who, name="clean", synthetic=True).resized(size)
show(
    face_grid(photos[::6][:8], columns=8),
    alt="Eight synthetic people, each frontal, in the same light, before a grey background.",
)

# %% [markdown]
# Pre-training takes about 20 seconds on two cores, and longer on a busy machine; the bar says how far it is.

# %% tags=["nbval-ignore-output"]
embedding = pretrain(base, epochs=8 if FULL else 5)


def learned(images):
    with torch.no_grad():
        return embedding(images).numpy()


features = FixedFeatures(learned)  # computes each image once
methods = {"pixels": pixels(), "LBP": lbp(), "LDA": lda(base)}
methods |= {
    "pre-trained, nearest mean": ProtoNet(features, "cosine"),
    "pre-trained, new head": NewHead(features),
}

# %% [markdown]
# **Predict:** order the five methods, clean and under full nuisance. Which of them fall most? Where is chance? (The cell takes about 10 seconds, twice:
# each condition has a bar of its own.)

# %% tags=["nbval-ignore-output"]
episodes = 1000 if FULL else 300
results = {
    kind: evaluate(methods, EpisodeSampler(faces, 5, 1, 5, seed=0), episodes, progress=True)
    for kind, faces in (("clean", clean), ("full nuisance", novel))
}
table(
    {name: [found[name] for found in results.values()] for name in methods},
    list(results),
    title="5-way 1-shot accuracy on strangers, % ± over people",
)

# %% tags=["nbval-ignore-output"]
figure, axes = plt.subplots(figsize=(8, 3.4))
places = torch.arange(len(methods))
for i, (kind, found) in enumerate(results.items()):
    mean = [100 * found[name].accuracy for name in methods]
    ends = [100 * found[name].ci95_people for name in methods]
    axes.barh(
        places + 0.38 * i - 0.19, mean, 0.36, xerr=ends, color=COLOURS[i], label=kind, capsize=3
    )
axes.axvline(20, color="#555555", linestyle=":", label="chance")
axes.set(
    yticks=places,
    yticklabels=list(methods),
    xlabel="5-way 1-shot accuracy on strangers, % (± over people)",
    xlim=(0, 105),
)
axes.invert_yaxis()
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
words = "; ".join(
    f"{name} {100 * results['clean'][name].accuracy:.0f} and"
    f" {100 * results['full nuisance'][name].accuracy:.0f}"
    for name in methods
)
show(figure, alt=f"Accuracy in percent, clean and under full nuisance: {words}. Chance is 20.")

# %% [markdown]
# Clean, every method is close to perfect, so a clean test tells nothing about which is better. Under nuisance pixels, LBP and LDA fall most of the way to
# chance: the light and the pose of two photos differ more than the people do, and no *linear* map undoes that. A pre-trained network keeps far more.
#
# Be fair to it: it never saw an episode, and it is the strongest so far. Whether its head is fitted to the support set or replaced by nearest means makes
# little difference here: with one photo of each person there is not much to fit. Chen et al. (2019) found such a baseline ahead of
# ProtoNet and MAML where test and training data come from different domains.
#
# What is wrong with it, then? **It was trained for something else.** (1.1) asks it to tell the base people apart, with an output unit for each; nobody
# asked it to *compare strangers by one photo*. Equation (1.3) asks exactly that. Whether it pays to train for what one tests, lesson 06 measures.

# %% [markdown]
# ## 5 · The leak that fakes accuracy
#
# All figures above are about strangers: no image of a novel person was ever trained on. Suppose that someone shuffles *images*, not people, into training
# and test. Then test people were trained on. What do they measure?
#
# Let λ be the share of the test's queries whose person leaked into training, $A_\text{known}$ the accuracy on those, $A_\text{strangers}$ that on the
# others. Right answers add up, so
#
# $$ A_\text{reported} = (1 - \lambda)\, A_\text{strangers} + \lambda\, A_\text{known} \tag{1.20} $$
#
# A number of the old world is mixed into the new one, and nothing in the table gives it away. What we want to know is $A_\text{strangers}$: those whom
# the system will meet.

# %% [markdown]
# ### Exercise 4: split the people, not the images
#
# *2 points, 10 minutes.* From `identity [M]`, who is on each image, make two bool masks `[M]`, `train` and `test`. The test set has all images of
# `round(fraction · people)` of the people, drawn by `seed`; the training set has everybody else's. The same seed gives the same split.


# %% exercise="faces-split-by-identity"
def my_split(identity, fraction, seed):
    ### BEGIN SOLUTION
    people = identity.unique()
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    test = torch.isin(identity, people[order[: round(fraction * len(people))]])
    return ~test, test
    ### END SOLUTION


check("faces.split_by_identity", my_split)

# %% [markdown]
# ### Exercise 5: find the leak
#
# *2 points, 6 minutes.* Somebody hands you two face sets. Return the numbers of the people who are in both, each once, in ascending order (int64, empty
# if there are none).


# %% exercise="faces-shared-people"
def my_shared_people(train, test):
    ### BEGIN SOLUTION
    return train.identities[torch.isin(train.identities, test.identities)]
    ### END SOLUTION


check("faces.shared_people", my_shared_people)

# %% [markdown]
# Our own split, and the split by images that one finds in too many notebooks:

# %%
shared = yours("faces.shared_people", my_shared_people)
print("people in base and novel:", len(shared(base, novel)))

order = torch.randperm(len(novel), generator=draw)
half = len(novel) // 2
one, other = novel.select(order[:half]), novel.select(order[half:])
both = len(shared(one, other))
print(f"after shuffling images: {both} of {len(novel.identities)} people are on both sides")

# %% [markdown]
# Now the damage, measured. The test never changes: 30 people, the same images, the same episodes. The method is LDA, and its training set always has
# 30 people; what changes is how many of them are people of the test. Two kinds of leak: the very images of the test, or other images of the same
# people.
#
# **Predict:** what will the test report when half of its people have leaked, and when all have? Which kind of leak is worse? (21 trainings of LDA take about
# 15 seconds.)

# %% tags=["nbval-ignore-output"]
from metaface_lessons.experiments import leak
from metaface_lessons.widgets import leak_explorer

data = leak.leak_experiment(sharp, episodes=100, progress=True)
table(
    {kind: [curve[place] for place in (0, 5, 10)] for kind, curve in data.reported.items()},
    ["0 % leaked", "50 %", "100 %"],
    title="accuracy that the test reports, % ± over people",
)

# %% tags=["nbval-ignore-output"]
leak_explorer.explore(data, leak_explorer.State(share=50))

# %% [markdown]
# Move the share. If the very images leak, LDA reports whatever you like, up to near perfection, without being one bit better on the next stranger. Note also the
# interval over people: it cannot warn you, for it describes the test that was made, not the one that should have been. (The table's is wider than the
# explorer's. The explorer, like most papers, takes 1.96 standard errors of the people's own accuracies; the table also counts that each person is somebody
# to be confused with.)
#
# The other kind of leak, *other* images of the test people, is just as forbidden, yet here it hardly shows. Under full nuisance what LDA learns of 30
# people does not even carry over to new photos of the very same people. Is such a leak harmless, then? The same experiment on real faces, Olivetti, whose
# photos of a person are much alike, with 20 people in the test. The numbers are stored (`metaface experiment leak` measures them again).
#
# **Predict** the report when all of the test's people, but none of its photos, were trained on.

# %% tags=["real-faces"]
from metaface_lessons.evaluation import Estimate

table(
    {
        kind: [
            Estimate(curve[share]["accuracy"], curve[share]["ci95_people"])
            for share in ("0", "50", "100")
        ]
        for kind, curve in leak.load()["reported"].items()
    },
    ["0 % leaked", "50 %", "100 %"],
    title="Olivetti: accuracy that the test reports, % ± over people",
    digits=0,
)

# %% [markdown]
# Not harmless at all: whoever has trained on a person knows their next photo, too, if it resembles the last. That a leak hardly shows on one set, with one
# method, is no permission. Split people, always.

# %% [markdown]
# Does (1.20) describe the curve? We put in its two ends and compare what it says with what was measured in between.

# %% tags=["nbval-ignore-output"]
curve = data.reported[leak.KINDS[0]]
strangers, known = curve[0].accuracy, curve[-1].accuracy
rows = {}
for i in (2, 5, 8):
    predicted = (1 - i / 10) * strangers + i / 10 * known  # (1.20)
    rows[f"{10 * i} % leaked"] = [predicted, Estimate(curve[i].accuracy, curve[i].ci95_people)]
table(rows, ["(1.20) says", "measured, ± over people"], title="accuracy, %", digits=0)

# %% [markdown]
# Nearly. (1.20) is exact when the two accuracies are those of *this* test. Put in those of its ends, it neglects that a query also
# competes with the other people of its episode, and those may have leaked, too.
#
# ## 6 · Controls: is it the face?
#
# A classifier may be right for the wrong reason. If each person had always been photographed before the same wall, a recogniser of walls would shine. So we
# ask: what can be reached *without* the face? One control sees nothing but the mean brightness of the image, another nothing but its two upper
# corners.
#
# **Predict** both figures. What would it mean if one of them were at 60%?


# %% tags=["nbval-ignore-output"]
def brightness(images):
    return images.float().mean(dim=(1, 2, 3))[:, None].numpy()


def corners(images):
    side = images.shape[-1] // 5
    return (
        torch.cat([images[:, :, :side, :side], images[:, :, :side, -side:]], dim=3)
        .float()
        .flatten(1)
        .numpy()
    )


controls = {
    "mean brightness": ProtoNet(FixedFeatures(brightness)),
    "upper corners": ProtoNet(FixedFeatures(corners)),
}
for name, found in evaluate(controls, EpisodeSampler(novel, 5, 1, 5, seed=0), 600).items():
    print(
        f"{name:16s} {found} over episodes, ± {100 * found.ci95_people:.1f} over people; chance 20"
        " %"
    )

# %% [markdown]
# Both are near chance, as they should be: background, light and exposure were drawn independently of the person. They need not be at it exactly. A dark or light skin, and hair
# that reaches a corner, *do* belong to the person and say a little. A control that works well would not prove that the others cheat; it would
# show that this test cannot tell.
#
# ## 7 · And on real faces?
#
# Synthetic faces are a laboratory: what is measured on them is never reported as accuracy on people. The course therefore stores results on two
# sets of photographs, Olivetti and LFW, whose data cards you find in the folder `data/`. Here are the stored figures of the conventional methods, on
# people who were not trained on. No picture of a real person is shown.

# %% tags=["real-faces"]
from metaface_lessons.experiments import few_shot

rows = {}
for place, shots in few_shot.tests_of("protonet"):
    stored = few_shot.load("protonet", place, shots)
    name = f"{place}, {stored['ways']}-way {shots}-shot, {stored['identities']} strangers"
    rows[name] = [
        Estimate(found["accuracy"], found["ci95_people"]) for found in stored["baselines"].values()
    ]
table(
    rows,
    list(stored["baselines"]),
    title="stored accuracy on photographs, % ± over people; chance is 20 %",
)

# %% [markdown]
# Olivetti's ten photos of a person are much alike, and every method does well. LFW is a collection of news photographs, and there the same methods
# fall, if not as far as under our full nuisance. A set on which everything works cannot show what meta-learning is for.
#
# If scikit-learn's cache holds these sets (`metaface doctor` says so), `METAFACE_BUDGET=full` measures them here and now.

# %% tags=["real-faces"]
from metaface_lessons.doctor import CHECKS

for name in ("olivetti", "lfw") if FULL else ():
    if CHECKS[name]().status != "ok":
        print(f"{name} is not here; nothing was downloaded")
        continue
    split = load_faces(name).resized(size).split((0.7, 0.05, 0.25), seed=0)
    live = {"pixels": pixels(), "LBP": lbp(), "LDA": lda(split.base)}
    for method, found in evaluate(live, EpisodeSampler(split.novel, 5, 1, 4, seed=0), 600).items():
        print(f"{name:10s} {method:8s} {found}")
if not FULL:
    print("Not measured now: METAFACE_BUDGET is not 'full'.")

# %% [markdown]
# ## Quiz
#
# **1. Your meta-learner's training loss on 5-way episodes stays at 1.609. What is most likely?**
#
# <details><summary>It has converged: that is the optimum.</summary>No. It is log 5, the best that can be had <em>without</em> the support set (1.8). With it, a loss near 0 is possible.</details>
# <details><summary>It does not use the support set.</summary>Right. (1.8): whoever ignores the support set cannot get below log 5, and who gives each label 1/5 is just there.</details>
# <details><summary>It has memorised the base people.</summary>No. Memorising people does not help: their labels are dealt out anew in each episode.</details>
# <details><summary>The learning rate is too high; the loss diverges.</summary>A diverging loss grows. This one stands still at a telling value.</details>
#
# **2. You evaluate on 60,000 episodes instead of 600. What happens to the interval (1.14)?**
#
# <details><summary>It becomes ten times narrower, and the result ten times as trustworthy.</summary>The first half is right: √100 = 10. But it is narrower about the <em>same people</em> and the same training; what other people would give is as unsure as before.</details>
# <details><summary>It becomes ten times narrower; what it leaves out stays as it is.</summary>Right. People and seeds have to be sampled, too.</details>
# <details><summary>It becomes a hundred times narrower.</summary>No, the root of E stands in (1.14): a hundred times as many episodes, a tenth of the width.</details>
#
# **3. Which of these is *not* a leak?**
#
# <details><summary>LDA is fitted to all people, episodes are drawn from the novel ones.</summary>It is: LDA has learned from the test people.</details>
# <details><summary>The number of epochs is chosen by the accuracy on the novel people.</summary>It is a leak, if a small one: a choice is learning, too. Choose on the validation people.</details>
# <details><summary>The learner is given one image of each novel person as its support set.</summary>Right, that is no leak. It is the task. The queries are other images.</details>
# <details><summary>Images are shuffled before they are split; each image is in one part only.</summary>It is: people are on both sides.</details>
#
# **4. On which set would you compare two methods?**
#
# <details><summary>Where both are near 100%, for there is little noise.</summary>There they cannot differ. A test at its ceiling tells nothing.</details>
# <details><summary>Where the simple baselines do badly, and controls are at chance.</summary>Right: there is something to learn, and it is in the face.</details>
# <details><summary>Where one's own method does best.</summary>Then the choice of the set is part of the method, and should be reported as such.</details>

# %% [markdown]
# ## Recap
#
# * A **meta-learner** turns a support set into a **learner** (1.2); **meta-tasks** score it on queries, and θ minimises the loss *after* learning (1.3).
# * Labels of an episode are dealt out anew (1.4), so nothing below log N can be had without the support set (1.8).
# * An accuracy comes with its chance level (1.9) and its interval (1.14), which covers neither other people nor other seeds.
# * Pixels, LBP, LDA and a pre-trained network are what there is to beat, on the same episodes.
# * Split people. A leak mixes a flattering number in (1.20). Run a control that does not see the face.
#
# **Next:** in lesson 02 the embedding is trained on (1.3) itself. Nearest mean stays; what changes is that the features are learned *for* it, on episodes like
# those of the test. Will it beat the pre-trained network? Lesson 06 measures that, and no promise is made.

# %%
progress("01")

# %% [markdown]
# ## References
#
# * S. Thrun and L. Pratt (eds.). *Learning to Learn*. Kluwer, 1998.
# * O. Vinyals, C. Blundell, T. Lillicrap, K. Kavukcuoglu, D. Wierstra. Matching Networks for One Shot Learning. *NeurIPS*, 2016.
#   [arXiv:1606.04080](https://arxiv.org/abs/1606.04080)
# * J. Snell, K. Swersky, R. Zemel. Prototypical Networks for Few-shot Learning. *NeurIPS*, 2017.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)
# * W.-Y. Chen, Y.-C. Liu, Z. Kira, Y.-C. F. Wang, J.-B. Huang. A Closer Look at Few-shot Classification. *ICLR*, 2019.
#   [arXiv:1904.04232](https://arxiv.org/abs/1904.04232)
# * P. N. Belhumeur, J. P. Hespanha, D. J. Kriegman. Eigenfaces vs. Fisherfaces: Recognition Using Class Specific Linear Projection. *IEEE
#   Transactions on Pattern Analysis and Machine Intelligence* 19(7), 1997.
#   [doi:10.1109/34.598228](https://doi.org/10.1109/34.598228)
# * T. Ahonen, A. Hadid, M. Pietikäinen. Face Description with Local Binary Patterns: Application to Face Recognition. *IEEE Transactions on Pattern
#   Analysis and Machine Intelligence* 28(12), 2006.
#   [doi:10.1109/TPAMI.2006.244](https://doi.org/10.1109/TPAMI.2006.244)
# * S. Kapoor, A. Narayanan. Leakage and the Reproducibility Crisis in Machine-Learning-Based Science. *Patterns* 4(9), 2023.
#   [doi:10.1016/j.patter.2023.100804](https://doi.org/10.1016/j.patter.2023.100804)
# * G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller. Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained
#   Environments. University of Massachusetts Amherst, Technical Report 07-49, 2007.

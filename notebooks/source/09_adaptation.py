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
# # 09 · Adapting to task and environment
#
# A recogniser meets two kinds of news: people it has never seen, and a camera or a light it has never seen. Lesson 02 answered the first by comparing,
# lesson 03 by gradient steps. Here the two are put together; the rates of the steps are learned, one for each weight; and then a trained network is taken to
# another camera. Each time you will measure what adapting gains, what it costs, and when it hurts.
#
# **After this lesson you can**
#
# * start an inner loop at the prototypes (ProtoMAML), for any number of people, and say which two ways its meta-gradient takes;
# * say from what a learned inner rate learns (Meta-SGD), and check it;
# * predict, from the support set alone, when an inner step will do nothing;
# * adapt a trained network to a new camera from a few images, with labels or without, and choose by gain and cost;
# * recognise when adapting makes matters worse.

# %% [markdown]
# **You need** lessons 02 and 03. **Time** 80 minutes, with four exercises, worth 8 points. **Computing** less than 120 seconds on two CPU cores; a GPU
# is not needed. The trained networks and the results of several seeds are stored with the course; `metaface experiment adaptation` makes them again.

# %%

import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from metaface_lessons.deployment import Tent, entropy, fine_tuned, renormalised
from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.evaluation import evaluate, interval
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.experiments import adaptation
from metaface_lessons.experiments.adaptation import LEARNERS, load_learners, small_split
from metaface_lessons.faces.camera import CAMERAS
from metaface_lessons.figures import COLOURS, face_grid, show, style, table
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.widgets import adaptation_explorer
from metaface_lessons.widgets.adaptation_explorer import Adapted

style()

# %% [markdown]
# ## 1 · Where should a head begin?
#
# MAML's head begins at one learned place for all tasks. But which label a person gets is chance, so the best such place prefers nobody: before its
# first step MAML can only guess, and its first steps are spent on finding out who is who. A prototypical network knows that without any step. Its logits are
# linear in the embedding $f$ of a query:
#
# $$ -\frac{\lVert f - c_k \rVert^2}{\tau} = \frac{2}{\tau}\, c_k^\top f \;-\; \frac{\lVert c_k \rVert^2}{\tau} \;-\; \frac{\lVert f \rVert^2}{\tau} \tag{9.1} $$
#
# The last term is the same for all k, and the softmax does not see it. What remains is a linear head,
#
# $$ w_k = \frac{2}{\tau}\, c_k, \qquad b_k = -\frac{\lVert c_k \rVert^2}{\tau} \tag{9.2} $$
#
# **ProtoMAML** (Triantafillou et al. 2020) starts there. Of each task's own support set it makes the head; the weights θ of the embedding are common, as in MAML; then
# inner steps change both. A head made for the task has as many rows as the task has people, so one network serves 5-way and 20-way tasks alike.

# %% [markdown]
# ### Exercise 1: a head from prototypes
#
# *2 points, 8 minutes.* Equation (9.2). `points [S, D]` are embeddings of the support set, `labels [S]` in 0 to ways − 1. Return the weights `[ways, D]` and the biases
# `[ways]`. The outer loop will want to differentiate through them.


# %% exercise="adaptation-head"
def my_head(points, labels, ways, temperature):
    ### BEGIN SOLUTION
    centres = torch.stack([points[labels == k].mean(0) for k in range(ways)])
    return 2 * centres / temperature, -centres.square().sum(1) / temperature  # (9.2)
    ### END SOLUTION


check("adaptation.head", my_head)

# %% [markdown]
# The package makes this head in one method, `ProtoMAML.start`; everything else is MAML's. We compare it with your head. (`yours` is your function once it
# passes, and the course's until then.) Then see (9.1) and (9.2) at work: without inner steps, ProtoMAML and a prototypical network predict the same, for
# any number of people.

# %%
_, _, novel = small_split()
learners = load_learners()
protomaml = learners["ProtoMAML"]

task = EpisodeSampler(novel, 5, shots=2, queries=4, seed=0).sample()
start = protomaml.start(task.support)
with torch.no_grad():
    points = protomaml.network.embedding(task.support.x[0])
made = yours("adaptation.head", my_head)(points, task.support.y[0], 5, protomaml.temperature)
for part, mine in zip(("weight", "bias"), made, strict=True):
    agree = torch.allclose(start[f"head.{part}"][0], mine, atol=1e-4)
    print(f"(9.2) and the package agree about the {part}: {agree}")


def as_prototypes(support, query):
    """What a prototypical network with ProtoMAML's embedding says, every task by itself."""
    prototypical = ProtoNet(protomaml.network.embedding, temperature=protomaml.temperature)
    tasks = zip(*support, query.x, strict=True)
    with torch.no_grad():
        return torch.cat(
            [prototypical.adapt(Examples(x[None], y[None])).predict(q[None]) for x, y, q in tasks]
        )


protomaml.transductive = (
    True  # as `as_prototypes`, where batch statistics are those of all queries of a task
)
for ways in (2, 5, 10):
    task = EpisodeSampler(novel, ways, shots=2, queries=4, seed=0).sample(tasks=3)
    protomaml.test_steps = 0
    ours, theirs = (
        protomaml.adapt(task.support).predict(task.query.x),
        as_prototypes(task.support, task.query),
    )
    difference = (ours.softmax(-1) - theirs.softmax(-1)).abs().max()
    print(
        f"{ways:2d}-way: logits {list(ours.shape)}; probabilities agree: {bool(difference < 1e-4)}"
    )
protomaml.transductive = False

# %% [markdown]
# ### The meta-gradient has two ways
#
# Let $\Phi(\theta, h)$ be where the inner steps end that begin at embedding θ and head $h = (w, b)$. MAML learns both starts. Here the head is itself a function $h(\theta)$, by the
# prototypes, and the chain rule gives
#
# $$ \frac{d}{d\theta}\, L_Q\big(\Phi(\theta, h(\theta))\big) \;=\; \underbrace{\frac{\partial (L_Q \circ \Phi)}{\partial \theta}}_{\text{MAML's way}} \;+\; \underbrace{\Big(\frac{\partial h}{\partial \theta}\Big)^{\!\top} \frac{\partial (L_Q \circ \Phi)}{\partial h}}_{\text{through the prototypes}} \tag{9.3} $$
#
# The inner loop, too, differentiates a loss by θ, but *there* the head is a variable of its own: a step on θ must not count how the prototypes would move. So the head is computed from θ
# itself, and the inner steps from copies of it.
#
# **Predict:** which of the two ways are left with zero inner steps?
#
# <details><summary>Think first</summary>Both are there: the queries pass through the embedding (the first way), the support set through the prototypes (the second). Together they are the gradient of the
# prototypical network of lesson 02. Cut the second, and the support set is never trained to give good prototypes.</details>
#
# By finite differences, in double precision, on a network small enough to move every weight:

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
tiny = nn.Sequential(nn.Linear(3, 5), nn.Tanh()).double()
x, y = torch.randn(2, 12, 3, dtype=torch.float64), torch.arange(3).repeat(2, 2)
toy = Episodes(Examples(x[:, :6], y), Examples(x[:, 6:], y), torch.zeros(2, 3))


class OneWay(ProtoMAML):
    """Forgets the second way of (9.3)."""

    def start(self, support):
        start = super().start(support)
        return {
            n: w.detach().requires_grad_() if n.startswith("head.") else w for n, w in start.items()
        }


def numerical(net, weight, h=1e-5):
    """The slope of the queries' loss after the inner loop along every entry of `weight`."""
    flat, slopes = weight.data.view(-1), []
    for i, start in enumerate(flat.tolist()):
        losses = []
        for moved in (start + h, start - h):
            flat[i] = moved
            losses.append(net.trajectory(toy, net.steps).query_loss[:, -1].mean())
        flat[i] = start
        slopes.append((losses[0] - losses[1]) / (2 * h))
    return torch.stack(slopes).view_as(weight)


rows = {}
for steps in (0, 1, 3):
    errors = []
    for kind, options in ((ProtoMAML, {}), (OneWay, {}), (ProtoMAML, {"first_order": True})):
        net = kind(tiny, 5, temperature=2.0, steps=steps, inner_rate=0.4, **options)
        net.zero_grad()
        net.meta_gradient(toy)
        errors.append((tiny[0].weight.grad - numerical(net, tiny[0].weight)).abs().max().item())
    rows[f"{steps} inner steps"] = [f"{error:.0e}" for error in errors]
table(rows, ["both ways", "one way", "first order"], title="largest error of the meta-gradient")

# %% [markdown]
# With no step, first order is exact: there is no Hessian to leave out, and the way through the prototypes stays. Dropping that way is the costlier mistake.

# %% [markdown]
# ## 2 · When a step does nothing
#
# Take one inner step on the head. With $p_k(x)$ the predicted probability, cross-entropy has the gradient
#
# $$ \frac{\partial L_S}{\partial w_k} = \frac1{|S|} \sum_{(x, y) \in S} \big(p_k(x) - [y = k]\big)\, f(x), \qquad \frac{\partial L_S}{\partial b_k} = \frac1{|S|} \sum_{(x, y) \in S} \big(p_k(x) - [y = k]\big) \tag{9.4} $$
#
# so a step of rate α changes the logits of a query q, its embedding left as it is, by
#
# $$ \Delta z_k(q) = -\frac{\alpha}{|S|} \sum_{(x, y) \in S} \big(p_k(x) - [y = k]\big)\,\big(f(x)^\top f(q) + 1\big) \tag{9.5} $$
#
# Every support image speaks to the query with two factors: how *wrong* the head is about it, and how alike the two are. So once the support set is right, and surely so, steps move nothing any more. (The gradient by the embedding has the same factor $p_k - [y = k]$.) And a head of prototypes ranks its
# support set right from the start, the more so the fewer images there are: with one shot each image *is* its prototype. What is left for the steps to gain on the support set is certainty, and that is not yet knowledge about queries.
#
# (9.5) agrees with what an inner step on the head does:

# %%
task = EpisodeSampler(novel, 5, shots=2, queries=3, seed=3).sample()
embedding, rate = protomaml.network.embedding, 0.5
with torch.no_grad():
    f, q = embedding(task.support.x[0]), embedding(task.query.x[0])  # [S, D], [Q, D]
head = {
    name: w[0].detach()
    for name, w in protomaml.start(task.support).items()
    if name.startswith("head.")
}
w, b = (w.requires_grad_() for w in head.values())
logits, one_hot = f @ w.T + b, F.one_hot(task.support.y[0], 5)
g_w, g_b = torch.autograd.grad(F.cross_entropy(logits, task.support.y[0]), (w, b))
stepped = q @ (w - rate * g_w).T + (b - rate * g_b)
wrong = logits.softmax(-1) - one_hot  # [S, N]
change = -rate / len(f) * (q @ f.T + 1) @ wrong  # (9.5)
print("(9.5) agrees:", torch.allclose(stepped, q @ w.T + b + change, atol=1e-3))
about_query = 1 - (q @ w.T + b).softmax(-1).gather(1, task.query.y.T).mean()
print("how wrong the head is, on average, of 1: about a support image", end=" ")
print(f"{wrong.abs().sum(1).mean() / 2:.2f}, about a query {about_query:.2f}")

# %% [markdown]
# Right is not sure: here the head gives the right person only about half of the probability. So a step does move logits; but what it can gain on a support set that is ranked right is certainty.
#
# **Predict:** before any inner step, which accuracy on the *support set* have MAML, ANIL and ProtoMAML, 5-way 1-shot? And which on the queries?

# %% tags=["nbval-ignore-output"]
TASKS = 20
inner = {name: net for name, net in learners.items() if isinstance(net, MAML)}
live = {
    shots: {
        name: net.trajectory(EpisodeSampler(novel, 5, shots, 5, seed=1).sample(TASKS), steps=10)
        for name, net in inner.items()
    }
    for shots in (1, 4)
}
rows = {}
for shots, paths in live.items():
    for name, path in paths.items():
        gain = (path.query_accuracy[:, -1] - path.query_accuracy[:, 0]).double().numpy()
        rows[f"{name}, {shots}-shot"] = [
            *(
                f"{100 * accuracy.mean(0)[k]:.0f}"
                for accuracy in (path.support_accuracy, path.query_accuracy)
                for k in (0, 1, 10)
            ),
            f"{100 * interval(gain):.1f}",
        ]
table(
    rows,
    [
        "support: before",
        "1 step",
        "10 steps",
        "queries: before",
        "1 step",
        "10 steps",
        "± of the gain",
    ],
    title="5-way accuracy, %",
)

# %% [markdown]
# MAML, ANIL and Meta-SGD begin at chance: everything that they know about a task they learn in the inner loop, most of it in the first step. ProtoMAML begins about
# where MAML ends. With one shot its support set is right before any step, and by (9.5) the steps can hardly do more than make it surer: the gain is within its interval. With four shots the first step goes too far: look at the support set, which gets worse.

# %% [markdown]
# ## 3 · Learned rates
#
# Why should every weight move at the same rate? **Meta-SGD** (Li et al. 2017) gives each one its own, $a_i$, and the outer loop learns them together with θ:
#
# $$ \varphi = \theta - a \circ \nabla L_S(\theta) \tag{9.6} $$
#
# What does a rate learn from? $\varphi_i = \theta_i - a_i g_i$ with $g = \nabla L_S(\theta)$, so $\partial \varphi_i / \partial a_i = -g_i$, and no other weight depends on $a_i$. With $h = \nabla L_Q(\varphi)$,
#
# $$ \frac{\partial L_Q(\varphi)}{\partial a_i} = \frac{\partial L_Q}{\partial \varphi_i}\, \frac{\partial \varphi_i}{\partial a_i} = -\,h_i\, g_i \tag{9.7} $$
#
# Descending this, a rate *grows* where support and query gradients have the same sign, that is where a step on one helps the other, and shrinks where they disagree, below zero if it must. With one inner
# step no second derivative is needed for it; with several (the stored learners were trained with two) the later gradients depend on the rate, too. A rate that all weights ℓ of a layer share, as MAML++ has and `metaface train maml` uses, moves all of them:
#
# $$ \frac{\partial L_Q(\varphi)}{\partial a_\ell} = -\sum_{i \in \ell} h_i\, g_i \tag{9.8} $$

# %% [markdown]
# ### Exercise 2: what a rate learns from
#
# *2 points, 6 minutes.* Equations (9.7) and (9.8). Given are the gradients of a layer's weights: `support [D]` before the step, g, and `query [D]` after it, h. Return the derivatives by
# the rates of the single weights, `[D]`, and by a rate that all of them share, a number.


# %% exercise="adaptation-rates"
def my_rates(support, query):
    ### BEGIN SOLUTION
    each = -support * query  # (9.7)
    return each, each.sum()  # (9.8)
    ### END SOLUTION


check("adaptation.rates", my_rates)

# %% [markdown]
# In `MAML` it is one option, `rates="fixed"`, `"layer"` or `"parameter"`, and one line of the inner step. That (9.7) is what autograd finds:

# %%
net = MAML(
    nn.Sequential(tiny, nn.Linear(5, 3).double()), steps=1, inner_rate=0.4, rates="parameter"
)
one = Episodes(
    Examples(toy.support.x[:1], toy.support.y[:1]),
    Examples(toy.query.x[:1], toy.query.y[:1]),
    toy.identities[:1],
)
net.meta_gradient(one)

theta = dict(net.network.named_parameters())
g = torch.autograd.grad(
    F.cross_entropy(net.network(one.support.x[0]), one.support.y[0]), list(theta.values())
)
phi = {
    n: (w - 0.4 * gradient).detach().requires_grad_()
    for (n, w), gradient in zip(theta.items(), g, strict=True)
}  # (9.6)
loss = F.cross_entropy(
    torch.func.functional_call(net.network, phi, (one.query.x[0],)), one.query.y[0]
)
h = torch.autograd.grad(loss, list(phi.values()))
by_hand = torch.cat([-(a * b).flatten() for a, b in zip(h, g, strict=True)])  # (9.7)
print(
    f"{len(by_hand)} rates; largest difference to autograd below 1e-12:"
    f" {bool((net.rates.grad - by_hand).abs().max() < 1e-12)}"
)

# %% [markdown]
# **Predict:** the stored Meta-SGD began with 0.2 for all weights. Which layers do you expect to move faster after training, the first or the last? Will any rate be negative?

# %%
metasgd, maml = learners["Meta-SGD"], learners["MAML"]
learned = metasgd.by_weight(metasgd.rates.detach())
rows = {}
for layer, rate in zip(maml.layers, maml.rates.tolist(), strict=True):
    every = torch.cat(
        [r.flatten() for name, r in learned.items() if name.rpartition(".")[0] == layer]
    )
    below = f"{100 * (every < 0).float().mean():.0f} %"
    rows[layer] = [f"{rate:.2f}", f"{every.mean():.2f}", f"{every.std():.2f}", below]
table(rows, ["MAML: one rate", "Meta-SGD: mean", "deviation", "below zero"], title="learned rates")

# %% [markdown]
# MAML's rates began at 0.2, too, one for each layer. The convolutions (0, 4, 8, 12) have slowed down to a fraction; most normalisations (2, 6, 10, 14) and the head kept theirs, or raised it. The outer loop is on its way to ANIL, of its own accord. Of Meta-SGD's rates few are negative. It could do the
# same as MAML's, and more; but by (9.7) each of them hears one noisy product, where by (9.8) the rate of a convolution hears a sum, for most of thousands; and this was a short training.
#
# ## 4 · When does it hurt?
#
# Choose a task: five people, the condition in which they are met, the number of images. **Predict** what the inner steps will mend, then move the sliders. Try the following.
#
# 1. MAML, any condition, 1-shot: move the steps from 0 to 10. After which step does nothing change any more? Look at the grey support curve there.
# 2. ProtoMAML, the same task. How many queries does it mend, how many does it spoil?
# 3. Raise the rate, learner by learner, until ten steps are worse than one. Who bears most?
# 4. Queries lit from the side: the support set says nothing about that light. Do more steps help?

# %%
adaptation_explorer.explore(Adapted(learners, novel))

# %% [markdown]
# One task is an anecdote. Stored are several seeds, each with its own division of the people, and the gain over no inner step on the same tasks.

# %%
stored = adaptation.load()
seeds = list(stored["seeds"].values())


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def summary(accuracies, intervals):
    """Mean accuracy ± mean interval over tasks (deviation over the seeds), in percent."""
    deviation = 100 * torch.tensor(accuracies).std().item()
    return f"{100 * mean(accuracies):5.1f} ± {100 * mean(intervals):3.1f} ({deviation:3.1f})"


rows = {}
for protocol in ("1-shot", "4-shot"):
    for name in inner:
        runs = [seed["inner loop"][name][protocol] for seed in seeds]
        at = {k: runs[0]["steps"].index(k) for k in (0, 1, 10)}
        cells = [
            summary([run["query"][i] for run in runs], [run["query_ci95"][i] for run in runs])
            for i in at.values()
        ]
        gains = [run["query"][-1] - run["query"][0] for run in runs]
        hurt = [f"{100 * mean(run['hurt'][at[k]] for run in runs):.0f}" for k in (1, 10)]
        gain = summary(gains, [run["gain_ci95"][-1] for run in runs])
        rows[f"{name}, {protocol}"] = [*cells, gain, *hurt]
    runs = [seed["protonet"][protocol] for seed in seeds]
    before = summary([run["accuracy"] for run in runs], [run["ci95"] for run in runs])
    rows[f"ProtoNet, {protocol}"] = [before, *[None] * 5]
seconds = {name: mean(seed["seconds"][name] for seed in seeds) for name in LEARNERS}
print("seconds of training: " + ", ".join(f"{name} {spent:.0f}" for name, spent in seconds.items()))
table(
    rows,
    ["no step", "1 step", "10 steps", "gain of 10", "worse off after 1", "after 10"],
    title=f"5-way accuracy, % ± over tasks (deviation over seeds), and tasks that are worse off, %;"
    f" {len(seeds)} seeds of {stored['tasks']} tasks",
)

# %% [markdown]
# * **The first step is most of** what MAML, ANIL and Meta-SGD need; ten add three to five points with one shot, six to ten with four. Hardly a task is worse off, for before it they know nothing.
# * **ProtoMAML** begins above where MAML ends, and its steps gain nothing. With four shots the first one even leaves most tasks worse off than before, and ten steps only make up for it. Adapting hurts where the start was good and the step goes too far.
# * **Meta-SGD** has a rate for every weight, MAML nine in all; after so short a training their accuracies cannot be told apart. ANIL, which adapts least, is ahead of both, as in lesson 06.
# * **ProtoNet**, which adapts nothing, is ahead of all: in the same seconds it makes more steps, on tasks with four times as many people. Inner loops are not what recognises faces best here.
#
# And at other rates than those that were learned (seed 0, 20 tasks each):

# %%
first = stored["seeds"]["0"]["inner loop"]
figure, axes = plt.subplots(1, len(inner), figsize=(9.6, 3.0), sharey=True)
told = []
for axis, name in zip(axes, inner, strict=True):
    curves = {"1": {"1-shot": first[name]["conditions"]["any"]}, **first[name]["factors"]}
    for colour, (factor, paths) in zip(
        COLOURS, sorted(curves.items(), key=lambda item: float(item[0])), strict=False
    ):
        path = paths["1-shot"]
        if "query" in path:
            axis.plot(
                path["steps"],
                [100 * v for v in path["query"]],
                "o-",
                ms=4,
                color=colour,
                label=f"× {float(factor):g}",
            )
            told.append(f"{name} × {float(factor):g}: {100 * path['query'][-1]:.0f}%")
        else:
            told.append(f"{name} × {float(factor):g}: diverges")
    axis.set(title=name, xlabel="inner steps", ylim=(0, 100))
axes[0].set_ylabel("accuracy, 5-way 1-shot, %")
axes[-1].legend(fontsize=9, loc="upper right", ncols=2)
show(
    figure,
    alt="Accuracy over inner steps at multiples of the learned rates; after ten steps "
    + "; ".join(told)
    + ".",
)

# %% [markdown]
# **This is when it hurts:** too high a rate where the steps move the embedding. A step on the head alone (ANIL) leaves all pictures where they are and moves only the borders between people: once the five support images are right, more of the same is harmless. A step on the
# embedding moves all pictures, on the word of five.
#
# In other conditions (20 tasks each, so several points may be chance):

# %%
rows = {}
for name in inner:
    paths = [path["query"] for path in first[name]["conditions"].values()]
    rows[name] = [f"{100 * query[0]:.0f}, {100 * query[-1]:.0f}" for query in paths]
table(
    rows,
    list(first["MAML"]["conditions"]),
    title="5-way 1-shot accuracy before and after 10 steps, %; seed 0",
)

# %% [markdown]
# ## 5 · A new camera
#
# Now the people's network is trained and shipped, and the camera is another one. `Camera` changes pictures: blur, noise, tone, white balance, the tones of near infrared.

# %%
images = novel.images[[0, 25, 45]]
rows = torch.stack([camera(images) for camera in CAMERAS.values()], dim=1)  # [3, 6, C, H, W]
show(
    face_grid(
        rows.flatten(0, 1),
        columns=len(CAMERAS),
        titles=["same", "warm light", "soft", "noisy", "infrared", "webcam"] + [""] * 12,
        zoom=4,
    ),
    alt="Three strangers by six cameras: the usual one, warm light, soft, noisy, near infrared,"
    " and a cheap webcam.",
)

# %% [markdown]
# ProtoNet normalises every channel of every layer by the mean and variance of the *training* images, frozen since then:
#
# $$ \hat y = \frac{y - \mu}{\sigma} \tag{9.9} $$
#
# Suppose the camera does to a channel $y' = s\,y + t$ with $s > 0$, the same for all images. Then with the old statistics the next layer sees $\hat y' = (s\,y + t - \mu)/\sigma \ne \hat y$. With those of the new images, $\mu' = s\mu + t$ and $\sigma' = s\sigma$,
#
# $$ \hat y' = \frac{s\,y + t - (s\mu + t)}{s\,\sigma} = \hat y \tag{9.10} $$
#
# and the camera is gone. To estimate μ′ and σ′ one needs *images* of the new camera, of anybody, and no labels: AdaBN (Li et al. 2017). A few images say little about a variance; so let the old statistics
# count for n₀ images beside the n new ones (Schneider et al. 2020):
#
# $$ \mu_{\text{new}} = \frac{n_0\,\mu + n\,\mu'}{n_0 + n}, \qquad \sigma^2_{\text{new}} = \frac{n_0\,\sigma^2 + n\,\sigma'^2}{n_0 + n} \tag{9.11} $$
#
# What a camera really does is not of the form $s\,y + t$: noise adds variance that carries no face, blur takes away what the filters looked for. How much (9.11) helps must be measured.

# %% [markdown]
# ### Exercise 3: statistics from a few images
#
# *2 points, 8 minutes.* Equation (9.11). `x [n, C, H, W]` is what a normalisation sees of n images by the new camera; `mean [C]` and `variance [C]` are the old statistics; `prior` is n₀. Return new mean
# and variance, `[C]` each. The variance of the images divides by the number of values, as a normalisation does.


# %% exercise="adaptation-statistics"
def my_statistics(x, mean, variance, prior):
    ### BEGIN SOLUTION
    n = len(x)
    new_variance, new_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    return (prior * mean + n * new_mean) / (prior + n), (prior * variance + n * new_variance) / (
        prior + n
    )  # (9.11)
    ### END SOLUTION


check("adaptation.statistics", my_statistics)

# %% [markdown]
# (9.10), for a camera that does nothing but scale and shift what the first normalisation sees:

# %%
norm = nn.BatchNorm2d(3, affine=False, eps=0).eval()  # its old statistics: mean 0, variance 1
y = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 5
statistics, normalised = yours("adaptation.statistics", my_statistics), {}
for name, seen in (("old camera", y), ("new camera", 0.3 * y - 4)):
    new = statistics(seen, norm.running_mean, norm.running_var, 0)  # (9.11)
    norm.running_mean, norm.running_var = new
    normalised[name] = norm(seen)  # (9.9)
print("(9.10) holds:", torch.allclose(*normalised.values(), atol=1e-5))

# %% [markdown]
# Now the whole network. The unlabelled images are of *base* people by the cheap webcam; tested are strangers, support and queries by the same webcam.
#
# **Predict:** how much does ProtoNet lose by the webcam? How much of that do 20 images bring back; how much do 5, with and without a prior?

# %% tags=["nbval-ignore-output"]
base = small_split().base
webcam = CAMERAS["cheap webcam"]
others, strangers = webcam.faces(base, seed=1), webcam.faces(novel, seed=2)
protonet = learners["ProtoNet"]
order = torch.randperm(len(others), generator=torch.Generator().manual_seed(0))
methods = {"nothing": protonet}
for n, prior in ((5, 0), (5, 20), (20, 0), (20, 20), (100, 20)):
    methods[f"statistics of {n}, n₀ = {prior}"] = renormalised(
        protonet, others.images[order[:n]], prior
    )
usual = evaluate({"usual camera": protonet}, EpisodeSampler(novel, 5, 1, 5, seed=1), 100)
sampler = EpisodeSampler(strangers, 5, 1, 5, seed=1)
found = usual | evaluate(methods, sampler, 100, progress=True)
rows = {}
for name, result in found.items():
    gain = result.episodes - found["nothing"].episodes
    same = name in ("usual camera", "nothing")
    paired = None if same else f"{100 * gain.mean():+.1f} ± {100 * interval(gain):.1f}"
    rows[name] = [f"{100 * result.accuracy:.1f} ± {100 * result.ci95:.1f}", paired]
table(rows, ["5-way 1-shot", "gain, paired"], title="accuracy by a cheap webcam, % ± over episodes")

# %% [markdown]
# The learners with an inner loop have this built in: their `TaskNorm` takes its statistics from the support set of each task. By the last table of section 4 they lose accuracy by the webcam all the same; and it holds only as long as the queries come from the same camera as the support set.

# %% [markdown]
# ## 6 · Making predictions more certain
#
# Can the queries themselves help, without labels? **Tent** (Wang et al. 2021) descends the entropy of the predictions,
#
# $$ H(p) = -\sum_k p_k \log p_k \tag{9.12} $$
#
# by scales and shifts of the normalisations alone. (The paper's Tent also normalises by the statistics of the queries; ours keeps the old ones, so that you see what the entropy alone brings.) What does that do to a logit? With $\partial p_k / \partial z_j = p_k([k = j] - p_j)$ and $\sum_k p_k = 1$,
#
# $$ \frac{\partial H}{\partial z_j} = -\sum_k p_k\big([k=j] - p_j\big)\big(\log p_k + 1\big) = -p_j \log p_j - p_j + p_j \sum_k p_k (\log p_k + 1) = -p_j\,(\log p_j + H) \tag{9.13} $$
#
# Descending it raises the logits with $\log p_j > -H$: those of the people who are likely already. **It makes surer what it believes, right or wrong.** It pays where the network is mostly right; it cannot know where it is not.

# %% [markdown]
# ### Exercise 4: how unsure is a prediction?
#
# *2 points, 6 minutes.* Equation (9.12). `logits [Q, N]` → entropies `[Q]`. Mind the predictions that are very sure. Below we descend this
# number, so its gradient must be right too.


# %% exercise="adaptation-entropy"
def my_entropy(logits):
    ### BEGIN SOLUTION
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)  # (9.12)
    ### END SOLUTION


check("adaptation.entropy", my_entropy)

# %%
z = torch.tensor([2.0, 1.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
p, H = z.softmax(-1), entropy(z)
(gradient,) = torch.autograd.grad(H, z)
print("(9.13) agrees:", torch.allclose(gradient, -p * (p.log() + H)))
print(
    "probabilities",
    [round(v, 2) for v in p.tolist()],
    " descent moves the logits by",
    [round(-v, 2) for v in gradient.tolist()],
)

# %% tags=["nbval-ignore-output"]
task = EpisodeSampler(strangers, 5, 1, 5, seed=4).sample()
known, labels, asked, truth = task.support.x[0], task.support.y[0], task.query.x[0], task.query.y[0]
rows = {}
for step, logits in enumerate(
    Tent(protonet, steps=5, rate=0.1).adapt(task.support).steps(known, labels, asked)
):
    right = int((logits.argmax(-1) == truth).sum())
    rows[f"step {step}"] = [f"{entropy(logits).mean():.2f}", right]
table(rows, ["entropy", "right of 25"], title="Tent on one task")

# %% [markdown]
# The entropy falls at every step. Whether the right answers rise is another question, and the next table answers it.

# %% [markdown]
# ## 7 · What pays?
#
# The same seeds, the cheap webcam for support and queries. *Images* are those of the new camera that a remedy needs before it serves (for Tent the queries, together, of each task), *labels* how many of them must be named. Milliseconds are of one
# core; Tent's are for every task, all others are paid once.

# %%
tables = [seed["cameras"]["cheap webcam"] for seed in seeds]
none = [found["none"]["1-shot"]["accuracy"] for found in tables]
usual = [seed["protonet"]["1-shot"] for seed in seeds]
rows = {"(usual camera)": [summary([r["accuracy"] for r in usual], [r["ci95"] for r in usual])]}
for name in tables[0]:
    if not all(name in found for found in tables) or (
        name.endswith(" 0 steps") and "Proto" not in name
    ):
        continue  # at chance
    one, four = ([found[name][protocol] for found in tables] for protocol in ("1-shot", "4-shot"))
    cells = [
        summary([r["accuracy"] for r in some], [r["ci95"] for r in some]) for some in (one, four)
    ]
    gains = [100 * (r["accuracy"] - before) for r, before in zip(one, none, strict=True)]
    rows[name] = [cells[0], f"{mean(gains):+.1f} ({torch.tensor(gains).std():.1f})", cells[1]]
    if "ms" in tables[0][name]:
        spent = f"{mean(found[name]['ms'] for found in tables):.0f}"
        rows[name] += [tables[0][name]["images"], tables[0][name]["labels"], spent]
columns = ["1-shot", "gain (seeds)", "4-shot", "images", "labels", "ms"]
table(
    {name: cells + [None] * (len(columns) - len(cells)) for name, cells in rows.items()},
    columns,
    title="ProtoNet by a cheap webcam: accuracy, % ± over tasks (deviation over seeds)",
)

# %% [markdown]
# The webcam costs about thirty points. Five unlabelled images of anybody, in a few milliseconds, bring nine or so of them back, a hundred hardly more. The prior of (9.11) is no help here: with five images it costs points, for the old
# statistics are so far off that holding on to them does more harm than the noise of five images; with twenty and more it makes no difference. Twenty labels bring no more than images without labels; a hundred bring a few points more, for most of a second of computing and somebody who names the people. Descending the entropy with the old statistics brings less than
# new statistics do, needs all queries of a task at once, and pays anew for every task. (Its rows are the first 20 of the 60 tasks, so its gain is not paired.)
#
# Cameras differ. And often the *gallery* was taken by the old camera, and only the queries come from the new one; then each side wants its own statistics (seed 0):

# %%
zero = stored["seeds"]["0"]
rows = {}
for camera, found in zero["cameras"].items():
    short = "statistics of 100"
    new = f"{short}, prior 20" if f"{short}, prior 20" in found else short
    cells = [found["none"]["1-shot"], found[new]["1-shot"], *zero["gallery"][camera].values()]
    rows[camera] = [cell["accuracy"] for cell in cells]
table(
    rows,
    [
        "both sides new: nothing",
        "statistics of 100",
        "gallery old, queries new: nothing",
        "new for queries",
        "new for both",
    ],
    title="5-way 1-shot accuracy, %, by the camera of each side",
)

# %% [markdown]
# With both sides by the new camera, new statistics pay for the webcam, and a little, hardly more than an interval of so few tasks, for warm light and noise. They do not where a camera takes the colours away that the filters look for, as near infrared does. And with the gallery by the old camera **each side
# wants its own statistics**, as (9.10) says: but for the softest of the changes, one network for both, old or new, is far behind.
#
# A real camera, and real light: the same networks, which have seen procedural faces alone, on Extended Yale B (grey pictures, 14 people tested, their lights from everywhere; 14 others give the images that remedies need). Numbers only.

# %% tags=["real-faces"]
rows = {
    name: [row["1-shot"]["accuracy"], row["1-shot"]["ci95_people"], row["4-shot"]["accuracy"]]
    for name, row in zero.get("extended yale b", {}).items()
}
table(rows, ["1-shot", "± people", "4-shot"], title="Extended Yale B, 5-way accuracy, %")

# %% [markdown]
# Here nothing helps: with one shot all are near chance, and with four, new statistics without a prior even cost some points. What the networks do not see, no statistics and no labels of a few people bring back; lessons 08 and 10 train for such gaps instead. With four shots the
# learners that adapt all weights, MAML, Meta-SGD and ProtoMAML, come out highest, but on 10 tasks each: do not build on it.
#
# With your own copy: `metaface experiment adaptation --yale FOLDER`.

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. You trained ProtoMAML on 5-way tasks. Can it be asked about 20 people?**
#
# <details><summary>No: its head has five outputs</summary>That is MAML. Here the head is made from the support set, with as many rows as it has people.</details>
# <details><summary>Yes: the head is made anew for every task</summary>Right. Whether its learned rates suit twenty people is another question, to be measured.</details>
# <details><summary>Only with zero inner steps</summary>The steps, too, know no number of people: (9.4) holds for any.</details>
#
# **2. The support loss of a task is nearly zero before the first step. What will ten steps do to the queries?**
#
# <details><summary>Mend most mistakes: there is time enough</summary>By (9.5) what moves the logits is how wrong the head is about the *support* set. It is not.</details>
# <details><summary>Hardly anything</summary>Right, at a moderate rate: every term of (9.5) has a factor near zero.</details>
# <details><summary>Make them worse, by overfitting</summary>It may, at a high rate. But where the gradient vanishes there is nothing to overfit with.</details>
#
# **3. A rate of Meta-SGD has become negative. A bug?**
#
# <details><summary>Yes: descent needs positive rates</summary>Not in (9.6). The outer loop descends the *queries'* loss, and takes any sign that helps.</details>
# <details><summary>No: on that weight, support and query gradients mostly disagreed</summary>Right: by (9.7) the rate then falls, and zero is no barrier. It may also be noise, if training was short.</details>
# <details><summary>No: rates are random</summary>They all began with the same value, and were learned.</details>
#
# **4. What does AdaBN need?**
#
# <details><summary>Labelled images of the new camera</summary>No labels: (9.11) looks at means and variances.</details>
# <details><summary>Unlabelled images of the people to be recognised</summary>Of anybody, as long as they are as varied as those that will come.</details>
# <details><summary>Unlabelled images of anybody, by the new camera</summary>Right. But if they all show one light, or one person, that becomes the "camera".</details>
#
# **5. Entropy fell to a tenth, accuracy fell, too. How can that be?**
#
# <details><summary>Impossible: certain predictions are right</summary>Certain is not right. (9.13) has no label in it.</details>
# <details><summary>The network became surer of mistakes</summary>Right: descent raises whatever was likely before.</details>
# <details><summary>The rate was too small</summary>Then the entropy would not have fallen so far.</details>
#
# **6. The gallery was taken by the old camera, the queries come from a new one, which moves all activations of a channel alike. Whose statistics normalise what?**
#
# <details><summary>The new ones, all images: there must be one network</summary>Then the gallery is normalised by statistics that are not its own.</details>
# <details><summary>The old ones for the gallery, the new ones for the queries</summary>Right: by (9.10) both then lie where the old camera's images would.</details>
# <details><summary>The mean of both</summary>Fits neither side.</details>

# %% [markdown]
# ## Recap
#
# * ProtoMAML starts the head at the prototypes, (9.2): no head to learn, any number of people, and a meta-gradient with two ways, (9.3). With no step it *is* a prototypical network.
# * A step moves a query's logits by how wrong the head is about the support set, (9.5). Where that is right and sure, steps do nothing; where the rate is too high, they spoil what was right.
# * A learned rate grows where support and query gradients agree, (9.7). One rate a layer hears a sum, one a weight a single noisy product.
# * A cheap webcam cost thirty points of eighty. New statistics, (9.11), bring about a third of that back for a few unlabelled images and milliseconds; a hundred labels, a little more. With a gallery by the old camera, each side wants its own.
# * Making predictions surer, (9.13), does not make them right.
# * Before you adapt anything, measure "no adaptation" on the same tasks: the paired gain is the number that counts, and its sign is not given.

# %%
progress("09")

# %% [markdown]
# ## References
#
# * E. Triantafillou et al. *Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples.* ICLR 2020. ProtoMAML.
#   [arXiv:1903.03096](https://arxiv.org/abs/1903.03096)
# * Z. Li, F. Zhou, F. Chen, H. Li. *Meta-SGD: Learning to Learn Quickly for Few-Shot Learning.* [arXiv:1707.09835](https://arxiv.org/abs/1707.09835), 2017.
# * A. Antoniou, H. Edwards, A. Storkey. *How to Train Your MAML.* ICLR 2019. Rates for each layer and step.
#   [arXiv:1810.09502](https://arxiv.org/abs/1810.09502)
# * Y. Li, N. Wang, J. Shi, J. Liu, X. Hou. *Revisiting Batch Normalization for Practical Domain Adaptation.* ICLR workshop 2017. AdaBN.
#   [arXiv:1603.04779](https://arxiv.org/abs/1603.04779)
# * S. Schneider, E. Rusak, L. Eck, O. Bringmann, W. Brendel, M. Bethge. *Improving Robustness against Common Corruptions by Covariate Shift Adaptation.* NeurIPS 2020. The prior of (9.11).
#   [arXiv:2006.16971](https://arxiv.org/abs/2006.16971)
# * D. Wang, E. Shelhamer, S. Liu, B. Olshausen, T. Darrell. *Tent: Fully Test-Time Adaptation by Entropy Minimization.* ICLR 2021.
#   [arXiv:2006.10726](https://arxiv.org/abs/2006.10726)
# * J. Snell, K. Swersky, R. Zemel. *Prototypical Networks for Few-shot Learning.* NeurIPS 2017. The linear head, section 2.4.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)

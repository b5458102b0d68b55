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
# A recogniser meets two kinds of novelty: people it has never seen, and a camera or a light it has never seen. Lesson 02 answered the first by
# comparing, lesson 03 by gradient steps. This lesson puts the two together and learns the rates of the steps, one for each weight. Then it takes
# trained networks to other cameras. Each time you will measure what adapting gains, what it costs, and when it hurts.
#
# **After this lesson you can**
#
# * start an inner loop at the prototypes (ProtoMAML), for any number of people, and name the two paths of its meta-gradient;
# * say from what a learned inner rate learns (Meta-SGD), and check it;
# * predict, from the support set alone, when an inner step will do nothing;
# * adapt a trained network to a new camera from a few images, with labels or without, and choose by gain and cost;
# * decide from a few unlabelled images whether to adapt at all.

# %% [markdown]
# **You need** lessons 02 and 03. **Time** 110 minutes, with five exercises, worth 11 points. After section 4 you may stop: sections 5 to 8 are
# about cameras and need nothing from the first half except its learners. **Computing** less than 120 seconds on two CPU cores; a GPU is not needed.
# The trained networks and the results of several seeds are stored with the course; `metaface experiment adaptation` makes them again.

# %%

import textwrap

import torch
from IPython.display import display
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from metaface_lessons.deployment import Cameras, SupportStatistics, Tent, entropy, renormalised
from metaface_lessons.episodes import Episodes, EpisodeSampler, Examples
from metaface_lessons.evaluation import Estimate, evaluate, paired
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.experiments import adaptation
from metaface_lessons.experiments.adaptation import LEARNERS, load_learners, small_split
from metaface_lessons.faces.camera import CAMERAS
from metaface_lessons.figures import COLOURS, face_grid, forest, forest_alt, show, style, table
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.widgets import adaptation_explorer
from metaface_lessons.widgets.adaptation_explorer import Adapted

style()

# %% [markdown]
# ## 1 · Where should a head begin?
#
# MAML's head begins at one learned place for all tasks. But chance decides which label a person gets, so the best such place prefers nobody. Before
# its first step MAML can only guess, and its first steps find out who is who. A prototypical network knows that without any step. Its logits are
# linear in the embedding $f$ of a query:
#
# $$ -\frac{\lVert f - c_k \rVert^2}{\tau}
# = \frac{2}{\tau}\, c_k^\top f \;-\; \frac{\lVert c_k \rVert^2}{\tau} \;-\; \frac{\lVert f \rVert^2}{\tau} \tag{9.1} $$
#
# The last term is the same for all k, and the softmax does not see it. What remains is a linear head,
#
# $$ w_k = \frac{2}{\tau}\, c_k, \qquad b_k = -\frac{\lVert c_k \rVert^2}{\tau} \tag{9.2} $$
#
# **ProtoMAML** (Triantafillou et al. 2020) starts there. It makes the head from each task's own support set. The weights θ of the embedding are
# common to all tasks, as in MAML, and inner steps then change both. A head made for the task has as many rows as the task has people, so one
# network serves 5-way and 20-way tasks alike.

# %% [markdown]
# ### Exercise 1: a head from prototypes
#
# *2 points, 8 minutes.* Equation (9.2). `points [S, D]` are embeddings of the support set, `labels [S]` in 0 to ways − 1; the classes may differ in
# size. Return the weights `[ways, D]` and the biases `[ways]`. The outer loop will differentiate through them.


# %% exercise="adaptation-head"
def my_head(points, labels, ways, temperature):
    ### BEGIN SOLUTION
    centres = torch.stack([points[labels == k].mean(0) for k in range(ways)])
    return 2 * centres / temperature, -centres.square().sum(1) / temperature  # (9.2)
    ### END SOLUTION


check("adaptation.head", my_head)

# %% [markdown]
# The package makes this head in one method, `ProtoMAML.start`; everything else is MAML's. We compare it with your head. (`yours` is your function
# once it passes, and the course's until then.) Then see (9.1) and (9.2) at work: without inner steps, ProtoMAML and a prototypical network predict
# the same, for any number of people.

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
# ### The meta-gradient has two paths
#
# Let $\Phi(\theta, h)$ be where the inner steps end that begin at embedding θ and head $h = (w, b)$. MAML learns both starts. Here the head is
# itself a function $h(\theta)$, by the prototypes, and the chain rule gives
#
# $$ \frac{d}{d\theta}\, L_Q\big(\Phi(\theta, h(\theta))\big)
# \;=\; \underbrace{\frac{\partial (L_Q \circ \Phi)}{\partial \theta}}_{\text{MAML's path}} \;+\; \underbrace{\Big(\frac{\partial h}{\partial
# \theta}\Big)^{\!\top} \frac{\partial (L_Q \circ \Phi)}{\partial h}}_{\text{through the prototypes}} \tag{9.3} $$
#
# Inside the inner loop the head is an independent variable: when we step on θ we do not differentiate through the prototypes. Only the outer loop
# does. So the code computes the head from θ once, and the inner steps work on copies of both.
#
# **Predict:** which of the two paths are left with zero inner steps?
#
# <details><summary>Think first</summary>Both are there. The queries pass through the embedding (the first path), the support set through the
# prototypes (the second). Together they are the gradient of the prototypical network of lesson 02. Cut the second, and the support set is never
# trained to give good prototypes.</details>
#
# By finite differences, in double precision, on a network small enough to move every weight:

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
tiny = nn.Sequential(nn.Linear(3, 5), nn.Tanh()).double()
x, y = torch.randn(2, 12, 3, dtype=torch.float64), torch.arange(3).repeat(2, 2)
toy = Episodes(Examples(x[:, :6], y), Examples(x[:, 6:], y), torch.zeros(2, 3))


class OnePath(ProtoMAML):
    """Forgets the second path of (9.3)."""

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
    for kind, options in ((ProtoMAML, {}), (OnePath, {}), (ProtoMAML, {"first_order": True})):
        net = kind(tiny, 5, temperature=2.0, steps=steps, inner_rate=0.4, **options)
        net.zero_grad()
        net.meta_gradient(toy)
        errors.append((tiny[0].weight.grad - numerical(net, tiny[0].weight)).abs().max().item())
    rows[f"{steps} inner steps"] = [f"{error:.0e}" for error in errors]
table(rows, ["both paths", "one path", "first order"], title="largest error of the meta-gradient")

# %% [markdown]
# With no step, first order is exact: there are no Hessians to leave out, and the path through the prototypes stays. Dropping that path is the
# larger mistake.

# %% [markdown]
# ## 2 · When a step does nothing
#
# Take one inner step on the head. Let $p_k(x)$ be the predicted probability, and $\mathbb 1[y = k]$ be 1 where y = k and 0 elsewhere. Then
# cross-entropy has the gradient
#
# $$ \frac{\partial L_S}{\partial w_k} = \frac1{|S|} \sum_{(x, y) \in S} \big(p_k(x) - \mathbb 1[y = k]\big)\, f(x), \qquad
# \frac{\partial L_S}{\partial b_k} = \frac1{|S|} \sum_{(x, y) \in S} \big(p_k(x) - \mathbb 1[y = k]\big) \tag{9.4} $$
#
# so a step of rate α changes the logits of a query q by the following, if its embedding stays as it is:
#
# $$ \Delta z_k(q) = -\frac{\alpha}{|S|} \sum_{(x, y) \in S} \big(p_k(x) - \mathbb 1[y = k]\big)\,\big(f(x)^\top f(q) + 1\big) \tag{9.5} $$
#
# Every support image contributes two factors: how *wrong* the head is about it, and how alike the two images are. So once the head is right about
# the support set, and sure, steps no longer move anything. (The gradient by the embedding has the same factor $p_k - \mathbb 1[y = k]$.) A head of
# prototypes ranks its support set right from the start, and more so with fewer images: with one shot each image *is* its prototype. On the support
# set small steps can then only gain certainty, and that is not yet knowledge about queries.
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
# Right is not sure: the average wrongness about a support image is still well above 0. So a step does move logits; but what it can gain on a
# support set that is ranked right is certainty.
#
# **Predict:** before any inner step, which accuracy on the *support set* have MAML, ANIL and ProtoMAML, 5-way 1-shot? And which on the queries?

# %% tags=["nbval-ignore-output"]
TASKS = 20
inner = {name: net for name, net in learners.items() if isinstance(net, MAML)}
rows = {}
for shots in (1, 4):
    tasks = EpisodeSampler(novel, 5, shots, 5, seed=1).sample(TASKS)
    for name, net in inner.items():
        path = net.trajectory(tasks, steps=10)
        rows[f"{name}, {shots}-shot"] = [
            f"{100 * accuracy.mean(0)[k]:.0f}"
            for accuracy in (path.support_accuracy, path.query_accuracy)
            for k in (0, 1, 10)
        ]
columns = [
    f"{who}: {when}" for who in ("support", "queries") for when in ("before", "1 step", "10 steps")
]
table(rows, columns, title=f"5-way accuracy, %, on {TASKS} tasks")

# %% [markdown]
# MAML, ANIL and Meta-SGD begin at chance: they learn everything about a task in the inner loop, most of it in the first step. ProtoMAML begins
# about where MAML ends. With one shot its support set is right before any step (100 %), so by (9.5) the steps can hardly do more than make it
# surer. Twenty tasks are too few to say what the steps gain; section 4 has six hundred. *ProtoMAML from ProtoNet* is a second ProtoMAML whose
# training did not start from random weights but from the trained ProtoNet's, as Meta-Dataset starts from pre-trained ones.

# %% [markdown]
# ## 3 · Learned rates
#
# Why should every weight move at the same rate? **Meta-SGD** (Li et al. 2017) gives each one its own, $a_i$, and the outer loop learns them
# together with θ. With ∘ for a product entry by entry,
#
# $$ \varphi = \theta - a \circ \nabla L_S(\theta) \tag{9.6} $$
#
# What does a rate learn from? Write $g^S = \nabla L_S(\theta)$ for the support gradient before the step, and $g^Q = \nabla L_Q(\varphi)$ for the
# query gradient after it. Then $\varphi_i = \theta_i - a_i g^S_i$, so $\partial \varphi_i / \partial a_i = -g^S_i$, and no other weight depends on
# $a_i$:
#
# $$ \frac{\partial L_Q(\varphi)}{\partial a_i} = \frac{\partial L_Q}{\partial \varphi_i}\, \frac{\partial \varphi_i}{\partial a_i}
# = -\,g^Q_i\, g^S_i \tag{9.7} $$
#
# Descending this, a rate *grows* where support and query gradients have the same sign, because there a step on one helps the other. It shrinks
# where they disagree, below zero if it must. With one inner step no second derivative is needed for it. With several (the stored learners were
# trained with two) the later gradients depend on the rate as well. MAML++ and `metaface train maml` have one rate $a_\ell$ for each layer ℓ. It
# moves all weights of the layer:
#
# $$ \frac{\partial L_Q(\varphi)}{\partial a_\ell} = -\sum_{i \text{ in layer } \ell} g^Q_i\, g^S_i \tag{9.8} $$

# %% [markdown]
# ### Exercise 2: what a rate learns from
#
# *2 points, 6 minutes.* Equations (9.7) and (9.8). Given are the gradients of a layer's weights: `support [D]` before the step, $g^S$, and `query
# [D]` after it, $g^Q$. Return the derivatives by the rates of the single weights, `[D]`, and by a rate that all of them share, a number.


# %% exercise="adaptation-rates"
def my_rates(support, query):
    ### BEGIN SOLUTION
    each = -support * query  # (9.7)
    return each, each.sum()  # (9.8)
    ### END SOLUTION


check("adaptation.rates", my_rates)

# %% [markdown]
# In `MAML` it is one option, `rates="fixed"`, `"layer"` or `"parameter"`, and one line of the inner step. Autograd finds (9.7):

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
support_gradient = torch.autograd.grad(
    F.cross_entropy(net.network(one.support.x[0]), one.support.y[0]), list(theta.values())
)
phi = {
    n: (w - 0.4 * gradient).detach().requires_grad_()
    for (n, w), gradient in zip(theta.items(), support_gradient, strict=True)
}  # (9.6)
loss = F.cross_entropy(
    torch.func.functional_call(net.network, phi, (one.query.x[0],)), one.query.y[0]
)
query_gradient = torch.autograd.grad(loss, list(phi.values()))
pairs = zip(query_gradient, support_gradient, strict=True)
by_hand = torch.cat([-(a * b).flatten() for a, b in pairs])  # (9.7)
print(
    f"{len(by_hand)} rates; largest difference to autograd below 1e-12:"
    f" {bool((net.rates.grad - by_hand).abs().max() < 1e-12)}"
)

# %% [markdown]
# **Predict:** the stored Meta-SGD began with 0.2 for all weights. Which layers do you expect to move faster after training, the first or the last?
# Will any rate be negative?

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
# MAML's rates began at 0.2 as well, one for each layer. All but those of the last normalisation (14) and the head have slowed down, the convolutions
# (0, 4, 8, 12) most. So the outer loop moves **towards adapting the last layers, and a normalisation more than the convolution before it**. ANIL,
# with the head alone, is one step further. Hardly any rate is negative. Scales and shifts of normalisations are also what FiLM layers
# (Perez et al. 2018) change from task to task, and what Tent will adapt in section 6. Meta-SGD could learn the same as MAML, and more, but the
# means of its layers stay nearer to 0.2. Possibly that is because by (9.7) each of its rates gets one noisy product, where by (9.8) the rate of a
# convolution gets a sum, for most of them over thousands; and this was a short training.
#
# ## 4 · When does it hurt?
#
# Choose a task: five people, the condition in which they are met, the number of images. **Predict** what the inner steps will fix, then move the
# sliders. Try the following.
#
# 1. MAML, any condition, 1-shot: move the steps from 0 to 10. After which step does nothing change any more? Look at the grey support curve there.
# 2. ProtoMAML, the same task. How many queries does it fix, how many does it spoil?
# 3. Raise the rate, learner by learner, until ten steps are worse than one. Try several tasks. Which learner tolerates most?
# 4. Queries lit from the side: the support set says nothing about that light. Do more steps help?

# %%
adaptation_explorer.explore(Adapted(learners, novel))

# %% [markdown]
# <details><summary>What you may have seen</summary>
#
# 1. The support set is right from the first step on. A query or two still changes sides for some steps, and after seven nothing moves: by (9.5) a
#    support set that is right and sure has nothing to say.
# 2. At five steps two of thirty queries are fixed and none is spoiled. On the next task (people 1) steps cost a query or two. So one task decides
#    nothing.
# 3. ANIL. At eight times its rate ten steps do little harm: steps on the head alone leave all pictures where they are. MAML and Meta-SGD, which
#    move the embedding, lose most of what they had at four or eight times. ProtoMAML is between them, possibly because its learned rates are small.
# 4. We see no gain for the two ProtoMAMLs (last table of this section). For the others a first step was not measured there.
#
# </details>
#
# One task is an anecdote. The stored result has five seeds of 120 tasks. Each seed has its own people, networks and trainings. Everything is
# measured on the same tasks, so the difference of two methods is paired. Its interval covers other people and other trainings, whichever is wider,
# and the **verdict** follows from it: *ahead*, *behind*, or *cannot tell*.

# %%
stored = adaptation.load()
settings = stored["settings"]


def accuracy(setting, method):
    """The stored accuracy of a method in a setting, with its intervals."""
    return Estimate.from_scores(settings[setting]["accuracy"][method])


def gain(setting, method, other):
    """By how much a method is better than another one in a setting, with its intervals."""
    return adaptation.difference(stored, setting, method, other)


def claim(words, difference):
    """A claim, and what was measured about it."""
    print(f"{words}: {difference.verdict}\n    {difference}")


def names(network):
    """A learner after no step (where it is not chance), after one and after ten."""
    steps = ("0 steps", "1 step", "10 steps")
    return [f"{network}, {k}" if "Proto" in network or k != "0 steps" else None for k in steps]


rows = {}
for shots in ("1-shot", "4-shot"):
    for name in inner:
        rows[f"{name}, {shots}"] = [
            accuracy(f"same, {shots}", method) if method else 1 / 5 for method in names(name)
        ]
    rows[f"ProtoNet, {shots}"] = [accuracy(f"same, {shots}", "ProtoNet"), None, None]
seconds = {name: stored["costs"][name]["seconds"] for name in LEARNERS}
spent = ", ".join(f"{name} {time:.0f}" for name, time in seconds.items())
print(f"seconds of training:\n    {spent}")
total = stored["tasks"] * len(stored["seeds"])
table(
    rows,
    ["no step", "1 step", "10 steps"],
    title=f"5-way accuracy by the usual camera, %, ± the widest interval; {total} tasks",
)

# %% [markdown]
# What do steps add to a start that knows something already: the first step to a head of prototypes, and nine more to the first one? **Predict** the
# sign of each row.

# %%
rows = {}
for shots in ("1-shot", "4-shot"):
    for name in inner:
        none, one, ten = names(name)
        if none:
            rows[f"{name}, {shots}: first step"] = gain(f"same, {shots}", one, none)
            rows[f"{name}, {shots}: all ten"] = gain(f"same, {shots}", ten, none)
        else:
            rows[f"{name}, {shots}: nine more"] = gain(f"same, {shots}", ten, one)
better = "the steps help"
show(forest(rows, better), alt=forest_alt(rows, better))

# %%
for shots in ("1-shot", "4-shot"):
    usual = f"same, {shots}"
    claim(f"{shots}, Meta-SGD against MAML", gain(usual, "Meta-SGD, 10 steps", "MAML, 10 steps"))
    claim(f"{shots}, ANIL against MAML", gain(usual, "ANIL, 10 steps", "MAML, 10 steps"))
    for name in ("ANIL", "ProtoMAML", "ProtoMAML from ProtoNet"):
        claim(f"{shots}, {name} against ProtoNet", gain(usual, f"{name}, 10 steps", "ProtoNet"))
    worse = settings[usual]["hurt"]["ProtoMAML, 1 step"]["ProtoMAML, 0 steps"]
    print(f"tasks in which ProtoMAML's first step costs accuracy: {100 * worse:.0f} %\n")

# %% [markdown]
# Read the figure and the claims together:
#
# * **The first step is most of** what MAML, ANIL and Meta-SGD need: it takes them from chance most of the way to where they end. What nine
#   more add is in the figure.
# * **ProtoMAML** begins about where MAML ends. Look at its first step with four shots, and at the share of tasks in which it costs accuracy:
#   adapting can hurt. Possibly a step goes too far where the start was good.
# * **Meta-SGD** has a rate for every weight, MAML nine in all. The claims say whether these two can be told apart.
# * **ProtoNet** adapts nothing. In about the same seconds it makes more steps, on tasks with four times as many people. A ProtoMAML that starts
#   from its weights has had twice the seconds, and the claims say whether its steps add anything to the network that it began with.
#
# And at other rates than those that were learned:

# %%
FACTORS = (0.3, 1.0, 3.0, 8.0)
figure, axes = plt.subplots(1, len(inner), figsize=(10.4, 3.2), sharey=True)
shown = []
for axis, name in zip(axes, inner, strict=True):
    ends = [
        accuracy("same, 1-shot", f"{name}, 10 steps" + (f" × {f:g}" if f != 1 else ""))
        for f in FACTORS
    ]
    axis.errorbar(
        range(len(FACTORS)),
        [100 * end.mean for end in ends],
        [100 * end.widest for end in ends],
        fmt="o-",
        ms=5,
        capsize=3,
    )
    axis.axhline(20, color="#BBBBBB", linewidth=1)
    axis.set_xticks(range(len(FACTORS)), labels=[f"{f:g}" for f in FACTORS])
    axis.set(title=name.replace(" from ", "\nfrom "), ylim=(0, 100), xlabel="× learned rates")
    shown.append(
        f"{name} "
        + ", ".join(f"{end.mean:.0%} at × {f:g}" for end, f in zip(ends, FACTORS, strict=True))
    )
axes[0].set_ylabel("after 10 steps, 1-shot, %")
show(figure, alt="Accuracy after ten steps by multiples of the rates: " + "; ".join(shown) + ".")

# %% [markdown]
# **This is when it hurts:** too high a rate. A step on the head alone (ANIL) leaves all pictures where they are and moves only the borders between
# people; ANIL loses little even at eight times its rates. A step on the embedding moves all pictures, on the evidence of five images, and three
# learners lose much. ProtoMAML from ProtoNet does not. But its learned rates are small, so eight times them is another dose than eight times MAML's.
# An inner loop that diverges counts as guessing here.
#
# Conditions in which the queries differ from the support set:

# %%
rows = {}
for name in inner:
    method = f"{name}, 10 steps"
    rows[name] = [
        accuracy(f"{where}, 1-shot", method)
        for where in ("same", "queries turned", "queries lit from the side")
    ]
    for where in ("queries turned", "queries lit from the side"):
        none = f"{name}, 0 steps"
        rows[name].append(gain(f"{where}, 1-shot", method, none) if "Proto" in name else None)
table(
    rows,
    ["any", "queries turned", "lit from the side", "gain of the steps: turned", "lit"],
    title="5-way 1-shot accuracy after 10 steps, %",
)

# %% [markdown]
# For neither ProtoMAML is a gain certain where the queries differ from the support set, which says nothing about that.
#
# **You may stop here** and come back for the cameras.

# %% [markdown]
# ## 5 · A new camera
#
# Now a network is trained and shipped, and the camera is another one. `Camera` changes pictures: blur, noise, tone, white balance, the tones of
# near infrared.

# %%
images = novel.images[[0, 25, 45]]
rows = torch.stack([camera(images) for camera in CAMERAS.values()], dim=1)  # [3, 6, C, H, W]
show(
    face_grid(
        rows.flatten(0, 1),
        columns=len(CAMERAS),
        titles=["same", "warm light", "soft", "noisy", "infrared", "webcam"] + [""] * 12,
        zoom=4,
        rows=[f"stranger {number}" for number in (1, 2, 3)],
    ),
    alt="Three strangers by six cameras: the usual one, warm light, soft, noisy, near infrared,"
    " and a cheap webcam.",
)

# %% [markdown]
# ProtoNet normalises every channel of every layer by the mean and variance of the *training* images, which are fixed since then. With u for what
# the normalisation sees,
#
# $$ \hat u = \frac{u - \mu}{\sigma} \tag{9.9} $$
#
# Suppose the camera does to a channel $u' = s\,u + t$ with $s > 0$, the same for all images. Then with the old statistics the next layer sees $\hat
# u' = (s\,u + t - \mu)/\sigma \ne \hat u$. With those of the new images, $\mu' = s\mu + t$ and $\sigma' = s\sigma$,
#
# $$ \hat u' = \frac{s\,u + t - (s\mu + t)}{s\,\sigma} = \hat u \tag{9.10} $$
#
# and the camera is gone. (This is exact for a camera that acts in this way on the input of the *first* normalisation; at the border of the image
# the zeros that a convolution pads with are not changed by the camera, so there t differs.) To estimate μ′ and σ′ one needs *images* of the new
# camera, of anybody, and no labels: AdaBN (Li et al. 2017). A few images say little about a variance. So let the old statistics count for n₀ images
# beside the n new ones (Schneider et al. 2020):
#
# $$ \mu_{\text{new}} = \frac{n_0\,\mu + n\,\mu'}{n_0 + n}, \qquad \sigma^2_{\text{new}} = \frac{n_0\,\sigma^2 + n\,\sigma'^2}{n_0 + n} \tag{9.11} $$
#
# (Each variance divides by the number of values, as a normalisation does. The variance of two pooled groups would also contain the spread between
# their two means, $\mu$ and $\mu'$; (9.11) leaves it out.)
#
# What a camera really does is not of the form $s\,u + t$: noise adds variance that carries no face, blur takes away what the filters looked for.
# How much (9.11) helps must be measured.

# %% [markdown]
# ### Exercise 3: statistics from a few images
#
# *2 points, 8 minutes.* Equation (9.11). `x [n, C, H, W]` is what a normalisation sees of n images by the new camera; `mean [C]` and `variance [C]`
# are the old statistics; `prior` is n₀. Return new mean and variance, `[C]` each.


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
u = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 5
statistics, normalised = yours("adaptation.statistics", my_statistics), {}
for name, seen in (("old camera", u), ("new camera", 0.3 * u - 4)):
    new = statistics(seen, norm.running_mean, norm.running_var, 0)  # (9.11)
    norm.running_mean, norm.running_var = new
    normalised[name] = norm(seen)  # (9.9)
print("(9.10) holds:", torch.allclose(*normalised.values(), atol=1e-5))

# %% [markdown]
# Now the whole network. The unlabelled images are of *base* people by the cheap webcam; tested are strangers, support and queries by the same
# webcam. The last row needs no further image at all: `SupportStatistics` takes μ′ and σ′ from the five support images of each task.
#
# **Predict:** how much does ProtoNet lose by the webcam? How much of that do 20 images bring back; how much do 5, with and without a prior; how
# much the support set alone?

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
methods["statistics of the support set"] = SupportStatistics(protonet)
sampler = EpisodeSampler(strangers, 5, 1, 5, seed=1)
found = evaluate(methods, sampler, 100, progress=True)
usual = evaluate({"usual camera": protonet}, EpisodeSampler(novel, 5, 1, 5, seed=1), 100)
rows = {"(usual camera)": [usual["usual camera"], None]}
for name, result in found.items():
    rows[name] = [result, None if name == "nothing" else paired(result, found["nothing"])]
table(rows, ["5-way 1-shot", "gain, paired"], title="accuracy by a cheap webcam, %, ± over people")

# %% [markdown]
# New statistics bring back a part of the loss, and the five images of the support set do about as well as others. With five images the prior
# seems to cost. Possibly the old statistics are so far off that keeping them does more harm than the noise of five images. (Section 7 has intervals
# over people and trainings.)
#
# The learners with an inner loop have the last row built in: their `TaskNorm` takes its statistics from the support set of each task. So a
# comparison of ANIL with a plain ProtoNet by a new camera confounds the inner loop with the statistics. The fair partner of an inner loop is
# ProtoNet *with* the support set's statistics.

# %% [markdown]
# ## 6 · Making predictions more certain
#
# Can the queries themselves help, without labels? **Tent** (Wang et al. 2021) does two things. Its normalisations use the statistics of the images
# at hand, here of the support set and all queries of the task. And it descends the entropy of the predictions,
#
# $$ H(p) = -\sum_k p_k \log p_k \tag{9.12} $$
#
# by scales and shifts of the normalisations alone. `Tent(…, statistics=False)` does only the second, so that you can see what each half brings.
# What does the second do to a logit? With $\partial p_k / \partial z_j = p_k(\mathbb 1[k = j] - p_j)$ and $\sum_k p_k = 1$,
#
# $$ \frac{\partial H}{\partial z_j} = -\sum_k p_k\big(\mathbb 1[k=j] - p_j\big)\big(\log p_k + 1\big)
# = -p_j \log p_j - p_j + p_j \sum_k p_k (\log p_k + 1) = -p_j\,(\log p_j + H) \tag{9.13} $$
#
# Descending it raises the logits with $\log p_j > -H$: those of the people who are likely already. **It makes surer what it believes, right or
# wrong.** It pays where the network is mostly right; it cannot know where it is not.

# %% [markdown]
# ### Exercise 4: how unsure is a prediction?
#
# *2 points, 6 minutes.* Equation (9.12). `logits [Q, N]` → entropies `[Q]`. Mind the predictions that are very sure. Below we descend this number,
# so its gradient must be right as well.


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
rows = {f"step {step}": [] for step in range(6)}
for statistics in (False, True):
    tent = Tent(protonet, steps=5, rate=0.1, statistics=statistics)
    for row, logits in zip(
        rows.values(), tent.adapt(task.support).steps(known, labels, asked), strict=True
    ):
        right = int((logits.argmax(-1) == truth).sum())
        row += [f"{entropy(logits).mean():.2f}", right]
columns = ["entropy only: H", "right of 25", "Tent: H", "right of 25"]
table(rows, columns, title="one task")

# %% [markdown]
# The entropy falls at every step. Whether the right answers rise is another question, and the next section answers it.

# %% [markdown]
# ## 7 · What pays?
#
# The same five seeds and 600 tasks, now by the cheap webcam, support and queries. All rates and numbers of steps of Tent and of fine-tuning were
# chosen on *validation* people. First the remedies of ProtoNet. *Images* are those of the new camera that a remedy needs before it serves, in
# addition to the task's support set (for Tent all queries of the task, together). *Labels* says how many of them must be named. Milliseconds are of
# one core; those of support statistics, task statistics, Tent and entropy only are for every task, the others are paid once.
#
# **Predict** the order before you look: the entropy only, Tent, the support set's statistics, statistics of 100 images, many labels.

# %%
REMEDIES = [name for name in settings["cheap webcam, 1-shot"]["accuracy"] if "step" not in name]
for shots in ("1-shot", "4-shot"):
    rows = {
        name: gain(f"cheap webcam, {shots}", name, "ProtoNet")
        for name in REMEDIES
        if name != "ProtoNet"
    }
    better = f"better than ProtoNet as it is, {shots}"
    show(forest(rows, better), alt=forest_alt(rows, better))

# %%
rows = {}
for name in REMEDIES:
    cost = stored["costs"].get(name.removesuffix(" + prior"), {})
    cells = [accuracy(f"cheap webcam, {shots}", name) for shots in ("1-shot", "4-shot")]
    spent = f"{cost['ms']:.0f}" if "ms" in cost else None
    rows[name] = [*cells, cost.get("images"), cost.get("labels"), spent]
usual = [accuracy(f"same, {shots}", "ProtoNet") for shots in ("1-shot", "4-shot")]
table(
    {"(ProtoNet, usual camera)": [*usual, None, None, None]} | rows,
    ["1-shot", "4-shot", "images", "labels", "ms"],
    title="by a cheap webcam: accuracy, %, ± the widest interval",
)

# %%
for shots in ("1-shot", "4-shot"):
    cheap = f"cheap webcam, {shots}"
    claim(
        f"{shots}, 100 labels against 100 images",
        gain(cheap, "fine-tuned on many labels", "statistics of 100"),
    )
    claim(
        f"{shots}, 100 images against the support set",
        gain(cheap, "statistics of 100", "support statistics"),
    )
    for n in adaptation.IMAGES:
        own = f"statistics of {n}"
        claim(f"{shots}, {n} images: a prior against none", gain(cheap, f"{own} + prior", own))
    claim(
        f"{shots}, Tent against the task's statistics alone", gain(cheap, "Tent", "task statistics")
    )
    print()

# %% [markdown]
# These are the answers, each with the wider of its intervals, over people or over trainings. By this webcam
#
# * the support set's own statistics bring nearly as much as a hundred other images, and need no other image;
# * the entropy adds nothing to the statistics of the task: what Tent gains here comes from its other half;
# * a hundred labels, with rate and steps tuned, are ahead of a hundred images without labels;
# * with five images and one shot the prior costs accuracy; with more images and four shots it gains. (n₀ = 20 was not tuned.)
#
# Where a verdict is *cannot tell*, the mean is not evidence for a gain, even if it is positive.
#
# ### All learners, all cameras
#
# Is the inner loop good for anything by a new camera? Here all learners are before all cameras, each after ten steps, beside ProtoNet as it is and
# ProtoNet with the support set's statistics.

# %%
METHODS = {"ProtoNet": "ProtoNet", "ProtoNet, support statistics": "support statistics"}
METHODS |= {name: f"{name}, 10 steps" for name in inner}
figure, axes = plt.subplots(2, 3, figsize=(10.4, 6.4), sharex=True, sharey=True)
shown = []
for axis, camera in zip(axes.flat, CAMERAS, strict=True):
    for shots, colour, moved in (("1-shot", COLOURS[0], -0.14), ("4-shot", COLOURS[1], 0.14)):
        found = [accuracy(f"{camera}, {shots}", method) for method in METHODS.values()]
        axis.errorbar(
            [100 * e.mean for e in found],
            [place + moved for place in range(len(METHODS))],
            xerr=[100 * e.widest for e in found],
            fmt="o" if shots == "1-shot" else "s",
            ms=5,
            color=colour,
            label=shots,
        )
        best = max(zip(METHODS, found, strict=True), key=lambda pair: pair[1].mean)
        shown.append(f"{camera}, {shots}: {best[0]} highest with {best[1].mean:.0%}")
    axis.set(title=camera, xlim=(20, 100))
    axis.grid(axis="y", visible=False)
axes[0, 0].set_yticks(range(len(METHODS)), labels=list(METHODS))
axes[0, 0].invert_yaxis()
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
for axis in axes[1]:
    axis.set_xlabel("5-way accuracy, %")
show(figure, alt="Accuracy of seven methods by six cameras. " + "; ".join(shown) + ".")

# %%
for shots in ("1-shot", "4-shot"):
    rows = {}
    for camera in CAMERAS:
        for name in ("ProtoMAML", "ProtoMAML from ProtoNet"):
            rows[f"{name}, {camera}"] = gain(
                f"{camera}, {shots}", f"{name}, 10 steps", f"{name}, 0 steps"
            )
    better = f"ten steps help, {shots}"
    show(forest(rows, better), alt=forest_alt(rows, better))


# %%
def told(rows):
    """The rows of a comparison by their verdict."""
    for verdict in ("ahead", "behind", "cannot tell"):
        found = [name for name, row in rows.items() if row.verdict == verdict]
        line = f"{verdict}: {'; '.join(found) or 'none'}"
        print(textwrap.fill(line, 96, subsequent_indent="    "))


def by_camera(method, other):
    """The gain of a method over another one, by camera and shots."""
    shots = ("1-shot", "4-shot")
    return {f"{c} {s}": gain(f"{c}, {s}", method, other) for c in CAMERAS for s in shots}


print("ProtoNet with support statistics, against ProtoNet as it is")
told(by_camera("support statistics", "ProtoNet"))
for name in ("ANIL", "MAML", "ProtoMAML from ProtoNet"):
    for other in ("ProtoNet", "support statistics"):
        with_what = "" if other == "ProtoNet" else " with support statistics"
        print(f"\n{name} after ten steps, against ProtoNet{with_what}")
        told(by_camera(f"{name}, 10 steps", other))

# %% [markdown]
# How to read this:
#
# * The blue circles of the forest are the places where **inner steps pay**. Of so many rows one can be blue by chance. By the webcam with four
#   shots ten steps are ahead for both ProtoMAMLs; by the usual camera neither is ahead, with one shot or with four.
# * The support set's statistics help by the noisy camera and the webcam. Elsewhere they help nowhere and cost by some cameras, most by near infrared;
#   there ProtoNet as it is is the harder opponent.
# * By the usual camera ANIL is behind ProtoNet; by the webcam the two cannot be told apart. But ProtoNet *with the support set's statistics* is
#   ahead of ANIL there as well. So this robustness needs no inner loop: the statistics alone give more.
#
# ### A gallery by the old camera
#
# Often the *gallery* was taken by the old camera, and only the queries come from the new one. Then each side needs its own statistics:

# %%
ROWS = [
    "old statistics",
    "new ones for queries",
    "new ones for both",
    "support statistics",
    "ANIL, 10 steps",
]
cameras = [camera for camera in CAMERAS if camera != "same"]
table(
    {camera: [accuracy(f"gallery, {camera}", row) for row in ROWS] for camera in cameras},
    ROWS,
    title="5-way 1-shot accuracy, %: support by the usual camera, queries by this one",
)

# %%
for row in ROWS[1:]:
    print(f"\n{row}, against old statistics")
    told({camera: gain(f"gallery, {camera}", row, "old statistics") for camera in cameras})

# %% [markdown]
# New statistics for the queries alone are what (9.10) asks for. The support set's own statistics, for both sides, are statistics of the *old*
# camera here: what they gave away for free above is gone. ANIL, which has them built in, is ahead by near infrared alone.
#
# ### Real people, real light
#
# The same networks, which have seen procedural faces alone, on Extended Yale B: grey pictures of 28 people, with lamps from everywhere. One half of
# the people lends images to the remedies and the other half is tested, then the halves change places. 600 tasks, five networks. Numbers only.

# %%
yale = [f"extended yale b, {shots}" for shots in ("1-shot", "4-shot")]
if yale[0] in settings:
    rows = {
        name: gain(yale[1], name, "ProtoNet")
        for name in settings[yale[1]]["accuracy"]
        if name != "ProtoNet"
    }
    better = "better than ProtoNet as it is, 4-shot"
    show(forest(rows, better), alt=forest_alt(rows, better))
    display(
        table(
            {name: [accuracy(setting, name) for setting in yale] for name in ("ProtoNet", *rows)},
            ["1-shot", "4-shot"],
            title="Extended Yale B, 5-way accuracy, %, ± the widest interval",
        )
    )
    for setting in yale:
        for other in ("ProtoNet", "support statistics"):
            print(f"\n{setting}, against {other}")
            told({name: gain(setting, name, other) for name in rows if name != other})
    claim(
        "4-shot, MAML against support statistics",
        gain(yale[1], "MAML, 10 steps", "support statistics"),
    )
    for name in ("ProtoMAML", "ProtoMAML from ProtoNet"):
        claim(f"4-shot, {name}: ten steps", gain(yale[1], f"{name}, 10 steps", f"{name}, 0 steps"))

# %% [markdown]
# With one shot all accuracies are low, and no statistics are ahead. Many labels are, by some points: five pictures of each of 14 people here, where
# they were 20 above. Lessons 08 and 10 train for such gaps instead.
#
# With four shots it is another story, the clearest in this lesson for the inner loop: **ten steps are far ahead of none for both ProtoMAMLs**, and
# after them every learner with an inner loop is ahead of ProtoNet. Against its fair partner, ProtoNet with the support set's statistics, ANIL cannot
# be told apart, and MAML is barely ahead. Many labels are ahead as well. One of twenty rows is decided by chance: a small lead may be that. All of it
# is said of 28 people, whom the five seeds share.

# %% [markdown]
# ## 8 · Should you adapt at all?
#
# So far somebody said that the camera is new. In use nobody says it: a few unlabelled images arrive, and *you* decide whether to trust their
# statistics. Here is the trained ProtoNet with a gallery by the usual camera and three images by each camera.
#
# **Predict:** three images of the *usual* camera are images of this camera as well. What do their statistics cost or gain?

# %% tags=["nbval-ignore-output"]
few = {name: camera.faces(base, seed=3).images[order[:3]] for name, camera in CAMERAS.items()}


def gallery_tasks(name):
    """Support by the usual camera, queries by this one."""
    both = adaptation.both_cameras(novel, CAMERAS[name].faces(novel, seed=2))
    where = {"support_where": {"camera": "old"}, "query_where": {"camera": "new"}}
    return EpisodeSampler(both, 5, 1, 5, seed=1, **where)


rows = {}
for name, images in few.items():
    new = Cameras(protonet, renormalised(protonet, images))
    found = evaluate({"old": protonet, "new": new}, gallery_tasks(name), 40)
    gained = paired(found["new"], found["old"])
    rows[name] = [found["old"].accuracy, found["new"].accuracy, gained]
COLUMNS = ["old statistics", "those of three images", "gain, paired"]
table(rows, COLUMNS, title="5-way 1-shot accuracy of queries, %; gain ± over people")

# %% [markdown]
# Only the webcam's gain is larger than its interval. By the usual camera and the soft one the means fall, but these tasks **cannot tell**. Three
# images also say something about three people and their light, and the gallery was normalised without them. (It is one draw of three images.)

# %% [markdown]
# ### Exercise 5: your rule
#
# *3 points, 15 minutes, open.* Decide n₀ of (9.11) from what you can see: `x [n, C, H, W]`, what the first normalisation sees of n unlabelled
# images, with n from 2 to 5; and its old `mean [C]` and `variance [C]`. Return one number: 0 trusts the images alone, `math.inf` keeps the old
# statistics, anything between is a mixture.
#
# The check makes forty deployments with made-up people. In every other one the camera is new: it scales and shifts each channel. It measures the
# accuracy that your n₀ achieves, and compares it with the best *constant* n₀ and with somebody who knows which cameras are new. You pass half way
# between the two. There are many right rules.


# %% exercise="adaptation-prior"
def my_prior(x, mean, variance):
    ### BEGIN SOLUTION
    moved = (x.mean((0, 2, 3)) - mean).square() / variance  # in old variances, channel by channel
    return 0.0 if len(x) * moved.mean() > 0.8 else float("inf")  # by chance about a quarter
    ### END SOLUTION


check("adaptation.prior", my_prior)

# %% [markdown]
# Your rule on the trained network, camera by camera. It sees what the first normalisation sees of the three images; its n₀ is then used in all
# layers.

# %% tags=["nbval-ignore-output"]
rule = yours("adaptation.prior", my_prior)
first = next(layer for layer in protonet.embedding if isinstance(layer, nn.BatchNorm2d))
seen = []
hook = first.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
for images in few.values():
    with torch.no_grad():
        protonet.embedding(images)
hook.remove()
for x, (name, images) in zip(seen, few.items(), strict=True):
    prior = float(rule(x, first.running_mean, first.running_var))
    chosen = Cameras(protonet, renormalised(protonet, images, min(prior, 1e9)))
    found = evaluate({"": chosen}, gallery_tasks(name), 40)[""]
    rows[name] = [*rows[name][:3], f"{prior:.3g}", found.accuracy]
table(rows, [*COLUMNS, "your n₀", "yours"], title="5-way 1-shot accuracy of queries, %")

# %% [markdown]
# Where does your rule decide wrongly? A camera that blurs or adds noise may hardly move a *mean*. Look at the variances, or at later layers.

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. You trained ProtoMAML on 5-way tasks. Can it be asked about 20 people?**
#
# <details><summary>Yes: the head is made again for every task</summary>Right. Whether its learned rates suit twenty people is another question, to
# be measured.</details>
# <details><summary>No: its head has five outputs, one for each person</summary>That is MAML. Here the head is made from the support set, with as
# many rows as it has people.</details>
# <details><summary>Only with zero inner steps</summary>The steps do not depend on the number of people either: (9.4) holds for any.</details>
#
# **2. The support loss of a task is nearly zero before the first step. What will ten steps do to the queries?**
#
# <details><summary>Fix most mistakes: there is time enough</summary>By (9.5) the logits are moved by how wrong the head is about the *support* set.
# It is not.</details>
# <details><summary>Make them worse, by overfitting</summary>It may, at a high rate. But where the gradient vanishes there is nothing to overfit
# with.</details>
# <details><summary>Hardly anything</summary>Right, at a moderate rate: every term of (9.5) has a factor near zero.</details>
#
# **3. A rate of Meta-SGD has become negative. A bug?**
#
# <details><summary>Yes: descent needs positive rates</summary>Not in (9.6). The outer loop descends the *queries'* loss, and takes any sign that
# helps.</details>
# <details><summary>No: support and query gradients mostly disagreed there</summary>Right: by (9.7) the rate then falls, and zero is not a barrier.
# It may also be noise, if training was short.</details>
# <details><summary>No: rates are random, so some of them are negative</summary>They all began with the same value, and were learned.</details>
#
# **4. What does AdaBN need?**
#
# <details><summary>Unlabelled images of anybody, by the new camera</summary>Right. But if they all show one light, or one person, that becomes the
# "camera".</details>
# <details><summary>Labelled images of the new camera</summary>No labels: (9.11) looks at means and variances.</details>
# <details><summary>Unlabelled images of the people to be recognised</summary>Of anybody, as long as they are as varied as those that will
# come.</details>
#
# **5. Entropy fell to a tenth, and accuracy fell as well. How can that be?**
#
# <details><summary>It cannot: predictions that are certain are right</summary>Certain is not right. (9.13) has no label in it.</details>
# <details><summary>The rate was too small to reach the right answers</summary>Then the entropy would not have fallen so far.</details>
# <details><summary>The network became surer of mistakes</summary>Right: descent raises whatever was likely before.</details>
#
# **6. The gallery was taken by the old camera. Queries come from a new one, which moves all activations of a channel alike. Whose statistics
# normalise what?**
#
# <details><summary>The old ones for the gallery, the new ones for the queries</summary>Right: by (9.10) both then lie where the old camera's images
# would.</details>
# <details><summary>The new ones for all images, because there is one network</summary>Then the gallery is normalised by statistics that are not its
# own.</details>
# <details><summary>The mean of both, for gallery and queries alike</summary>Fits neither side.</details>
#
# **7. ANIL keeps more of its accuracy by a new camera than ProtoNet does. What does that show about its inner loop?**
#
# <details><summary>That its steps adapt to the camera</summary>Not yet: its normalisations take their statistics from the support set, and that may
# be all of it.</details>
# <details><summary>Nothing, before ProtoNet has the support set's statistics as well</summary>Right: switch the one thing off alone, or give it to
# both.</details>
# <details><summary>That a head with weights of its own is more robust than prototypes of a few images</summary>Head and statistics both differ,
# so neither is shown to be the cause.</details>

# %% [markdown]
# ## Recap
#
# * ProtoMAML starts the head at the prototypes, (9.2): there is no head to learn, it serves any number of people, and its meta-gradient has two
#   paths, (9.3). With no step it *is* a prototypical network.
# * A step moves a query's logits by how wrong the head is about the support set, (9.5). Where that is right and sure, steps do nothing; where the
#   rate is too high, they spoil what was right.
# * A learned rate grows where support and query gradients agree, (9.7). The rate of a layer gets a sum, the rate of a weight a single noisy
#   product. MAML's outer loop moved towards adapting the last layers.
# * New statistics, (9.11), cost a few unlabelled images and milliseconds, or no image at all: the support set has its own. They help by some cameras
#   and cost by others. Give them to every learner before you credit an inner loop. With a gallery by the old camera, each side needs its own.
# * From a head of prototypes, ten steps gain most in the lamps of Extended Yale B with four shots, and some points by single cameras. We see no rule
#   that says which.
# * Making predictions surer, (9.13), does not make them right.
# * Before you adapt anything, measure "no adaptation" on the same tasks: the paired gain with its interval is the number that counts, and its sign
#   is not given.

# %%
progress("09")

# %% [markdown]
# ## References
#
# * E. Triantafillou et al. *Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples.* ICLR 2020. ProtoMAML.
#   [arXiv:1903.03096](https://arxiv.org/abs/1903.03096)
# * Z. Li, F. Zhou, F. Chen, H. Li. *Meta-SGD: Learning to Learn Quickly for Few-Shot Learning.*
#   [arXiv:1707.09835](https://arxiv.org/abs/1707.09835), 2017.
# * A. Antoniou, H. Edwards, A. Storkey. *How to Train Your MAML.* ICLR 2019. Rates for each layer and step.
#   [arXiv:1810.09502](https://arxiv.org/abs/1810.09502)
# * E. Perez, F. Strub, H. de Vries, V. Dumoulin, A. Courville. *FiLM: Visual Reasoning with a General Conditioning Layer.* AAAI 2018.
#   [arXiv:1709.07871](https://arxiv.org/abs/1709.07871)
# * Y. Li, N. Wang, J. Shi, J. Liu, X. Hou. *Revisiting Batch Normalization for Practical Domain Adaptation.* ICLR workshop 2017. AdaBN.
#   [arXiv:1603.04779](https://arxiv.org/abs/1603.04779)
# * S. Schneider, E. Rusak, L. Eck, O. Bringmann, W. Brendel, M. Bethge. *Improving Robustness against Common Corruptions by Covariate Shift
#   Adaptation.* NeurIPS 2020. The prior of (9.11).
#   [arXiv:2006.16971](https://arxiv.org/abs/2006.16971)
# * D. Wang, E. Shelhamer, S. Liu, B. Olshausen, T. Darrell. *Tent: Fully Test-Time Adaptation by Entropy Minimization.* ICLR 2021.
#   [arXiv:2006.10726](https://arxiv.org/abs/2006.10726)
# * J. Snell, K. Swersky, R. Zemel. *Prototypical Networks for Few-shot Learning.* NeurIPS 2017. The linear head, section 2.4.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)

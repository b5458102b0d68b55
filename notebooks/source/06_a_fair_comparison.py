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
# # 06 · A fair comparison
#
# You have built ProtoNet, MAML, FOMAML, ANIL and Reptile. Which one should you take? Tables in papers answer with different networks, people, budgets
# and rules. Here they are held fast: the same people, the same test episodes, about the same computing time. Conventional learning
# competes, too, and so does MAML as a library computes it. Not every result will be to the liking of a course on meta-learning.
#
# **After this lesson you can**
#
# * say what a comparison must hold fast, and compute the interval of a *difference* on the same episodes;
# * tell apart three sources of chance, episodes, people and seeds, and say which interval covers which;
# * weigh accuracy against cost: the frontier, and the number of tasks from which a dear training pays;
# * name the equivalent in learn2learn of each piece that you have built, and check that both compute the same;
# * choose a learner for a problem, and give reasons that are measured.

# %% [markdown]
# **You need** lessons 01 to 04. **Time** 70 minutes, with four exercises, worth 8 points. **Computing** less than 180 seconds on two CPU cores; a GPU
# is not needed. With the environment variable `METAFACE_BUDGET=full` the live trainings are longer. The results with three seeds, on synthetic and
# on real faces, are stored with the course.

# %%
import inspect
import math
import os
import time

import numpy as np
import torch
from matplotlib import pyplot as plt

from metaface_lessons.bars import Bar
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.evaluation import evaluate, frontier, interval
from metaface_lessons.exercises import check, hint, progress, solution
from metaface_lessons.figures import show, style, table
from metaface_lessons.learners.baselines import baselines
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.pretraining import Pretraining
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.training import meta_train

style()
FULL = os.environ.get("METAFACE_BUDGET") == "full"

# %% [markdown]
# ## 1 · What must be the same
#
# The accuracy of a method is a mean over E episodes, $\bar a = \frac1E \sum_e a_e$. Compare methods A and B by the difference of their means:
#
# $$ \bar a - \bar b = \frac1E \sum_{e=1}^{E} (a_e - b_e) \tag{6.1} $$
#
# If they meet *different* episodes, the two means are independent, and their variances add. But some episodes are hard for everybody: two people look
# alike, a photo is dark. If both methods meet the *same* episodes, this part of the chance is common to both, and the subtraction takes it out:
#
# $$ \text{Var}(a_e - b_e) = \text{Var}(a_e) + \text{Var}(b_e) - 2\,\text{Cov}(a_e, b_e) \tag{6.2} $$
#
# So the interval of a paired difference comes from the differences $d_e = a_e - b_e$ themselves:
#
# $$ \bar d \;\pm\; 1.96\,\frac{s_d}{\sqrt E}, \qquad s_d^2 = \frac{1}{E-1} \sum_{e=1}^{E} (d_e - \bar d)^2 \tag{6.3} $$

# %% [markdown]
# ### Exercise 1: the interval of a difference
#
# *2 points, 6 minutes.* Equation (6.3). `a` and `b`, `[E]`, are the accuracies of two methods on the same episodes. Return the pair: mean difference
# a − b, and half the width of its interval.


# %% exercise="comparison-paired"
def my_paired(a, b):
    ### BEGIN SOLUTION
    d = a - b
    return d.mean(), 1.96 * d.std() / len(d) ** 0.5  # (6.3)
    ### END SOLUTION


check("comparison.paired", my_paired)

# %% [markdown]
# ## 2 · Three kinds of chance
#
# Would the result be the same with other **episodes**? With other **people**? With another **seed**, that is other first weights, other training
# episodes and another division of the people? The first interval, $1.96\,s/\sqrt E$ over episodes, answers only the first question, and you can make
# it as narrow as you like by drawing more of them. The second is $1.96\,s/\sqrt I$ over the I people, with s the deviation of their accuracies. For the third one trains anew, which is
# dear: three seeds, maybe five. (Here a seed also divides the people and draws the test episodes, so that the interval over seeds holds all three kinds of chance.)
#
# With so few, 1.96 is too small. It is the quantile of a normal distribution, and belongs to a standard deviation that is *known*. The one
# estimated from S values is itself uncertain, and more often too small than too large. Student's t makes up for that:
#
# $$ \bar a \;\pm\; t_{S-1}\,\frac{s}{\sqrt S}, \qquad s^2 = \frac{1}{S-1} \sum_{i=1}^{S} (a_i - \bar a)^2 \tag{6.4} $$
#
# **Predict:** by which factor does $t_2$, for three seeds, exceed 1.96? And $t_9$, for ten?

# %%
from scipy import stats

rows = {}
generator = torch.Generator().manual_seed(0)
for seeds in (2, 3, 5, 10):
    t = stats.t.ppf(0.975, df=seeds - 1)
    drawn = torch.randn(
        100_000, seeds, generator=generator, dtype=torch.float64
    )  # the true mean is 0
    error, one = drawn.mean(1).abs(), drawn.std(1) / seeds**0.5
    inside = [f"{100 * (error < factor * one).double().mean():.0f} %" for factor in (t, 1.96)]
    rows[f"{seeds} seeds"] = [f"{t:.2f}", f"{t / 1.96:.2f}", *inside]
table(
    rows,
    ["t of (6.4)", "t/1.96", "true mean inside ± t s/√S", "inside ± 1.96 s/√S"],
    title="Student's t",
)

# %% [markdown]
# An interval that is said to hold the truth 95 times in 100, and is made from three seeds with 1.96, holds it as often as the last column says.

# %% [markdown]
# ### Exercise 2: the interval over seeds
#
# *2 points, 5 minutes.* Equation (6.4). `accuracies [S]` has one number per seed; `t` is a dict from the degrees of freedom to Student's quantile, such as
# `t[2] = 4.303`. Return half the width of the interval.


# %% exercise="comparison-seeds"
def my_seeds(accuracies, t):
    ### BEGIN SOLUTION
    seeds = len(accuracies)
    return t[seeds - 1] * accuracies.std() / seeds**0.5  # (6.4)
    ### END SOLUTION


check("comparison.seeds", my_seeds)

# %% [markdown]
# ## 3 · The contestants
#
# | | what is learned slowly | what is done for a task |
# |---|---|---|
# | pixels, LBP | nothing | nearest class mean |
# | LDA | a linear map, from the base people | nearest class mean, by the cosine |
# | pre-train, fine-tune | an embedding that tells the base people apart | a new linear layer is fitted to the support set |
# | ProtoNet (lesson 02) | an embedding, by episodes | nearest class mean |
# | MAML, FOMAML (03) | an initialisation, with or without second derivatives | gradient descent on all weights |
# | ANIL (03) | an embedding and the start of a head | gradient descent on the head |
# | Reptile (04) | an initialisation, without query sets | gradient descent on all weights |
#
# *Pre-train, fine-tune* is the row that papers liked to forget. Chen et al. (2019) put it beside the meta-learners of their day, with the same
# network, and it kept up or won. `pretraining.Pretraining` is theirs, but for embeddings of length 1: it sees the very images that ProtoNet sees, with the *person* as label, the
# same in all episodes.
#
# All networks below are a small Conv-4 on synthetic faces of 32×32 pixels. Each trains for about as many seconds as the others, some six of an idle core.

# %% tags=["nbval-ignore-output"]
from metaface_lessons.experiments.snapshots import snapshot_split

base, _, novel = snapshot_split()


small, strangers = (
    base.resized(32),
    novel.resized(32),
)  # a laptop can train on these while you watch


def embedding():
    return Conv4(3, 32, width=16)


def classifier(dtype=torch.float32):
    """For learners with an inner loop. Its head begins at zero: labels are drawn by chance."""
    conv = Conv4(3, 32, width=16, norm="task")
    network = Classifier(conv, conv.features, ways=5)
    for parameter in network.head.parameters():
        torch.nn.init.zeros_(parameter)
    return network.to(dtype)


def maml(**options):
    return MAML(classifier(), steps=2, test_steps=10, inner_rate=0.2, **options)


features = embedding().features
wide, five, many = (20, 1, 4), (5, 2, 3), (5, 5, 5)  # ways, shots, queries of the training episodes
recipes = {  # the learner, its episodes, tasks in a step, outer rate, steps
    "pre-train": (Pretraining(embedding(), features, small.identities), wide, 1, 3e-3, 500),
    "ProtoNet": (ProtoNet(embedding(), temperature=50, in_turn=True), wide, 1, 3e-3, 450),
    "MAML": (maml(), five, 4, 5e-3, 150),
    "FOMAML": (maml(first_order=True), five, 4, 5e-3, 160),
    "ANIL": (maml(adapt="head"), five, 4, 5e-3, 220),
    "Reptile": (
        Reptile(classifier(), steps=8, inner_rate=0.1, optimiser="sgd", test_steps=10),
        many,
        2,
        0.5,
        150,
    ),
}

# %% tags=["nbval-ignore-output"]
start = time.process_time()
methods = baselines(small)
seconds = {"lda": time.process_time() - start}
for name, (net, shape, tasks, rate, steps) in recipes.items():
    sampler = EpisodeSampler(small, *shape, seed=0)
    start = time.process_time()  # seconds of computing, whatever else the machine is doing
    methods[name] = meta_train(
        net, sampler, steps=steps * (10 if FULL else 1), tasks=tasks, rate=rate
    ).learner
    seconds[name] = time.process_time() - start
    print(f"{name:10s} {seconds[name]:5.1f} s")

# %% [markdown]
# **Predict:** order the nine methods, 5-way 4-shot, on people whom nobody has trained on. Which of them will need the most time for a *new* task?

# %% tags=["nbval-ignore-output"]
test = EpisodeSampler(strangers, ways=5, shots=4, queries=2, seed=1)
found, milliseconds = {}, {}
for name, method in Bar(methods.items(), "evaluate", "method"):  # the bar moves between them
    test.load_state_dict(
        EpisodeSampler(strangers, 5, 4, 2, seed=1).state_dict()
    )  # the same episodes for all
    start = time.process_time()
    found[name] = evaluate({name: method}, test, episodes=600 if FULL else 160)[name]
    milliseconds[name] = 1000 * (time.process_time() - start) / len(found[name].episodes)
table(
    {
        name: [
            *(result.accuracy, result.ci95, result.ci95_people),
            f"{seconds.get(name, 0):.1f} s",
            f"{milliseconds[name]:.1f} ms",
        ]
        for name, result in sorted(found.items(), key=lambda item: -item[1].accuracy)
    },
    ["accuracy", "± over episodes", "± over people", "training", "a task"],
    title="5-way 4-shot on strangers, %",
)

# %% [markdown]
# The times of a task waver by some milliseconds from run to run: MAML and FOMAML differ in training alone, and do the same for a task.
#
# Now the paired differences to ProtoNet, (6.3), beside what one would get from (6.2) without the covariance, as if the episodes had been different ones.

# %% tags=["nbval-ignore-output"]
protonet = found["ProtoNet"].episodes
rows = {}
for name in ("pre-train", "ANIL", "MAML", "FOMAML", "Reptile"):
    other = found[name].episodes
    paired = interval(protonet - other)  # (6.3)
    unpaired = math.hypot(interval(protonet), interval(other))  # (6.2), Cov = 0
    rows[f"ProtoNet − {name}"] = [float((protonet - other).mean()), float(paired), float(unpaired)]
table(rows, ["difference", "± paired", "± as if unpaired"], title="points")

# %% [markdown]
# Here the paired interval is the narrower one throughout; it would be wider only if what is hard for one were easy for the other. It says nothing about other people or seeds.

# %% [markdown]
# ## 4 · Three seeds, more time, real faces
#
# The same with the recipes of `metaface train`, for about one minute of one core on the synthetic faces and three on Labeled Faces in the Wild, with three
# seeds each. The width of the network belongs to the recipe: ProtoNet and pre-training have 64 filters in a layer, those with an inner loop 32, which leaves them time for it. All of it is stored; `metaface experiment comparison` measures it again, in about two hours of two cores. The people of the test have been
# seen by nobody. "MAML, learn2learn" is the library's; its inner rate stays what it was, whereas ours is learned for each layer.

# %% tags=["real-faces"]
from metaface_lessons.experiments import comparison
from metaface_lessons.widgets import cost_explorer
from metaface_lessons.widgets.cost_explorer import LOOK, NAMES

stored = {faces: comparison.load(faces) for faces in ("procedural", "lfw")}
T2 = stats.t.ppf(0.975, df=2)


def with_intervals(faces):
    """A row for each learner on a set: accuracy and its intervals, with 1 and with 4 shots."""
    results = stored[faces]
    rows = {}
    for name, row in sorted(
        results["learners"].items(), key=lambda item: -item[1]["4-shot"]["accuracy"]
    ):
        rows[NAMES[name]] = []
        for protocol in ("1-shot", "4-shot"):
            r = row[protocol]
            over_seeds = T2 * r["deviation"] / 3**0.5  # (6.4)
            rows[NAMES[name]] += [r["accuracy"], r["ci95"], r["ci95_people"], over_seeds]
    intervals = ["± episodes", "± people", "± seeds"]
    title = f"{faces}: {results['people']} people, {results['episodes']} episodes a seed"
    return table(
        rows,
        ["1-shot", *intervals, "4-shot", *intervals],
        title=f"{title}, {results['budget_seconds']} s of a core; 5-way accuracy, %",
    )


with_intervals("procedural")

# %% tags=["real-faces"]
with_intervals("lfw")

# %% [markdown]
# Seeds are pairs, too: seed 0 divides the people alike for all learners. So subtract first, (6.3), and take Student's t, (6.4):

# %%
pairs = [
    ("protonet", "anil"),
    ("anil", "maml"),
    ("maml", "fomaml"),
    ("maml", "pretrain"),
    ("pretrain", "reptile"),
]
rows = {}
for one, other in pairs:
    cells = []
    for results in stored.values():
        for protocol in ("1-shot", "4-shot"):
            runs = results["seeds"].values()
            d = [
                100 * (r[one][protocol]["accuracy"] - r[other][protocol]["accuracy"]) for r in runs
            ]
            d = torch.tensor(d)
            cells.append(f"{d.mean():+.1f} ± {T2 * d.std() / 3**0.5:.1f}")
    rows[f"{NAMES[one]} − {NAMES[other]}"] = cells
table(
    rows,
    [f"{faces}, {protocol}" for faces in stored for protocol in ("1-shot", "4-shot")],
    title="mean difference over three seeds, points, ± t s/√3",
)

# %%
rows = {}
for name in ("protonet", "anil", "maml", "learn2learn", "fomaml", "reptile", "pretrain"):
    runs = [results["learners"][name] for results in stored.values()]
    rows[NAMES[name]] = [f"{run[key]:.0f}" for run in runs for key in ("steps", "seconds")]
table(
    rows,
    [text for faces in stored for text in (f"{faces}: steps", "seconds")],
    title="what the training took",
)

# %% [markdown]
# * **ProtoNet is ahead of everybody**, on both sets and with one image or four, by more than the paired intervals. It is also the simplest: no inner loop, no head.
# * **ANIL is ahead of MAML** on synthetic faces, and with one shot on real ones; with four the difference is within its interval. It makes about twice as many steps in the same time, which is what one gets for adapting less; how much of its lead is left at equal steps, the next figure shows: read ANIL one point to the left.
# * **Pre-training is no straw man.** It cannot be told from MAML, though it makes no use of episodes: on synthetic faces because its seeds scatter so much that three say little.
# * **First order loses nothing that we can see** against second order at equal time, and with four shots on synthetic faces it is ahead: it makes more steps, too.
# * **Reptile** is last among the trained ones, on synthetic faces level with pre-training: for it people have too few images. (Its inner loop lives on many minibatches of a task, lesson 04.)
# * **Classical features** do better than chance, and that is about all one can say for them on synthetic faces. On real ones LDA is level with Reptile, with one shot and with four, and LBP is not far behind: three minutes of training bought nothing there.

# %% [markdown]
# What the table does *not* say: that it is so with more time, larger networks, or other data. Each recipe was chosen by short trials, on a division of
# LFW that overlaps with those of the test: a small optimism for all. FOMAML, ANIL and the library's MAML took over MAML's recipe, and pre-training ProtoNet's: nobody tuned theirs. The library's MAML lags a little for two reasons: fixed inner rates, and fewer steps in the time.
#
# ### Accuracy against time
#
# **Predict:** if training is stopped at a sixteenth of the time, does the order stay?

# %%
trained = ("protonet", "anil", "maml", "learn2learn", "fomaml", "reptile", "pretrain")
fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True)
for ax, (faces, results) in zip(axes, stored.items(), strict=True):
    for name in trained:
        curve = results["learners"][name]["curve"]
        spent = [point["seconds"] for point in curve]
        ax.plot(
            spent,
            [100 * point["accuracy"] for point in curve],
            ms=5,
            label=NAMES[name],
            **LOOK[name],
        )
    for name, ls in (("lda", ":"), ("lbp", "-.")):
        ax.axhline(
            100 * results["learners"][name]["4-shot"]["accuracy"],
            color="black",
            lw=1,
            ls=ls,
            label=NAMES[name],
        )
    ax.set(title=faces, xscale="log", xlabel="seconds of one core")
    ax.set_xticks([5, 10, 20, 50, 100, 200], labels=[5, 10, 20, 50, 100, 200])
    ax.minorticks_off()
    ax.set_xlim(results["budget_seconds"] / 20, results["budget_seconds"] * 1.3)
axes[0].set(ylabel="accuracy, 5-way 4-shot, %")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
show(
    fig,
    alt="Accuracy against training time on logarithmic axes, synthetic faces on the left and real"
    " ones on the right,"
    " means of three seeds. On real faces ProtoNet's curve lies above all others from beginning to"
    " end; on synthetic ones"
    " ANIL's is level with it for the first seconds. ANIL follows, then MAML, FOMAML and"
    " learn2learn's MAML close"
    " together. Pre-training begins lowest and rises most steeply; Reptile rises least. LDA and"
    " LBP are horizontal lines.",
)

# %% [markdown]
# The order does not stay. On synthetic faces ANIL is level with ProtoNet for the first quarter of the time, and Reptile begins before MAML and FOMAML and ends behind them. On real
# ones no network is ahead of LDA at first, and after an eighth of the time ProtoNet's alone. Conventional pre-training begins lowest and rises most steeply: it has to tell hundreds of people apart before its features
# are worth anything to others. All curves still rise, so with more time the order may change again. (A point of a curve is of 100 episodes a seed, the table's of 600: hence small
# differences between the two.)

# %% [markdown]
# ## 5 · What it costs
#
# A method is worth a look if nobody else is both cheaper and better. Method i **dominates** j if
#
# $$ c_i \le c_j \;\text{ and }\; a_i \ge a_j, \quad \text{one of the two strictly} \tag{6.5} $$
#
# with costs c and accuracies a. Those that nobody dominates make the **frontier** (Pareto's). Which one of them to take is a matter of taste and money; any
# other needs a further reason: memory, nothing to train on, or a difference that is within the intervals.
#
# ### Exercise 3: the frontier
#
# *2 points, 10 minutes.* Equation (6.5). `cost [M]` and `accuracy [M]` of M methods; return a tensor of M booleans: who is dominated by nobody?


# %% exercise="comparison-frontier"
def my_frontier(cost, accuracy):
    ### BEGIN SOLUTION
    cheaper = cost[:, None] <= cost  # [i, j]: i costs no more than j
    better = accuracy[:, None] >= accuracy
    strictly = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return ~(cheaper & better & strictly).any(dim=0)  # (6.5)
    ### END SOLUTION


check("comparison.frontier", my_frontier)

# %% [markdown]
# Cost is of two kinds. Training is paid once, $C$; adapting is paid for every task, $c$. With n tasks the whole is
#
# $$ \text{cost}(n) = C + n\,c \tag{6.6} $$
#
# Let A be dearer to train than B, and cheaper to adapt. It pays from the number of tasks on at which both cost the same:
#
# $$ C_A + n\,c_A = C_B + n\,c_B \;\Longrightarrow\; n = \frac{C_A - C_B}{c_B - c_A} \tag{6.7} $$
#
# ### Exercise 4: from how many tasks on?
#
# *2 points, 6 minutes.* Equation (6.7). Return n for A against B. There are three cases, in this order: `math.inf` if A saves nothing on a task
# ($c_A \ge c_B$); else 0 if A's training is no more expensive ($C_A \le C_B$); else (6.7), not rounded.


# %% exercise="comparison-break-even"
def my_break_even(train_a, adapt_a, train_b, adapt_b):
    ### BEGIN SOLUTION
    if adapt_a >= adapt_b:
        return math.inf
    return max(0.0, (train_a - train_b) / (adapt_b - adapt_a))  # (6.7)
    ### END SOLUTION


check("comparison.break_even", my_break_even)

# %% [markdown]
# **Predict:** which of our learners stand on the frontier, if the cost is that of a single new task? A new task costs ProtoNet one forward pass of the support
# set; MAML takes ten steps, forward and back.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True)
for ax, (faces, results) in zip(axes, stored.items(), strict=True):
    rows = results["learners"]
    cost = np.array([row["adaptation_ms"] for row in rows.values()])
    accuracy = np.array([100 * row["4-shot"]["accuracy"] for row in rows.values()])
    best = frontier(cost, accuracy)  # (6.5)
    edge = [i for i in cost.argsort() if best[i]]
    ax.step(cost[edge], accuracy[edge], where="post", color="#999999", lw=1.5, zorder=0)
    for name, c, a, filled in zip(rows, cost, accuracy, best, strict=True):
        face = LOOK[name]["color"] if filled else "white"
        ax.plot(c, a, ls="", ms=9, mfc=face, label=NAMES[name], **LOOK[name])
    ax.set(title=faces, xscale="log", xlabel="ms of one core for a task", ylim=(25, 100))
    print(
        f"{faces}: on the frontier are"
        f" {', '.join(NAMES[name] for name, on in zip(rows, best, strict=True) if on)}"
    )
axes[0].set(ylabel="accuracy, 5-way 4-shot, %")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
show(
    fig,
    alt="Accuracy against the milliseconds that a new task costs; filled marks are on the frontier,"
    " hollow ones dominated."
    " On the frontier are pixels, LDA and, well above them, ProtoNet. Everything else is dominated"
    " by ProtoNet: ANIL and"
    " pre-training cost up to two thirds more than it and are less accurate; MAML, FOMAML and"
    " Reptile cost many times as much.",
)

# %%
table(
    {
        NAMES[name]: [
            f"{results['learners'][name]['memory_mb']:.0f}" for results in stored.values()
        ]
        for name in trained
    },
    list(stored),
    title="memory that training adds, MB",
)

# %% [markdown]
# The columns are synthetic and real faces: five training steps in a process of its own, without what it holds before them. All fit into any laptop. ProtoNet and
# pre-training embed the 100 images of an episode at once, with twice as many filters. Our MAML takes more than the library's, which holds one task at a time where ours runs
# several together to be faster; with `fast=False` it takes one at a time, too, and less memory.
#
# Move the sliders: how long can you train, and how many tasks will come? At which number of tasks does the inner loop cost more than all
# training?

# %%
cost_explorer.explore()

# %% [markdown]
# ## 6 · The same with learn2learn
#
# You will meet meta-learning in libraries more often than in 100 lines of your own. learn2learn (Arnold et al. 2020) is the best known one for PyTorch.
# Each piece has its equivalent:
#
# | piece | here | learn2learn 0.2 |
# |---|---|---|
# | episodes | `EpisodeSampler(faces, ways, shots, queries)`: T tasks as tensors | `TaskDataset(MetaDataset(data), [NWays, KShots, LoadData, RemapLabels])`: one task at a time; you divide support and query |
# | a copy to adapt | `inner_loop(weights, …)`: weights in, weights out | `maml.clone()`: a module whose parameters remember where they come from |
# | an inner step | one line, (3.1) | `learner.adapt(loss)` |
# | first order | `first_order=True` | `first_order=True` |
# | ANIL | `adapt="head"` | `MAML` wrapped around the head alone |
# | learned inner rates | `rates="layer"`, or `"parameter"`: one a weight | `MetaSGD`: one a weight |
# | prototypes | `prototypes(embeddings, labels, ways)` | `nn.PrototypicalClassifier` |
# | Reptile | `Reptile` | by hand, with `clone_module` |
# | batch norm | `TaskNorm`, with `transductive` said | PyTorch's: transductive while training, and running averages that inner steps spoil unless you see to it |
#
# The meta-gradient, side by side: on the left ours, on the right the same with learn2learn, both as they stand in the package. (`network_per_task.gradient`, below, is
# `torch.autograd.grad` of the loss; for some networks `fast/` finds the same numbers sooner.)

# %%
import html
import textwrap

from IPython.display import HTML

from metaface_lessons.learners.learn2learn_maml import Learn2LearnMAML


def side_by_side(left, right):
    """The sources of two functions, in two columns."""
    look = "vertical-align: top; text-align: left"
    cell = f'<td style="{look}"><pre style="font: 11px monospace">{{}}</pre></td>'
    sources = [
        html.escape(textwrap.dedent(inspect.getsource(function))) for function in (left, right)
    ]
    columns = "".join(map(cell.format, sources))
    return HTML(f'<div style="overflow-x: auto"><table><tr>{columns}</tr></table></div>')


side_by_side(MAML.meta_gradient, Learn2LearnMAML.meta_gradient)

# %%
side_by_side(MAML.inner_loop, Learn2LearnMAML.inner_loop)

# %% [markdown]
# Do both compute the same? With 64-bit numbers, the same network and the same tasks: **predict** how large the difference between the gradients is,
# relative to their length.

# %%
try:
    theirs = Learn2LearnMAML(classifier(torch.float64), steps=3, test_steps=3, inner_rate=0.2)
except ImportError as error:
    theirs = None
    print(error)
if theirs:
    ours = MAML(classifier(torch.float64), steps=3, inner_rate=0.2)
    tasks = EpisodeSampler(small, 5, 2, 3, seed=0).sample(tasks=3)
    gradients = []
    for net in (ours, theirs):
        scores = net.meta_gradient(tasks)
        gradients.append(
            torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        )
    difference = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    print(f"{len(gradients[0])} weights; relative difference below 1e-9: {bool(difference < 1e-9)}")

# %% [markdown]
# And a task from its `TaskDataset`: labelled images of some people, from which support and query are cut by hand.

# %%
if theirs:
    from learn2learn.data import MetaDataset, TaskDataset
    from learn2learn.data.transforms import KShots, LoadData, NWays, RemapLabels
    from torch.utils.data import TensorDataset

    data = MetaDataset(TensorDataset(small.images, small.identity))
    recipe = [NWays(data, n=5), KShots(data, k=2 + 3), LoadData(data), RemapLabels(data)]
    images, labels = TaskDataset(data, task_transforms=recipe, num_tasks=100).sample()
    by_person = images[labels.argsort(stable=True)].unflatten(0, (5, 5))
    support, query = by_person[:, :2].flatten(0, 1), by_person[:, 2:].flatten(0, 1)
    print("learn2learn:", list(support.shape), list(query.shape))
    episode = EpisodeSampler(small, 5, 2, 3, seed=0).sample()
    print("here:       ", list(episode.support.x.shape), list(episode.query.x.shape))

# %% [markdown]
# When is the library the better choice? When your network is none that you want to rewrite for functional calls, when you want its data sets, or when you adapt with
# unusual updates. When is your own code? When you must know exactly which statistics, which graph and which images a number rests on; or when time counts
# (`python -m benchmarks.maml` measures how much).

# %% [markdown]
# ## 7 · When does which one win?
#
# * **A few images of strangers, who are people like those of the training:** ProtoNet. Alone on the frontier above the classical features: no other network adapts more cheaply.
# * **Nothing to train on:** classical features, with several images of each person. Without base people LDA falls out; of the other two LBP is far ahead on real faces, and pixels on synthetic ones. They are there at once.
# * **Many labelled people, and no wish for episodes:** pre-train. It is the usual way in industry, with far larger sets, and it will come back in lesson 07, with losses made for faces.
# * **Tasks that an embedding cannot hold,** where the same image must be answered differently in different tasks, as with the sinusoids of lesson 03: MAML. Faces by identity are not of this kind, and it shows. Lesson 09 looks for such tasks: new cameras, new light.
# * **Time too short for second derivatives:** ANIL first, FOMAML next. **Memory too short:** one task at a time (`fast=False`, or learn2learn), then even second order takes little.

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. Two methods were run on different episodes, 600 each. Their intervals over episodes overlap a little. What do you do?**
#
# <details><summary>Report a tie</summary>No: overlapping intervals of two means are no test of their difference, and here it can be measured more sharply.</details>
# <details><summary>Run both on the same episodes and look at (6.3)</summary>Right. What is hard for both cancels.</details>
# <details><summary>Draw 60,000 episodes of the same people for each</summary>That narrows the interval over episodes alone. Whether the difference
# holds for other people it cannot say.</details>
#
# **2. Three seeds give 84, 86 and 88%. A paper reports 86 ± 2.3. Where does that come from?**
#
# <details><summary>1.96 · 2 / √3: too narrow</summary>Right. With (6.4) it is 4.303 · 2 / √3 = 5.0.</details>
# <details><summary>t₂ · 2 / √3</summary>No, that would be 5.0.</details>
# <details><summary>The standard deviation</summary>That is 2.0.</details>
#
# **3. In the table of section 4 MAML's row has wider intervals over people than over episodes. Why?**
#
# <details><summary>MAML is unstable, and only the interval over people shows it</summary>No: every method's row is like that.</details>
# <details><summary>There are hundreds of episodes, but only dozens of people</summary>Right. And the people are what you want to speak about.</details>
# <details><summary>A mistake in the code</summary>No. See lesson 01, (1.14) and after.</details>

# %% [markdown]
# **4. ANIL adapts only the head, and wins against MAML here. Does that refute MAML?**
#
# <details><summary>Yes</summary>Not in general: on the sinusoids of lesson 03 a fixed embedding does not do.</details>
# <details><summary>No: it says that for these tasks a common embedding is enough</summary>Right, at this budget, with this recipe, and with twice as many steps in the time. Ask again with another.</details>
# <details><summary>No, since ANIL was tuned longer than MAML on the same people</summary>It has MAML's own recipe.</details>
#
# **5. Your comparison gave every method 2,000 training steps. Fair?**
#
# <details><summary>Yes, all the same</summary>A second-order step costs several times as much as one of ProtoNet, and holds other numbers of images. Steps are not what one pays.</details>
# <details><summary>Only if steps cost the same; compare by seconds, or by images seen, and say by which</summary>Right. The figure of accuracy against time has the whole curve, which is better than any one point.</details>
# <details><summary>No, all must be trained to convergence</summary>That is fair, too, but another question: what is best without a budget.</details>
#
# **6. You will train once and adapt to a million tasks. What decides?**
#
# <details><summary>Training time</summary>No: by (6.6) it disappears against n c.</details>
# <details><summary>Accuracy and the cost of a task</summary>Right: the frontier of section 5.</details>
# <details><summary>The number of parameters to be stored</summary>Only by way of accuracy and cost.</details>

# %% [markdown]
# ## Recap
#
# * Hold people, test episodes and computing fast, and say what you could not, such as the network's width. Then compare by paired differences, (6.3).
# * Three kinds of chance, three intervals: episodes, people, seeds. With few seeds, Student's t, (6.4). Report the widest.
# * In about the same seconds ProtoNet wins on both face sets; ANIL follows; MAML, FOMAML and honest pre-training are near to each other; Reptile wants more images than people have.
# * A method is worth a look if nobody dominates it, (6.5). With (6.7) you can say from how many tasks on a dear training pays.
# * learn2learn has an equivalent for nearly every piece, and computes the same gradients.

# %%
progress("06")

# %% [markdown]
# ## References
#
# * W.-Y. Chen, Y.-C. Liu, Z. Kira, Y.-C. F. Wang, J.-B. Huang. *A Closer Look at Few-shot Classification.* ICLR 2019. The baseline, and a
#   comparison across domains that it wins.
#   [arXiv:1904.04232](https://arxiv.org/abs/1904.04232)
# * S. M. R. Arnold, P. Mahajan, D. Datta, I. Bunner, K. S. Zarkias. *learn2learn: A Library for Meta-Learning Research.* [arXiv:2008.12284](https://arxiv.org/abs/2008.12284), 2020.
# * A. Raghu, M. Raghu, S. Bengio, O. Vinyals. *Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML.* ICLR 2020. ANIL.
#   [arXiv:1909.09157](https://arxiv.org/abs/1909.09157)
# * Student. *The Probable Error of a Mean.* Biometrika 6, 1908. The t of (6.4).
#   [doi:10.1093/biomet/6.1.1](https://doi.org/10.1093/biomet/6.1.1)
# * J. Snell, K. Swersky, R. Zemel. *Prototypical Networks for Few-shot Learning.* NeurIPS 2017.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)
# * C. Finn, P. Abbeel, S. Levine. *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.* ICML 2017.
#   [arXiv:1703.03400](https://arxiv.org/abs/1703.03400)
# * A. Nichol, J. Achiam, J. Schulman. *On First-Order Meta-Learning Algorithms.* [arXiv:1803.02999](https://arxiv.org/abs/1803.02999), 2018.

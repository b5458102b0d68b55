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
# You have built ProtoNet, MAML, FOMAML, ANIL and Reptile. Which one should you take? Tables in papers often differ in networks, people, budgets and
# rules at once. This lesson holds fixed what can be: the filters of the network, the people, the test episodes, the seconds of computing. Section 4
# says what still differs. Conventional learning competes too, and so does MAML as a library computes it. Not every result will please a course on
# meta-learning.
#
# **After this lesson you can**
#
# * say what a comparison must hold fixed, and compute the interval of a *difference* on the same episodes;
# * tell apart three sources of chance, episodes, people and seeds, and say which interval covers which;
# * decide which of two methods to ship, or that you cannot tell, by a rule whose errors you have simulated;
# * weigh accuracy against cost: the frontier, and the number of tasks from which an expensive training pays;
# * name the equivalent in learn2learn of each piece that you have built, and check that both compute the same.

# %% [markdown]
# **You need** lessons 01 to 04. **Time** 75 minutes, with five exercises, worth 11 points. **Computing** less than 180 seconds on two CPU cores; a
# GPU is not needed. With the environment variable `METAFACE_BUDGET=full` the live trainings are longer. The results with five seeds, on synthetic
# and on real faces, are stored with the course.

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
from metaface_lessons.evaluation import evaluate, frontier, holm, interval, p_value, paired
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.figures import forest, forest_alt, show, style, table
from metaface_lessons.learners.baselines import baselines
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.nca import NCA
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
# If they meet *different* episodes, drawn independently, the variances of the two means add. But some episodes are hard for everybody: two people
# look alike, a photo is dark. If both methods meet the *same* episodes, this part of the chance is common to both, and the subtraction takes it
# out:
#
# $$ \text{Var}(a_e - b_e) = \text{Var}(a_e) + \text{Var}(b_e) - 2\,\text{Cov}(a_e, b_e) \tag{6.2} $$
#
# So the interval of a paired difference comes from the differences $d_e = a_e - b_e$ themselves:
#
# $$ \bar d \;\pm\; 1.96\,\frac{s_d}{\sqrt E}, \qquad s_d^2 = \frac{1}{E-1} \sum_{e=1}^{E} (d_e - \bar d)^2 \tag{6.3} $$

# %% [markdown]
# ### Exercise 1: the interval of a difference
#
# *2 points, 6 minutes.* Equation (6.3). `a` and `b`, `[E]`, are the accuracies of two methods on the same episodes. Return the pair (a tuple or a
# list): mean difference a − b, and half the width of its interval.


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
# Would the result be the same with other **episodes**? With other **people**? With another **seed**, that is with other first weights, other training
# episodes and other people to train and to test on?
#
# * *Episodes.* The interval (6.3) answers only this question. You can make it as narrow as you like by drawing more episodes of the same people.
# * *People.* Each person is in many episodes, once as the one who is asked about and often as somebody to be confused with. So the episodes are not
#   independent. `evaluation.people_interval` leaves out one person after the other, and sees how far the mean moves (lesson 01).
# * *Seeds.* The third question needs new trainings, which are expensive; three to five is usual. The interval over them is (6.4).
#
# With so few seeds, 1.96 is too small. It is the quantile of a normal distribution, and belongs to a standard deviation that is *known*. An estimate
# from S values is itself uncertain, and more often too small than too large. Student's t allows for that. Let $x_1, \dots, x_S$ be the numbers of S
# trainings, accuracies or differences, and $t_{S-1}$ the 97.5% quantile of Student's distribution with S − 1 degrees of freedom:
#
# $$ \bar x \;\pm\; t_{S-1}\,\frac{s}{\sqrt S}, \qquad s^2 = \frac{1}{S-1} \sum_{i=1}^{S} (x_i - \bar x)^2 \tag{6.4} $$
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
# The last column says how often an interval with 1.96 holds the true mean. It promises 95 times in 100.
#
# Equation (6.4) asks for *independent* trainings. Synthetic faces can have that: each seed draws new people. Real people are few, so each seed
# divides the same people again, and two trainings share most of the people they learn from. Then $s/\sqrt S$ is too small. Nadeau & Bengio (2003)
# put $s\,\sqrt{1/S + n_2/n_1}$ in its place, for $n_2$ people in a test and $n_1$ in a training. With five seeds and three times as many people to
# train on as to test, it is about 1.6 times as wide. `evaluation.over_seeds(shared=True)` does that.
#
# **Which interval counts? Follow the widest.** No single one holds every chance, so even the widest can be too narrow. Bouthillier et al. (2021)
# measured how much data, seeds and settings move the results of benchmarks. Agarwal et al. (2021) show the same for reinforcement learning, where a
# few runs are usual.

# %% [markdown]
# ### Exercise 2: the interval over seeds
#
# *2 points, 5 minutes.* Equation (6.4). `accuracies [S]` has one number per seed; `t` is a dict from the degrees of freedom to Student's quantile,
# such as `t[2] = 4.303`. Return half the width of the interval.


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
# | pre-training, fine-tuning | an embedding that distinguishes the base people | a new linear layer is fitted to the support set |
# | ProtoNet (lesson 02) | an embedding, by episodes | nearest class mean |
# | NCA | the same embedding, without episodes | nearest class mean |
# | MAML, FOMAML (03) | an initialisation, with or without second derivatives | gradient descent on all weights |
# | ANIL (03) | an embedding and the start of a head | gradient descent on the head |
# | Reptile (04) | an initialisation, without query sets | gradient descent on all weights |
#
# *Pre-training, then fine-tuning* is conventional learning. Chen et al. (2019) put it beside the meta-learners of their day, with the same network,
# and it kept up or won. `pretraining.Pretraining` is their baseline, but with embeddings scaled to length 1. Its classes are the *base people*,
# numbered once for all batches. Lesson 01 pre-trained by hand, with the same loss, in passes over all images; here batches are drawn as those of
# the other learners, so that seconds compare.
#
# *NCA* is the control for ProtoNet. Both get batches of the same kind. ProtoNet divides a batch into support and query, and here lets every image
# be support in turn. NCA compares each image with *all* others, and raises the chance that its nearest neighbour is of the same person. Laenen &
# Bertinetto (2021) found that this trains as well as episodes or better. If it does so here, then it is not the episodes that make ProtoNet good.
# The docstring of `learners/nca.py` has the loss, in two lines.
#
# All networks in this section are a small Conv-4 on synthetic faces of 32×32 pixels, with the training episodes of their lessons. Each trains for
# four to six seconds of an idle core; the times are printed.

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
    """For learners with an inner loop. Its head begins at zero: people have random numbers."""
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
    # in_turn: each image of a person is the support once. Squared distances of so many numbers
    # are large, so they are divided by 50 before the softmax.
    "ProtoNet": (ProtoNet(embedding(), temperature=50, in_turn=True), wide, 1, 3e-3, 450),
    "NCA": (NCA(embedding(), temperature=50), wide, 1, 3e-3, 500),
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
# **Predict:** order the ten methods, 5-way 4-shot, on people that nobody has trained on. Which of them will need the most time for a *new* task?

# %% tags=["nbval-ignore-output"]
found, milliseconds = {}, {}
for name, method in Bar(methods.items(), "evaluate", "method"):  # the bar moves between them
    test = EpisodeSampler(strangers, ways=5, shots=4, queries=2, seed=1)  # the same for each
    start = time.process_time()
    found[name] = evaluate({name: method}, test, episodes=600 if FULL else 160)[name]
    milliseconds[name] = 1000 * (time.process_time() - start) / len(found[name].episodes)
table(
    {
        name: [
            *(result.accuracy, result.ci95, result.over_people),
            f"{seconds.get(name, 0):.1f} s",
            f"{milliseconds[name]:.1f} ms",
        ]
        for name, result in sorted(found.items(), key=lambda item: -item[1].accuracy)
    },
    ["accuracy", "± over episodes", "± over people", "training", "a task"],
    title="5-way 4-shot on strangers, %",
)

# %% [markdown]
# The order is that of one training each, of some seconds, with small networks. These intervals are of each accuracy alone. Whether two neighbours can
# be told apart, only their paired difference says. FOMAML in particular may be far from MAML here; section 4 asks again with five seeds and a minute.
#
# The slowest on a new task are those that adapt all weights. Their times waver by some milliseconds from run to run: MAML and FOMAML differ in
# training alone, and do the same for a task.
#
# Now the paired differences to ProtoNet, (6.3), beside what (6.2) gives without the covariance, as if the episodes had been different ones. The last
# columns have the interval over people, and the verdict of the widest.

# %% tags=["nbval-ignore-output"]
protonet = found["ProtoNet"]
rows = {}
for name in ("NCA", "pre-train", "ANIL", "MAML", "FOMAML", "Reptile"):
    difference = paired(protonet, found[name])
    unpaired = math.hypot(interval(protonet.episodes), interval(found[name].episodes))  # Cov = 0
    intervals = (difference.over_episodes, unpaired, difference.over_people)
    rows[f"ProtoNet − {name}"] = [difference.mean, *intervals, difference.verdict]
table(
    rows,
    ["difference", "± episodes, paired", "± as if unpaired", "± people", "ProtoNet is"],
    title="points; one training each, so there is no interval over seeds",
)

# %% [markdown]
# The paired interval over episodes is narrower than the unpaired one wherever the two methods find the same episodes hard. The one over people is
# wider still in most rows. It says nothing about seeds.

# %% [markdown]
# ## 4 · Five seeds, a minute each, real faces
#
# Now larger faces, with five seeds: synthetic ones of 64×64 pixels, and real ones of 48×48 (Labeled Faces in the Wild). In each seed some 210
# people are there to train on and 75 others to test on, in 250 episodes of each kind. All of it is stored; `metaface experiment comparison`
# measures it again, in some hours.
#
# **What is equal.** The network: a Conv-4 with 32 filters in each layer. The people and the test episodes of a seed; nobody has trained on the
# people of the test. The seconds: each learner makes as many steps as a minute of one core allows. The steps of all learners are timed in turn in
# one process, and the fastest round of each counts. The seconds below are steps times that time.
#
# **What is not.** The training episodes and the normalisation are those of each recipe. ProtoNet, NCA and pre-training get batches of 100 images
# and batch norm; the inner loops get four tasks of 25 images (Reptile two of 50) and normalise each task by itself.
#
# **What was tuned.** Each learner chose its outer rate among three. Those without episodes could choose one thing more: pre-training its batches,
# NCA its temperature. They chose after one training with each candidate, on synthetic people that no table here reports. Most choices were close.
# Real faces take over what was chosen on synthetic ones.
#
# MAML here *learns* its inner rates, one for each layer, together with the weights; so do FOMAML and ANIL. Lesson 03 kept the rate fixed; lesson 09
# explains how it is learned. "learn2learn's MAML" is the library's: its inner rate stays fixed.

# %% tags=["real-faces"]
from metaface_lessons.evaluation import Estimate
from metaface_lessons.experiments import comparison
from metaface_lessons.widgets import cost_explorer
from metaface_lessons.widgets.cost_explorer import LOOK, NAMES

SETS = {"procedural": "synthetic faces", "lfw": "faces of LFW"}
SYNTHETIC, REAL = SETS
stored = {faces: comparison.load(faces) for faces in SETS}
SHOTS = ("1-shot", "4-shot")
rows = {}
for name in comparison.TRAINED:
    learners = [results["learners"][name] for results in stored.values()]
    chosen = stored[SYNTHETIC]["chosen"][name]["best"]
    numbers = [f"{run[key]:.0f}" for run in learners for key in ("steps", "seconds")]
    rows[NAMES[name]] = [str(learners[0]["width"]), *numbers, chosen]
table(
    rows,
    [
        "filters",
        *(f"{SETS[faces]}: {key}" for faces in stored for key in ("steps", "seconds")),
        "settings chosen",
    ],
    title="What each training had",
)

# %% [markdown]
# Marks are means, bars the widest of three 95% intervals, and the dotted line is chance. **Predict:** who is ahead on each set? And does NCA,
# without episodes, fall behind ProtoNet?

# %%
fig, axes = plt.subplots(2, 2, figsize=(10, 7.6), sharey=True, sharex="row")
order = sorted(NAMES, key=lambda name: stored[REAL]["learners"][name]["4-shot"]["mean"])
words = []
for line, (faces, results) in zip(axes, stored.items(), strict=True):
    for ax, shots in zip(line, SHOTS, strict=True):
        for place, name in enumerate(order):
            e = Estimate.from_scores(results["learners"][name][shots])
            look = LOOK[name] | {"linestyle": ""}
            ax.errorbar(100 * e.mean, place, xerr=100 * e.widest, capsize=3, lw=1.4, **look)
        ax.axvline(20, color="#777777", lw=1.2, ls=":")
        ax.set(title=f"{SETS[faces]}, {shots}", xlabel="5-way accuracy, %")
        ax.set_yticks(range(len(order)), labels=[NAMES[name] for name in order])
    best = max(order, key=lambda name: results["learners"][name]["4-shot"]["mean"])
    e = Estimate.from_scores(results["learners"][best]["4-shot"])
    words.append(f"{SETS[faces]}: with four shots {NAMES[best]} has the highest mean, {e}")
show(fig, alt=f"Accuracy with the widest 95% interval, a dot for each learner. {'; '.join(words)}.")

# %%
table(
    {
        NAMES[name]: [
            Estimate.from_scores(results["learners"][name][shots])
            for results in stored.values()
            for shots in SHOTS
        ]
        for name in reversed(order)
    },
    [f"{faces}, {shots}" for faces in SETS.values() for shots in SHOTS],
    title="5-way accuracy on strangers, % ± the widest interval, over people or over seeds",
)

# %% [markdown]
# These intervals are of each accuracy alone. Do not compare them with one another: what is hard for one method is hard for the next. The question
# "is A ahead of B?" is answered by paired differences. These nine questions were written down before these trainings began, but after an earlier
# version with three seeds, which had the same real people. So on real faces they are not quite blind. A blue dot is ahead, an orange square is
# behind, and a hollow grey diamond means that you cannot tell.

# %%
claims = {}
for faces, results in stored.items():
    rows = {}
    for shots in SHOTS:
        for one, other in comparison.QUESTIONS:
            difference = comparison.difference(results, one, other, shots)
            rows[f"{NAMES[one]} − {NAMES[other]}, {shots}"] = difference
    claims |= {f"{SETS[faces]}: {name}": difference for name, difference in rows.items()}
    better = f"the first is better, {SETS[faces]}"
    show(forest(rows, better), alt=forest_alt(rows, better))

# %% [markdown]
# ### Many questions at once
#
# Nine questions, two shots and two sets are 36 differences. If all of them were 0, one or two would still lie outside their 95% intervals, by
# chance alone. *Holm's* way keeps the risk of *any* wrong claim at 5%. It needs p-values. The **p-value** is the chance of a difference at least so
# far from 0, if there were none; here it is the largest over the intervals, for seeds by Student's t. Holm's way orders the m p-values. The
# smallest must be below 0.05/m, the next below 0.05/(m − 1), and so on; the first that is not ends the list. That holds if the p-values are right.
# With five seeds they rely on normal differences. On real faces the correction does not see all that trainings have in common when they share
# people. So take a p-value near the limit there with care.

# %%


def by_holm(differences):
    """Their p-values, and which of them stand, of all of them."""
    p_values = {name: p_value(d, len(stored[REAL]["seeds"])) for name, d in differences.items()}
    return p_values, holm(p_values)


p_values, stands = by_holm(claims)
alone = [name for name, difference in claims.items() if difference.verdict != "cannot tell"]
print(
    f"{len(claims)} questions; {len(alone)} are decided one by one, {sum(stands.values())} by Holm"
)
table(
    {
        name: [claims[name], claims[name].verdict, "stands" if stands[name] else "does not stand"]
        for name in sorted(alone, key=lambda name: p_values[name])
    },
    ["difference, points", "alone", "of all questions, by Holm"],
    title="What can be said of the first one",
)

# %% [markdown]
# You may repeat what stands by Holm. The rest is "cannot tell". That does not mean "equal". To tell a small difference you need more seeds or people.
# To call two methods equal, you need a limit below which a difference does not matter.
#
# Of these 36 questions, this stands on both sets: ProtoNet is ahead of pre-training and of ANIL, pre-training is ahead of Reptile, and with one
# shot ANIL is ahead of MAML. NCA cannot be told from ProtoNet in any of the four comparisons. So nothing here shows that *episodes* make ProtoNet
# good. If they help, the intervals say by how much at most. (ProtoNet here lets every image be support in turn; plain episodes were not measured.)
# Nor can MAML be told from FOMAML: in a minute, nothing shows that second derivatives pay. One answer turns round. Reptile is far ahead of LDA on
# synthetic faces. On real ones LDA has the higher means, but that does not stand.

# %% [markdown]
# ### Exercise 3: which one to ship, or neither
#
# *3 points, 12 minutes.* An open task: the rule is yours. You get what two methods reached with S seeds, `a` and `b`, `[S, I]`: row s has the
# accuracies of the I people of seed s, the same people for both methods, and new people in each seed. `t` is as in exercise 2. Return `"a"`, `"b"`
# or `"cannot tell"`.
#
# The check simulates many comparisons, with three or five seeds, of trainings that scatter little or much. Where the methods are equally good, at
# most 5% may end with a winner. Where one is clearly better, by three standard deviations of a seed's difference, more than 70% must name it. (The
# check allows for chance in both.) Think of what is independent of what: all people of a seed meet the same two trainings, and trainings are lucky
# or not.


# %% exercise="comparison-decide"
def my_decide(a, b, t):
    ### BEGIN SOLUTION
    d = (a - b).mean(dim=1)  # one number for each seed, (6.1)
    half = t[len(d) - 1] * d.std() / len(d) ** 0.5  # (6.4)
    if abs(d.mean()) <= half:
        return "cannot tell"
    return "a" if d.mean() > 0 else "b"
    ### END SOLUTION


check("comparison.decide", my_decide)

# %% [markdown]
# Your rule on the stored results of the synthetic faces, whose seeds are independent. (On real faces it would claim too much, because the seeds share
# people.)

# %%
from metaface_lessons.evaluation import from_json

decide = yours("comparison.decide", my_decide)
quantiles = {freedom: float(stats.t.ppf(0.975, freedom)) for freedom in range(1, 10)}
tests = [from_json(test["4-shot"]) for test in stored[SYNTHETIC]["evaluations"].values()]


def per_person(name):
    """`[S, I]`: the accuracy of each person with each seed."""
    return torch.tensor(np.array([test[name].people for test in tests]))


table(
    {
        f"a = {NAMES[one]}, b = {NAMES[other]}": [
            decide(per_person(one), per_person(other), quantiles),
            comparison.difference(stored[SYNTHETIC], one, other, "4-shot"),
        ]
        for one, other in comparison.QUESTIONS
    },
    ["the rule says", "a − b, points ± the widest interval"],
    title="Synthetic faces, 4-shot",
)

# %% [markdown]
# The rule judges one question at a time. So it may name a winner that does not stand by Holm, such as FOMAML over MAML.
#
# ### Is it the width?
#
# 32 filters suit the inner loops, which are slow. Perhaps embeddings could use more. Four learners train again with 64 filters, *in the same
#   minute*, so they make fewer steps. They keep the rates that were chosen for 32.


# %%
def standing(differences):
    """Print which of them stand by Holm, of all of them."""
    names = [name for name, stands in by_holm(differences)[1].items() if stands]
    print(f"of these {len(differences)}, by Holm {len(names)} stand:", *names, sep="\n    ")


rows, asked = {}, {}
for name in comparison.LEADERS:
    cells = []
    for faces, results in stored.items():
        with_32, with_64 = (results["learners"][entry] for entry in (name, f"{name}-wide"))
        cells += [f"{with_32['steps']} → {with_64['steps']}"]
        for shots in SHOTS:
            wider = comparison.difference(results, f"{name}-wide", name, shots)
            cells.append(wider)
            asked[f"{NAMES[name]}, {SETS[faces]}, {shots}"] = wider
    rows[NAMES[name]] = cells
standing(asked)
table(
    rows,
    [f"{faces}: {what}" for faces in SETS.values() for what in ("steps", *SHOTS)],
    title="64 filters − 32 filters in the same seconds, points ± the widest interval",
)

# %% [markdown]
# A positive difference beyond its interval says that width is worth more than steps for that learner, at a minute. These are sixteen more
# questions, so the printed line has what stands: on synthetic faces ANIL loses by the width, and ProtoNet with one shot. For the rest you cannot
# tell.
#
# ### Why is the library's MAML another one?
#
# It differs from ours in two ways. Its inner rate is fixed, and a step takes longer, so that it makes fewer. One run more tells them apart:
# learn2learn with as many steps as our MAML, in more seconds.

# %%
rows = {
    text: {
        f"{SETS[faces]}, {shots}": comparison.difference(results, one, other, shots)
        for faces, results in stored.items()
        for shots in SHOTS
    }
    for text, one, other in (
        ("learned rates, equal steps", "maml", "learn2learn-longer"),
        ("more steps, fixed rates", "learn2learn-longer", "learn2learn"),
        ("both", "maml", "learn2learn"),
    )
}
standing({f"{text}, {of}": found for text, row in rows.items() for of, found in row.items()})
table(
    {text: list(row.values()) for text, row in rows.items()},
    list(rows["both"]),
    title="Learned rates and more steps, taken apart, points ± the widest interval",
)

# %% [markdown]
# What stands is all on synthetic faces: there learned rates help with one shot, and more steps with four. For the rest you cannot tell.
#
# ### Accuracy against time
#
# **Predict:** if training is stopped at a sixteenth of the time, does the order stay?

# %%
from matplotlib.ticker import NullLocator


def curves(results, names, ticks, title, ax):
    """Accuracy against seconds, with the widest interval of each point; a little side by side."""
    for place, name in enumerate(names):
        points = results["learners"][name]["curve"]
        spent = [point["seconds"] * 1.03 ** (place - len(names) / 2) for point in points]
        mean = [100 * point["mean"] for point in points]
        half = [100 * Estimate.from_scores(point).widest for point in points]
        ax.errorbar(spent, mean, half, ms=5, elinewidth=0.7, label=NAMES[name], **LOOK[name])
    ax.set(title=title, xscale="log", xlabel="seconds of one core")
    ax.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def ranks(results, names, point):
    """The learners in the order of their means at a point of their curves."""
    learners = results["learners"]
    return sorted(names, key=lambda name: -learners[name]["curve"][point]["mean"])


fig, axes = plt.subplots(1, 2, figsize=(10, 4.8), sharey=True)
words = []
for ax, (faces, results) in zip(axes, stored.items(), strict=True):
    curves(results, comparison.TRAINED, (4, 8, 15, 30, 60), SETS[faces], ax)
    lda = Estimate.from_scores(results["learners"]["lda"]["4-shot"])
    ax.axhline(100 * lda.mean, color="black", lw=1, ls=":", label="LDA")
    first, last = (
        ", ".join(NAMES[name] for name in ranks(results, comparison.TRAINED, point))
        for point in (0, -1)
    )
    words.append(f"{SETS[faces]}: first {first}; at the end {last}")
    print(f"{SETS[faces]}\n  after a sixteenth  {first}\n  at the end         {last}")
axes[0].set(ylabel="accuracy, 5-way 4-shot, %")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
show(
    fig,
    alt="Accuracy against seconds of training (on a logarithmic axis), with the widest 95%"
    f" intervals. In the order of the means, {'. '.join(words)}.",
)

# %% [markdown]
# In the order of the means some learners change places; Reptile falls to the last. Whether they really did, these single intervals cannot say. On
# both sets NCA and ProtoNet have the highest means at both ends. (A point of a curve comes from fewer episodes than the table, so the two differ a
# little. The marks of one time are drawn side by side.)
#
# A minute is short. The four leaders on real faces, with one seed and 30 minutes of a core each. **Predict:** do their curves cross?

# %%
long = comparison.load(REAL, long=True)
fig, ax = plt.subplots(figsize=(7, 4.4))
curves(long, comparison.LEADERS, (15, 30, 60, 120, 240, 480, 960, 1800), SETS[REAL], ax)
ax.set(ylabel="accuracy, 5-way 4-shot, %")
ax.legend(loc="lower right")
first, last = (
    ", ".join(NAMES[name] for name in ranks(long, comparison.LEADERS, point)) for point in (2, -1)
)
print(f"after a minute    {first}\nafter 30 minutes  {last}")
show(
    fig,
    alt="Accuracy of four learners on real faces against seconds of training up to 1800 (on a"
    " logarithmic axis), one seed, with intervals over people. In the order of the means: after a"
    f" minute {first}; after 30 minutes {last}.",
)

# %%
pairs = (("protonet", "nca"), ("protonet", "anil"), ("anil", "pretrain"))
rows = {
    f"{NAMES[one]} − {NAMES[other]}, {shots}": comparison.difference(long, one, other, shots)
    for shots in SHOTS
    for one, other in pairs
}
standing(rows)
show(forest(rows, "the first is better, after 30 minutes, one seed"), alt=forest_alt(rows))

# %% [markdown]
# Two of them do, in their means: ANIL starts last and passes pre-training. After 30 minutes ANIL is ahead with one shot, and by Holm this stands.
# (With four shots, which the curves show, the interval alone would say so as well; by Holm it does not stand.) ProtoNet and NCA stay in front, and
# cannot be told apart. So a ranking after a minute may be a ranking *of a minute*.
#
# Two limits. One seed has no interval over seeds: these bars are over people alone. So the differences hold for *these* trainings, and other first
# weights may give others. And the outer rate halves every 2,000 steps, as in the minute: after 10,000 of the 30,000 to 50,000 steps it is a 32nd of
# the first. The flat ends of the curves are also those of this schedule. What a slower one would reach, nobody measured.
#
# What the comparison does *not* say: that it is so with larger networks, more people to train on, or other data. The recipes' other settings were
# found by short trials on LFW, on people who overlap with those of the test. That can favour the learners that train, by an amount that nobody
# measured.

# %% [markdown]
# ## 5 · What it costs
#
# A method is worth a look if no other one is both cheaper and better. Method i **dominates** j if
#
# $$ c_i \le c_j \;\text{ and }\; a_i \ge a_j, \quad \text{one of the two strictly} \tag{6.5} $$
#
# with costs c and accuracies a. Those that nobody dominates make the **frontier** (Pareto's). Which one of them to take is a matter of taste and
# money. Any other needs a further reason: memory, nothing to train on, or a difference that is within the intervals.
#
# ### Exercise 4: the frontier
#
# *2 points, 10 minutes.* Equation (6.5). `cost [M]` and `accuracy [M]` belong to M methods. Return M booleans (a tensor, an array or a list): is the
# method dominated by nobody?


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
# Let A be more expensive to train than B, and cheaper to adapt. A pays from that number of tasks on at which both cost the same:
#
# $$ C_A + n\,c_A = C_B + n\,c_B \;\Longrightarrow\; n = \frac{C_A - C_B}{c_B - c_A} \tag{6.7} $$
#
# ### Exercise 5: from how many tasks on?
#
# *2 points, 6 minutes.* Equation (6.7). Return n for A against B. There are three cases, in this order: `math.inf` if A saves nothing on a task
# ($c_A \ge c_B$); else 0 if A's training is no more expensive ($C_A \le C_B$); else (6.7), not rounded. (The question is from where on it pays that a
# task costs *less* with A. So where both cost the same, the answer is `math.inf`, even if A's training is cheaper.)


# %% exercise="comparison-break-even"
def my_break_even(train_a, adapt_a, train_b, adapt_b):
    ### BEGIN SOLUTION
    if adapt_a >= adapt_b:
        return math.inf
    return max(0.0, (train_a - train_b) / (adapt_b - adapt_a))  # (6.7)
    ### END SOLUTION


check("comparison.break_even", my_break_even)

# %% [markdown]
# **Predict:** which of our learners are on the frontier, if the cost is that of a single new task? A task costs ProtoNet one forward pass of its
# images. MAML takes ten steps, forward and back. (The time includes the answers to five queries.) Filled marks are on the frontier.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4.8), sharey=True)
words = []
for ax, (faces, results) in zip(axes, stored.items(), strict=True):
    learners = {name: results["learners"][name] for name in NAMES}
    cost = np.array([row["adaptation_ms"] for row in learners.values()])
    accuracy = np.array([100 * row["4-shot"]["mean"] for row in learners.values()])
    best = frontier(cost, accuracy)  # (6.5)
    edge = [i for i in cost.argsort() if best[i]]
    ax.step(cost[edge], accuracy[edge], where="post", color="#999999", lw=1.5, zorder=0)
    for (name, row), c, a, filled in zip(learners.items(), cost, accuracy, best, strict=True):
        half = 100 * Estimate.from_scores(row["4-shot"]).widest
        look = {"ms": 9, "elinewidth": 1, "label": NAMES[name], **LOOK[name], "linestyle": ""}
        ax.errorbar(c, a, half, mfc=LOOK[name]["color"] if filled else "white", **look)
    ax.set(title=SETS[faces], xscale="log", xlabel="ms of one core to learn a task and answer")
    ax.set_xticks([1, 3, 10, 30, 100, 300], labels=["1", "3", "10", "30", "100", "300"])
    ax.xaxis.set_minor_locator(NullLocator())
    on = ", ".join(NAMES[list(learners)[i]] for i in edge)
    words.append(f"{SETS[faces]}: {on}")
    print(f"{SETS[faces]}, on the frontier from cheap to expensive: {on}")
axes[0].set(ylabel="accuracy, 5-way 4-shot, %")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
show(
    fig,
    alt="Accuracy with its widest interval against the milliseconds that a new task costs (on a"
    " logarithmic axis). Filled marks are on the frontier, hollow ones are dominated. On the"
    f" frontier are, {'; '.join(words)}.",
)

# %% [markdown]
# The frontier is drawn through means, and times waver by a tenth. ProtoNet and NCA do the same for a task, and their accuracies cannot be told
# apart. So count them as one point. Of other pairs, the nine questions of section 4 say which one is really behind.

# %%
table(
    {
        NAMES[name]: [
            f"{results['learners'][name]['memory_mb']:.0f}" for results in stored.values()
        ]
        for name in comparison.TRAINED
    },
    list(SETS.values()),
    title="memory that training adds, MB",
)

# %% [markdown]
# The memory was measured in five training steps in a process of its own, not counting what it uses before them. All fit into any laptop. Our MAML
# runs several tasks together to be faster; the library's holds one task at a time. With `fast=False` ours takes one at a time too.
#
# Move the sliders: how long can you train, and how many tasks will come? At which number of tasks does the inner loop cost more than all
# training?

# %%
cost_explorer.explore()

# %% [markdown]
# <details><summary>What you may have seen</summary>
#
# Training is paid once, so with few tasks all trained learners lie close together on the right. With many tasks they separate by the cost of one
# task: the inner loops move right, the embeddings hardly do. The inner loop costs more than all training from n = C/c tasks on. The next cell
# computes that.
#
# </details>

# %%
rows = {}
for name in comparison.TRAINED:
    learners = [results["learners"][name] for results in stored.values()]
    rows[NAMES[name]] = [
        f"{round(1000 * row['seconds'] / row['adaptation_ms'], -2):,.0f}" for row in learners
    ]
table(
    rows,
    list(SETS.values()),
    title="n = C/c, the tasks that cost as much as the training, in hundreds",
)

# %% [markdown]
# ## 6 · The same with learn2learn
#
# You will meet meta-learning in libraries more often than in 100 lines of your own. learn2learn (Arnold et al. 2020) is the best known one for
# PyTorch. Each piece has its equivalent:
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
# The meta-gradient, side by side: on the left ours, on the right the same with learn2learn, both as they are in the package. Read ours as the dozen
# lines of lesson 03: a loop over tasks, adapt to the support set, differentiate the query loss. (`final` takes the last weights of the inner loop.
# `WAYS` also keeps the graph of the steps for the second order. `network_per_task.gradient`, below, is `torch.autograd.grad` of the loss;
# for some networks `fast/` finds the same numbers sooner.)

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

# %% tags=["nbval-ignore-output"]
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
    size = 10.0 ** math.ceil(math.log10(max(float(difference), 1e-18)))
    print(f"{len(gradients[0])} weights; relative difference below 1e-9: {bool(difference < 1e-9)}")
    print(f"on this machine it is below {size:.0e}")

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
# When is the library the better choice? When you do not want to rewrite your network for functional calls, when you want its data sets, or when you
# adapt with unusual updates. When is your own code? When you must know exactly which statistics, which graph and which images a number rests on; or
# when time counts (`python -m benchmarks.maml` measures how much).

# %% [markdown]
# ## 7 · When does which one win?
#
# Ask the tables of section 4, and keep to what stands by Holm. Beyond them, by the kind of problem:
#
# * **A few images of strangers, who are like the people of the training:** an embedding with the nearest class mean. It is the cheapest to adapt of
#   all trained networks. Whether you train it by episodes (ProtoNet) or without (NCA) is the first question of section 4.
# * **Nothing to train on:** classical features, with several images of each person. LDA needs base people, so LBP and pixels remain.
# * **No wish for episodes:** NCA or pre-training. Here, with some 200 people and a minute, NCA has the higher means. (This pair is not among the nine
#   questions.) With far larger sets pre-training is the usual way in industry. Lesson 07 comes back to it, with losses made for faces.
# * **Tasks that an embedding cannot hold,** where the same image must be answered differently in different tasks, as with the sinusoids of lesson
#   03: MAML. Faces by identity are not of this kind. Lesson 09 looks for such tasks: new cameras, new light.
# * **An inner loop, and little time:** ANIL. With one shot it is ahead of MAML on both sets. FOMAML's steps are quicker than MAML's, but in a
#   minute the two cannot be told apart. **Memory too short:** one task at a time, as learn2learn does; the table of section 5 has what that takes.

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. Two methods were run on different episodes, 600 each. Their intervals over episodes overlap a little. What do you do?**
#
# <details><summary>Run both on the same episodes and look at (6.3)</summary>Right. What is hard for both cancels.</details>
# <details><summary>Report a tie</summary>No: whether two intervals overlap is not a test of a difference, and here it can be measured more
# sharply.</details>
# <details><summary>Draw 60,000 episodes of the same people for each</summary>That narrows the interval over episodes alone. Whether the difference
# holds for other people it cannot say.</details>
#
# **2. Three seeds give 84, 86 and 88%. A paper reports 86 ± 2.3. Where does that come from?**
#
# <details><summary>1.96 · 2 / √3</summary>Right. With (6.4) it is 4.303 · 2 / √3 = 5.0.</details>
# <details><summary>t₂ · 2 / √3</summary>No, that would be 5.0.</details>
# <details><summary>The standard deviation</summary>That is 2.0.</details>
#
# **3. Five seeds divide the same 300 people five times. Why is s/√5 too small an error for their mean?**
#
# <details><summary>Five is too small a number for a standard deviation of any kind</summary>That is what Student's t allows for. Something else is
# wrong too.</details>
# <details><summary>Real faces scatter more than synthetic ones, so s has to be larger</summary>However much they scatter, s measures it. It is the
# √5 that promises too much.</details>
# <details><summary>The trainings share most of their people, so they are not independent</summary>Right. What these people have in common moves all
# five alike, and their scatter does not show it.</details>

# %% [markdown]
# **4. Suppose that NCA cannot be told from ProtoNet. What follows?**
#
# <details><summary>The two are equal, so episodes are of no use for any learner</summary>"Cannot tell" is not "equal", and other learners are not
# asked.</details>
# <details><summary>NCA should be left out, because it is not meta-learning</summary>Then nobody would know what the episodes give.</details>
# <details><summary>Then ProtoNet's accuracy does not show that episodes help</summary>Right. A control without episodes reaches it within the
# intervals.</details>
#
# **5. Your comparison gave every method 2,000 training steps. Fair?**
#
# <details><summary>Only if steps cost the same; compare by seconds, or by images seen, and say by which</summary>Right. The figure of accuracy
# against time has the whole curve, which is better than any one point.</details>
# <details><summary>Yes, all the same</summary>A second-order step costs nearly three times as much as one of ProtoNet here. Steps are not
# what one pays.</details>
# <details><summary>No, all must be trained to convergence</summary>That is fair too, but another question: what is best without a budget.</details>
#
# **6. You will train once and adapt to a million tasks. What decides?**
#
# <details><summary>Training time</summary>No: by (6.6) it disappears against n c.</details>
# <details><summary>The number of parameters to be stored</summary>Only by way of accuracy and cost.</details>
# <details><summary>Accuracy and the cost of a task</summary>Right: the frontier of section 5.</details>

# %% [markdown]
# ## Recap
#
# * Hold people, test episodes, network and computing fixed, and say what you could not. Then compare by paired differences, (6.3).
# * Three kinds of chance, three intervals: episodes, people, seeds. With few seeds, Student's t, (6.4); with shared people, corrected. Follow the
#   widest.
# * Many questions need Holm's way, or one in twenty of those without a difference gets an answer by chance.
# * "Cannot tell" is a result. A rule for it has two error rates, and you can simulate both.
# * A method is worth a look if nobody dominates it, (6.5). With (6.7) you can say from how many tasks on an expensive training pays.
# * learn2learn has an equivalent for nearly every piece, and for MAML it computes the same gradients.

# %%
progress("06")

# %% [markdown]
# ## References
#
# * W.-Y. Chen, Y.-C. Liu, Z. Kira, Y.-C. F. Wang, J.-B. Huang. *A Closer Look at Few-shot Classification.* ICLR 2019. The baseline, which also
#   compares favourably across domains. [arXiv:1904.04232](https://arxiv.org/abs/1904.04232)
# * S. Laenen, L. Bertinetto. *On Episodes, Prototypical Networks, and Few-Shot Learning.* NeurIPS 2021. NCA, the control without episodes.
#   [arXiv:2012.09831](https://arxiv.org/abs/2012.09831)
# * J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov. *Neighbourhood Components Analysis.* NIPS 2004.
# * C. Nadeau, Y. Bengio. *Inference for the Generalization Error.* Machine Learning 52, 2003. Trainings that share people.
#   [doi:10.1023/A:1024068626366](https://doi.org/10.1023/A:1024068626366)
# * X. Bouthillier and 16 others. *Accounting for Variance in Machine Learning Benchmarks.* MLSys 2021.
#   [arXiv:2103.03098](https://arxiv.org/abs/2103.03098)
# * R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare. *Deep Reinforcement Learning at the Edge of the Statistical Precipice.*
#   NeurIPS 2021. [arXiv:2108.13264](https://arxiv.org/abs/2108.13264)
# * S. Holm. *A Simple Sequentially Rejective Multiple Test Procedure.* Scandinavian Journal of Statistics 6, 1979.
# * S. M. R. Arnold, P. Mahajan, D. Datta, I. Bunner, K. S. Zarkias. *learn2learn: A Library for Meta-Learning Research.*
#   [arXiv:2008.12284](https://arxiv.org/abs/2008.12284), 2020.
# * A. Raghu, M. Raghu, S. Bengio, O. Vinyals. *Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML.* ICLR 2020. ANIL.
#   [arXiv:1909.09157](https://arxiv.org/abs/1909.09157)
# * Student. *The Probable Error of a Mean.* Biometrika 6, 1908. The t of (6.4).
#   [doi:10.1093/biomet/6.1.1](https://doi.org/10.1093/biomet/6.1.1)
# * J. Snell, K. Swersky, R. Zemel. *Prototypical Networks for Few-shot Learning.* NeurIPS 2017.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)
# * C. Finn, P. Abbeel, S. Levine. *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.* ICML 2017.
#   [arXiv:1703.03400](https://arxiv.org/abs/1703.03400)
# * A. Nichol, J. Achiam, J. Schulman. *On First-Order Meta-Learning Algorithms.* [arXiv:1803.02999](https://arxiv.org/abs/1803.02999), 2018.

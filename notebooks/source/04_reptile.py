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
# # 04 · Reptile
#
# MAML asks how the loss *after* adaptation depends on the start, and differentiates through the whole inner loop to find out. Reptile does not ask.
# It trains on a task in the ordinary way, looks where it has ended, and moves the start a little in that direction. That this learns anything but
# an average is a surprise, and this lesson takes it apart until none is left.
#
# **After this lesson you can**
#
# * write Reptile in ten lines, and say what its update has to do with a gradient;
# * prove that with a single inner step it *is* joint training, and what joint training can reach at best on episodes;
# * compute where it comes to rest between tasks, and why MAML rests elsewhere;
# * derive by Taylor expansion what MAML, first-order MAML and Reptile have in common, and measure the coefficients to the last digit;
# * say why its inner loop wants many minibatches and no momentum, and train it on faces beside MAML and ProtoNet, with an eye on who loses.

# %% [markdown]
# **You need** lesson 03 (inner loop, meta-gradient, FOMAML), the Taylor expansion of a gradient, matrices as linear maps. **Time** 80 minutes, with
# five exercises, worth 9 points. **Computing** less than 90 seconds on two CPU cores; a GPU is not needed. With the environment variable
# `METAFACE_BUDGET=full` the live trainings are longer.

# %%
import copy
import itertools
import math
import os

import torch
from matplotlib import pyplot as plt
from torch.func import grad, jacfwd, vmap
from torch.nn import functional as F

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.figures import COLOURS, show, style, table
from metaface_lessons.learners.reptile import Reptile
from metaface_lessons.networks import Classifier, Conv4

style()
FULL = os.environ.get("METAFACE_BUDGET") == "full"

# %% [markdown]
# ## 1 · Go there, look back, move a little
#
# θ are the slow weights, the start of every task. (Nichol, Achiam and Schulman, whose algorithm this is, call them φ.) A task has a set of labelled
# images, all of them for learning: there is no support and no query set. We cut k **minibatches** from it, with losses $L_1, …, L_k$, and make one
# step of gradient descent on each, with the inner rate α:
#
# $$ \varphi_0 = \theta, \qquad \varphi_j = \varphi_{j-1} - \alpha\,\nabla L_j(\varphi_{j-1}) \quad (j = 1, …, k), \qquad U^k(\theta) = \varphi_k \tag{4.1} $$
#
# Then θ goes a share ε of the way to where the task has led:
#
# $$ \theta \;\leftarrow\; \theta + \varepsilon\,\big(U^k(\theta) - \theta\big) \tag{4.2} $$

# %% [markdown]
# That is all. Multiplied out, it is a weighted mean of the old start and the trained weights,
#
# $$ \theta \;\leftarrow\; (1 - \varepsilon)\,\theta + \varepsilon\,U^k(\theta) \tag{4.3} $$
#
# so ε = 1 forgets everything but the last task, and a small ε averages over many. With T tasks per step, all beginning at the same θ, the mean of
# the differences is taken:
#
# $$ \theta \;\leftarrow\; \theta + \varepsilon\,\frac1T \sum_{t=1}^{T} \big(U_t^k(\theta) - \theta\big) \tag{4.4} $$
#
# No gradient flows through the inner loop: no graph is kept, no second derivative taken, and a task costs k ordinary training steps.

# %% [markdown]
# ### Exercise 1: the inner loop
#
# *2 points, 6 minutes.* Equation (4.1). `theta [D]` is the start, `gradients` a list of k functions, one for each minibatch, each of which takes
# weights `[D]` and returns the gradient there, `[D]`. Return $\varphi_k$, and leave `theta` itself unchanged: other tasks begin there,
# too.


# %% exercise="reptile-inner-loop"
def my_inner_loop(theta, gradients, rate):
    ### BEGIN SOLUTION
    phi = theta
    for gradient in gradients:
        phi = phi - rate * gradient(phi)  # (4.1)
    return phi
    ### END SOLUTION


check("reptile.inner_loop", my_inner_loop)

# %% [markdown]
# ### Exercise 2: the outer step
#
# *2 points, 6 minutes.* Equation (4.4). `inner_loops` is a list of T functions, $U_t^k$: each takes a start `[D]` and returns where the inner loop
# of its task ends, `[D]`. `rate` is ε. Return the new θ, and leave `theta` itself unchanged.


# %% exercise="reptile-update"
def my_update(theta, inner_loops, rate):
    ### BEGIN SOLUTION
    differences = [inner_loop(theta) - theta for inner_loop in inner_loops]
    return theta + rate * torch.stack(differences).mean(dim=0)  # (4.4)
    ### END SOLUTION


check("reptile.update", my_update)

# %% [markdown]
# ### A gradient that is none
#
# Optimisers subtract gradients. Call the *negative* mean difference the **pseudo-gradient**
#
# $$ p(\theta) = \theta - \frac1T \sum_{t=1}^{T} U_t^k(\theta) \tag{4.5} $$
#
# and (4.4) becomes θ ← θ − εp: plain gradient descent of rate ε. (One could hand p to Adam as well.) Which function is it the gradient of? In
# general, of none: the derivative of a gradient is a Hessian, and symmetric; that of p need not be, once k > 1 (a check below looks). What it is
# made of is clear, though. Sum (4.1) over j; all but the ends cancels:
#
# $$ \theta - \varphi_k = \sum_{j=1}^{k} (\varphi_{j-1} - \varphi_j) = \alpha \sum_{j=1}^{k} \nabla L_j(\varphi_{j-1}) \tag{4.6} $$
#
# α times the sum of the gradients *along the way*. All that is new hides in the places $\varphi_{j-1}$ at which they are taken.

# %% [markdown]
# Now in earnest, for a network and faces: the whole of Reptile, with nothing but a copy of the network, PyTorch's own optimiser and the outer step of
# exercise 2. (`yours` is your function once it passes, and the course's until then.)


# %%
update = yours("reptile.update", my_update)


def reptile_step(network, x, y, minibatches, inner_rate, outer_rate):
    """x [T, S, …], y [T, S], minibatches [T, k, B]: which examples make up each minibatch."""
    ends = []
    for task in range(len(x)):
        learner = copy.deepcopy(network)
        sgd = torch.optim.SGD(learner.parameters(), lr=inner_rate)
        for chosen in minibatches[task]:
            sgd.zero_grad()
            F.cross_entropy(learner(x[task, chosen]), y[task, chosen]).backward()
            sgd.step()  # (4.1)
        ends.append([w.detach() for w in learner.parameters()])
    with torch.no_grad():
        for theta, *phi in zip(network.parameters(), *ends, strict=True):
            inner_loops = [lambda start, end=end: end.flatten() for end in phi]
            theta.copy_(update(theta.flatten(), inner_loops, outer_rate).view_as(theta))  # (4.4)


# %% [markdown]
# The package's `Reptile` puts (4.5) into `.grad`, and its `optimiser(ε)` is `torch.optim.SGD`. Both do one step from the same weights, on the same
# minibatches of the same faces, with 64-bit numbers. Do they end alike?

# %% tags=["nbval-ignore-output"]
from metaface_lessons.experiments.snapshots import snapshot_split

base, _, novel = snapshot_split()


small, strangers = (
    base.resized(32),
    novel.resized(32),
)  # a laptop can train on these while you watch


def classifier(seed=0):
    """A small Conv-4 with a head for five people, normalised by the task as in lesson 03."""
    embedding = Conv4(3, 32, width=16, norm="task", seed=seed)
    return Classifier(embedding, embedding.features, ways=5, seed=seed)


# %%
episodes = EpisodeSampler(small, ways=5, shots=3, queries=2, seed=0).sample(tasks=2)
x = torch.cat(
    [episodes.support.x, episodes.query.x], dim=1
)  # Reptile learns from all images of a task
y = torch.cat([episodes.support.y, episodes.query.y], dim=1)

net = Reptile(classifier().double(), steps=4, batch=10, inner_rate=0.05, optimiser="sgd")
by_hand = copy.deepcopy(net.network)
minibatches = net.minibatches(
    len(x), x.shape[1], net.steps, torch.Generator().manual_seed(net.seed)
)
reptile_step(by_hand, x, y, minibatches, inner_rate=0.05, outer_rate=0.5)

outer = net.optimiser(0.5)
net.meta_gradient(episodes)  # (4.5)
outer.step()  # (4.4)
pairs = zip(net.network.parameters(), by_hand.parameters(), strict=True)
print(
    "by hand and package agree to 1e-12:",
    all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in pairs),
)

# %% [markdown]
# And (4.3), (4.6), and the claim that p is no gradient, on the smallest example that can show them: one task in the plane with two minibatches,
# $L_j(\varphi) = \frac12 \varphi^\top H_j \varphi$, whose gradients are $H_j \varphi$.

# %%
H1, H2 = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.5], [0.5, 3.0]])


def U(theta, rate=0.1):
    phi = theta - rate * H1 @ theta
    return phi - rate * H2 @ phi  # (4.1) with k = 2


theta = torch.tensor([1.0, -2.0])
step = theta + 0.3 * (U(theta) - theta)  # (4.2)
print("(4.3) is (4.2):", torch.allclose(0.7 * theta + 0.3 * U(theta), step))  # (4.3)
along_the_way = H1 @ theta + H2 @ (theta - 0.1 * H1 @ theta)
print("(4.6) agrees:", torch.allclose(theta - U(theta), 0.1 * along_the_way))  # (4.6)
derivative = jacfwd(lambda theta: theta - U(theta))(theta)  # of p, (4.5)
print("the derivative of p is symmetric:", torch.allclose(derivative, derivative.T))

# %% [markdown]
# ## 2 · One inner step is joint training
#
# **Predict:** with k = 1 the inner loop is a single gradient step, and (4.4) goes a share ε of that. What have we got?
#
# Put $U_t^1(\theta) = \theta - \alpha\,\nabla L_t(\theta)$ into one difference, where $L_t$ is the loss of the one minibatch of task t:
#
# $$ U_t^1(\theta) - \theta = -\alpha\,\nabla L_t(\theta) \tag{4.7} $$
#
# and then into the outer step; α does not depend on t, so it comes out of the mean, and the mean of gradients is the gradient of the mean:
#
# $$ \theta \;\leftarrow\; \theta - \varepsilon\alpha\,\frac1T \sum_{t=1}^{T} \nabla L_t(\theta) \;=\; \theta - \varepsilon\alpha\,\nabla\Big[\frac1T \sum_{t=1}^{T} L_t(\theta)\Big] \tag{4.8} $$

# %% [markdown]
# That is a step of ordinary stochastic gradient descent, with rate εα, on the loss averaged over tasks. In expectation over tasks and minibatches:
#
# $$ \mathbb E\,[\text{step}] = -\varepsilon\alpha\;\mathbb E_t\big[\nabla L_t(\theta)\big] = -\varepsilon\alpha\,\nabla\,\mathbb E_t\big[L_t(\theta)\big] \tag{4.9} $$
#
# This is **joint training**: one network, trained to solve all tasks at once, *without* adapting to any. Reptile with k = 1 is not like it, it is
# it.

# %% [markdown]
# ### Exercise 3: one inner step
#
# *1 point, 4 minutes.* Equation (4.8): given the `gradients [T, D]` of T tasks at `theta [D]`, return θ after an outer step with k = 1. You need
# not form any φ.


# %% exercise="reptile-joint"
def my_joint_step(theta, gradients, inner_rate, outer_rate):
    ### BEGIN SOLUTION
    return theta - outer_rate * inner_rate * gradients.mean(dim=0)  # (4.8)
    ### END SOLUTION


check("reptile.joint", my_joint_step)

# %% [markdown]
# Is the package's pseudo-gradient with k = 1 really α times the gradient of the mean loss? And does the agreement end with k = 2, if both inner
# steps see all images?

# %%
for k in (1, 2):
    net = Reptile(
        classifier().double(), steps=k, batch=x.shape[1], inner_rate=0.05, optimiser="sgd"
    )
    net.meta_gradient(episodes)
    weights = list(net.network.parameters())
    mean_loss = torch.stack(
        [F.cross_entropy(net.network(x[t]), y[t]) for t in range(len(x))]
    ).mean()
    joint = torch.autograd.grad(mean_loss, weights)
    same = all(
        torch.allclose(w.grad, k * 0.05 * g, rtol=0, atol=1e-12)
        for w, g in zip(weights, joint, strict=True)
    )
    print(f"k = {k}: pseudo-gradient = {k}·α·gradient of the joint loss: {same}")  # (4.7) in (4.8)

# %% [markdown]
# ### The best that joint training can do on episodes
#
# One reads now and then, in place of Reptile, the formula $\theta \leftarrow \theta - \alpha\,\nabla\,\mathbb E[L(\theta)]$. It has no inner steps
# and no interpolation: it is (4.9), with the two rates in one. What does it reach on N-way episodes? There the labels are *drawn*: which of the
# five people is number 3 is chance. Let the network, not adapted, give an image the probabilities $p_1, …, p_N$. Over the draw every label is
# equally likely, so its expected loss is
#
# $$ \mathbb E_y[-\log p_y] = -\frac1N \sum_{n=1}^{N} \log p_n \;\ge\; -\log\Big(\frac1N \sum_{n=1}^{N} p_n\Big) = -\log\frac1N = \ln N \tag{4.10} $$
#
# The inequality is Jensen's: the logarithm is concave, so a mean of logarithms is at most the logarithm of the mean. Equality holds if and only if
# all $p_n$ are equal. The best network says "each is as likely", of every image, and costs ln N; whatever it could say about *faces* makes it
# worse. In section 7 you will see a training run that sits at ln 5.

# %%
p = torch.rand(1000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(
    dim=1
)
cost = -p.log().mean(dim=1)  # (4.10), left
print(f"ln 5 = {math.log(5):.4f}; the least cost of 1000 random predictions is {cost.min():.4f}")
print(
    "an even guess costs ln 5:",
    math.isclose(-torch.full((5,), 0.2).log().mean(), math.log(5), rel_tol=1e-6),
)

# %% [markdown]
# ## 3 · Where Reptile comes to rest
#
# If with k = 1 it is joint training, what does it become with k = 2, 5, ∞? Take tasks whose whole path can be computed: parabolas $L_t(\theta) =
# \frac12 a_t (\theta - c_t)^2$, the toy of lesson 03, with all minibatches alike. Their gradient is $a_t(\varphi - c_t)$, so one inner step shrinks
# the distance to the minimum by a factor, and k steps by its k-th power:
#
# $$ \begin{aligned} \varphi_j - c_t &= \varphi_{j-1} - \alpha a_t (\varphi_{j-1} - c_t) - c_t = (1 - \alpha a_t)(\varphi_{j-1} - c_t) \\
# \Longrightarrow\quad \varphi_k - c_t &= r_t\,(\theta - c_t), \qquad r_t = (1 - \alpha a_t)^k \end{aligned} \tag{4.11} $$
#
# $r_t$ is the share of the way that is *left over*. So the inner loop covers
#
# $$ U_t^k(\theta) - \theta = (\varphi_k - c_t) - (\theta - c_t) = -(1 - r_t)(\theta - c_t) \tag{4.12} $$

# %% [markdown]
# The outer step (4.4) stands still where the mean of (4.12) over the tasks is zero. Solve $\sum_t (1 - r_t)(\theta^* - c_t) = 0$ for θ*:
#
# $$ \theta^* = \frac{\sum_t (1 - r_t)\,c_t}{\sum_t (1 - r_t)} \tag{4.13} $$
#
# A mean of the minima, weighted by how far the inner loop *gets* on each. In lesson 03 the weights were $a_t r_t^2$ for MAML and $a_t r_t$ for
# first-order MAML.

# %% [markdown]
# ### Exercise 4: the fixed point
#
# *2 points, 6 minutes.* Equation (4.13), for any number of tasks: `curvatures [T]`, `minima [T]`, the inner rate α and the number of inner `steps`.
# Return one number.


# %% exercise="reptile-fixed-point"
def my_fixed_point(curvatures, minima, inner_rate, steps):
    ### BEGIN SOLUTION
    weight = 1 - (1 - inner_rate * curvatures) ** steps  # 1 − r
    return (weight * minima).sum() / weight.sum()  # (4.13)
    ### END SOLUTION


check("reptile.fixed_point", my_fixed_point)

# %% [markdown]
# **Predict:** a flat task, a = 1 with its minimum at 0, and a steep one, a = 4 with its minimum at 1; α = 0.1. Joint training rests at 0.8, near
# the steep one's minimum. Towards which of the two does more and more inner steps draw Reptile, and where does it end? And MAML, which you know
# from lesson 03?

# %%
from metaface_lessons.widgets import quadratic_explorer

a, c = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 4.0], [0.0, 1.0]))


loop = yours("reptile.inner_loop", my_inner_loop)


def covered(task, steps, inner_rate):
    """U_t^k of the parabola of a task: a function from the start [1] to its inner loop's end."""

    def gradient(phi):
        return a[task] * (phi - c[task])

    return lambda theta: loop(theta, [gradient] * steps, inner_rate)  # (4.1)


def simulated(steps, inner_rate=0.1, outer_rate=0.5):
    """Reptile itself, by (4.1) and (4.4): nothing here knows the formula."""
    theta = torch.zeros(1, dtype=torch.float64)
    tasks = [covered(task, steps, inner_rate) for task in range(2)]
    for _ in range(2000 // steps + 60):  # with many inner steps few outer ones do
        theta = update(theta, tasks, outer_rate)  # (4.4)
    return theta[0]


fixed_point = yours("reptile.fixed_point", my_fixed_point)
rows = {}
for k in (1, 2, 5, 20, 400):
    maml, fomaml = quadratic_explorer.fixed_points(quadratic_explorer.State(steps=k, rate=0.1))[1:3]
    ends = maml, fomaml, fixed_point(a, c, 0.1, k), simulated(k)  # (3.24), (3.24), (4.13)
    rows[f"k = {k}"] = [f"{float(end):.4f}" for end in ends]
table(rows, ["MAML", "FOMAML", "Reptile", "Reptile, simulated"], title="where each comes to rest")

# %% [markdown]
# Two ends are worth a proof. With k = 1, $1 - r_t = \alpha a_t$, the α cancels, and (4.13) is the minimum of the joint loss, as section 2 demands.
# With k → ∞ all $r_t$ go to 0 (if $|1 - \alpha a_t| < 1$: otherwise the inner loop diverges), all weights to 1, and
#
# $$ \theta^* \to \frac1T \sum_t c_t = \arg\min_\theta \frac1T \sum_t \tfrac12\,\lVert \theta - c_t \rVert^2 \tag{4.14} $$
#
# Reptile ends *between* the minima, whatever their curvatures, at the point of least mean squared **distance**. It looks at the way that the inner
# loop makes, and never at the loss. MAML looks at the loss afterwards, and nothing else. As long as no step overshoots ($\alpha a_t < 1$), the steep
# task repairs itself in k steps wherever it starts, so MAML gives the start to the flat one. Neither is wrong; they ask for different things: *near
# to all solutions*, or *good after k steps*.

# %% [markdown]
# In between, expand (1 − αa)ᵏ by the binomial theorem:
#
# $$ 1 - r_t = k\,\alpha a_t - \frac{k(k-1)}{2}\,\alpha^2 a_t^2 + O(\alpha^3) \tag{4.15} $$
#
# The first term is joint training, k times; the second takes weight from the *steep* tasks, those in which one step changes much for the next. Keep
# the two coefficients in mind, k and k(k − 1)/2: in section 5 they come back for any loss.


# %%
def remainder(alpha, k=5):
    """What the two terms of (4.15) leave unexplained of 1 − r, for the steep task."""
    two_terms = k * alpha * a[1] - k * (k - 1) / 2 * (alpha * a[1]) ** 2
    way = covered(1, k, alpha)(torch.zeros(1).double())[0]  # of the way from 0 to the minimum at 1
    return way - two_terms  # (4.15)


print(
    f"half the α, and the rest of (4.15) falls by {remainder(1e-4) / remainder(5e-5):.2f}: it is of"
    " third order"
)
point = simulated(400).requires_grad_()
((point - c).square() / 2).mean().backward()  # (4.14)
print("with 400 steps Reptile rests where (4.14) is least:", bool(point.grad.abs() < 1e-9))

# %% [markdown]
# ## 4 · The path between two valleys
#
# Now in the plane. Task t has the loss $\frac12(\theta - c_t)^\top A_t (\theta - c_t)$, where the matrix $A_t$ is flat in one direction and steep
# across: a valley. (4.11) holds as before, with a matrix in place of the number:
#
# $$ \varphi_k - c_t = R_t\,(\theta - c_t), \qquad R_t = (I - \alpha A_t)^k \tag{4.16} $$
#
# and the fixed point of the batched step solves a linear equation:
#
# $$ \sum_t (I - R_t)(\theta^* - c_t) = 0 \;\Longrightarrow\; \theta^* = \Big[\sum_t (I - R_t)\Big]^{-1} \sum_t (I - R_t)\,c_t \tag{4.17} $$

# %% [markdown]
# The paper's own algorithm takes one task at a time. By (4.3) a step on task t is then a linear map,
#
# $$ \begin{aligned} \theta \;\to\;\, & (1 - \varepsilon)\,\theta + \varepsilon\,\big(c_t + R_t(\theta - c_t)\big) \\
# &= c_t + M_t\,(\theta - c_t), \qquad M_t = I - \varepsilon\,(I - R_t) \end{aligned} \tag{4.18} $$
#
# and if the two tasks take turns, θ does not come to rest at one point, but goes to and fro. It ends where a whole round leads back to its own
# start:
#
# $$ \begin{aligned} \theta^\circ &= c_2 + M_2\big(c_1 + M_1(\theta^\circ - c_1) - c_2\big) \\
# \Longrightarrow\quad \theta^\circ &= (I - M_2 M_1)^{-1}\big[c_2 + M_2\,(c_1 - M_1 c_1 - c_2)\big] \end{aligned} \tag{4.19} $$

# %% [markdown]
# The explorer walks the path, inner steps and all, and writes (4.19) above it; the star is (4.17).
#
# **Predict, then try:**
#
# 1. k = 1: where does the path end, and why is every inner loop at right angles to a level line?
# 2. Raise k: which way does the star go along the dashed line? Does the first inner loop run straight to its minimum, or first to the floor of the valley?
# 3. ε = 1: what becomes of the path, and of the star? Then ε = 0.05.
# 4. On the right: with many inner steps, which losses get small, those before the inner loop or those after it?

# %%
from metaface_lessons.widgets import path_explorer
from metaface_lessons.widgets.explorer import describe

describe(path_explorer.State)

# %%
path_explorer.explore()

# %% [markdown]
# <details><summary>What you may have seen</summary>1. Near the square, the minimum of the joint loss, and the nearer, and the slower, the smaller ε; a single step is along the negative gradient, which is at right angles to the level line through θ. 2. From the square towards the middle between the minima. First to the floor, then slowly along it: the steep direction is done in a few steps, the flat one takes many. 3. With ε = 1 θ is thrown from one task's trained weights to the other's; the star does not move, for (4.17) holds no ε. With ε = 0.05 the zigzag is fine, and its end is close to the star. 4. Those after. Before it, the loss of task 2 even rises with k: Reptile does not care for it.</details>

# %% [markdown]
# Does (4.19) hold, and does it become (4.17) as ε shrinks? The explorer's simulation is plain gradient descent, and its start is far away:

# %%
tasks = path_explorer.TASKS
identity = torch.eye(2, dtype=torch.float64)
state = path_explorer.State(steps=8, inner_rate=0.8, outer_rate=0.5)
path, _ = path_explorer.simulate(state, tasks, rounds=200)
R = torch.linalg.matrix_power(identity - 0.8 * tasks.curvatures, 8)  # (4.16)
c1, c2 = tasks.minima
for rate in (0.5, 1e-6):
    M1, M2 = identity - rate * (identity - R)  # (4.18)
    end = torch.linalg.solve(identity - M2 @ M1, c2 + M2 @ (c1 - M1 @ c1 - c2))  # (4.19)
    if rate == 0.5:
        print("path ends where (4.19) says:", torch.allclose(path[-1], end, rtol=0, atol=1e-9))
rest = torch.linalg.solve(
    (identity - R).sum(0), ((identity - R) @ tasks.minima[..., None]).sum(0)[:, 0]
)  # (4.17)
print("with ε = 1e-6 (4.19) is (4.17):", torch.allclose(end, rest, rtol=0, atol=1e-5))

# %% [markdown]
# ## 5 · Why it generalises: the Taylor analysis
#
# Parabolas with one minibatch each hide the main point. In (4.1) every step sees *another* minibatch of the task, and the pseudo-gradient turns out
# to care how these agree. The analysis (Nichol et al., section 5.1) treats MAML, first-order MAML and Reptile at once. All see the minibatches
# $L_1, …, L_k$ of one task; i and j count minibatches here. Reptile steps on all k. For MAML the first k − 1 are the support steps and the *last is
# the query*, so **k counts minibatches**: with k = 2, MAML makes one inner step. Write
#
# $$ g_i = \nabla L_i(\varphi_{i-1}), \qquad \bar g_i = \nabla L_i(\theta), \qquad \bar H_i = \nabla^2 L_i(\theta) \tag{4.20} $$
#
# for the gradient where the path is, and gradient and Hessian *at the start*. We want everything in terms of the start.

# %% [markdown]
# **Step 1: where is the path?** Sum (4.1) up to step i − 1:
#
# $$ \varphi_{i-1} - \theta = -\alpha \sum_{j=1}^{i-1} g_j \tag{4.21} $$
#
# **Step 2: the gradient there.** Expand $\nabla L_i$ around θ to first order; the rest is quadratic in (4.21), thus $O(\alpha^2)$. In the second
# line we put (4.21) in; then, since $g_j = \bar g_j + O(\alpha)$ and there is an α in front already, $g_j$ may be exchanged for $\bar g_j$:
#
# $$ \begin{aligned} g_i &= \bar g_i + \bar H_i\,(\varphi_{i-1} - \theta) + O(\alpha^2) \\
# &= \bar g_i - \alpha \bar H_i \sum_{j<i} g_j + O(\alpha^2) \;=\; \bar g_i - \alpha \sum_{j<i} \bar H_i\,\bar g_j + O(\alpha^2) \end{aligned} \tag{4.22} $$
#
# Each gradient on the way is the one at the start, minus α times its Hessian on the gradients of the steps before it.

# %% [markdown]
# **Step 3: what is $\bar H_i\,\bar g_j$?** Take the inner product of the gradients of two minibatches, as a function of θ, and differentiate by
# coordinate d, with the product rule:
#
# $$ \begin{aligned} \frac{\partial}{\partial \theta_d} \sum_e \bar g_{i,e}\,\bar g_{j,e} &= \sum_e \frac{\partial \bar g_{i,e}}{\partial \theta_d}\,\bar g_{j,e} + \sum_e \bar g_{i,e}\,\frac{\partial \bar g_{j,e}}{\partial \theta_d} \\
# \Longrightarrow\quad \nabla(\bar g_i \cdot \bar g_j) &= \bar H_i\,\bar g_j + \bar H_j\,\bar g_i \end{aligned} \tag{4.23} $$
#
# since Hessians are symmetric. Tasks, and the minibatches of a task, are drawn at random, so all minibatches are alike in expectation, and so are
# all pairs i ≠ j, in either order. Two numbers, or rather vectors, are then all that expectations can hold:
#
# $$ \begin{aligned} \text{AvgGrad} &= \mathbb E\,[\bar g_i] \\
# \text{AvgGradInner} &= \mathbb E\,[\bar H_i\,\bar g_j] \quad (i \ne j) \\
# &= \tfrac12\,\mathbb E\,[\bar H_i\,\bar g_j + \bar H_j\,\bar g_i] = \tfrac12\,\mathbb E\,\big[\nabla(\bar g_i \cdot \bar g_j)\big] \end{aligned} \tag{4.24} $$
#
# AvgGrad is the gradient of joint training. **Minus** AvgGrad makes the mean loss smaller; **plus** AvgGradInner makes the inner product between
# gradients of different minibatches of a task *larger*.

# %% [markdown]
# **Step 4: put in.** *Reptile's* pseudo-gradient is, by (4.6), α times the sum of all $g_i$. The double sum has a term for every pair j < i, which
# are k(k − 1)/2:
#
# $$ \begin{aligned} g_\text{Reptile} &= \sum_{i=1}^{k} g_i = \sum_{i=1}^{k} \bar g_i - \alpha \sum_{i=1}^{k} \sum_{j<i} \bar H_i\,\bar g_j + O(\alpha^2) \\
# \mathbb E\,[g_\text{Reptile}] &= k\,\text{AvgGrad} - \tfrac{k(k-1)}{2}\,\alpha\,\text{AvgGradInner} + O(\alpha^2) \end{aligned} \tag{4.25} $$
#
# *First-order MAML* takes the last gradient alone, whose sum has k − 1 terms:
#
# $$ \begin{aligned} g_\text{FOMAML} &= g_k = \bar g_k - \alpha \sum_{j<k} \bar H_k\,\bar g_j + O(\alpha^2) \\
# \mathbb E\,[g_\text{FOMAML}] &= \text{AvgGrad} - (k-1)\,\alpha\,\text{AvgGradInner} + O(\alpha^2) \end{aligned} \tag{4.26} $$

# %% [markdown]
# *MAML* multiplies this by the derivatives of the k − 1 inner steps (lesson 03). In a product of factors I − αH, the terms with one α are those
# that take αH from *one* factor and I from all others, so to first order the product is I minus a sum; and a Hessian along the way differs from
# that at the start by O(α), which the α in front makes $O(\alpha^2)$:
#
# $$ \begin{aligned} g_\text{MAML} &= \prod_{j=1}^{k-1} \big(I - \alpha\,\nabla^2 L_j(\varphi_{j-1})\big)\; g_k \\
# &= \Big(I - \alpha \sum_{j<k} \bar H_j\Big)\Big(\bar g_k - \alpha \sum_{j<k} \bar H_k\,\bar g_j\Big) + O(\alpha^2) \\
# &= \bar g_k - \alpha \sum_{j<k} \bar H_k\,\bar g_j - \alpha \sum_{j<k} \bar H_j\,\bar g_k + O(\alpha^2) \\
# \mathbb E\,[g_\text{MAML}] &= \text{AvgGrad} - 2(k-1)\,\alpha\,\text{AvgGradInner} + O(\alpha^2) \end{aligned} \tag{4.27} $$
#
# The second sum is what first-order MAML drops. In expectation it is *the same* as the first: dropping it halves a coefficient, and brings in no
# new direction (to this order).

# %% [markdown]
# | with k minibatches | AvgGrad | −α · AvgGradInner | their ratio |
# |---|---|---|---|
# | MAML, k − 1 inner steps | 1 | 2(k − 1) | 2(k − 1) |
# | FOMAML, k − 1 inner steps | 1 | k − 1 | k − 1 |
# | Reptile, k inner steps | k | k(k − 1)/2 | (k − 1)/2 |
#
# The last column says how much of the second term comes with the first: least for Reptile, and none for k = 1. So Reptile wants more inner steps.
# And why does one want that term? A step of −α times the gradient on minibatch i changes the loss of another, j, by
#
# $$ L_j(\theta - \alpha\,\bar g_i) = L_j(\theta) - \alpha\,\bar g_j \cdot \bar g_i + O(\alpha^2) \tag{4.28} $$
#
# The inner product is how much learning from some images of these people helps with *other* images of them. That is **generalisation within a
# task**, from few examples, and to raise it is what all three methods have in common.

# %% [markdown]
# ### Exercise 5: AvgGradInner
#
# *2 points, 8 minutes.* Equation (4.24) for a task with B minibatches of which we know everything at θ: `gradients [B, D]` and `hessians [B, D,
# D]`. The expectation is the mean over all ordered pairs of *different* minibatches. Return `[D]`.


# %% exercise="reptile-avg-grad-inner"
def my_avg_grad_inner(gradients, hessians):
    ### BEGIN SOLUTION
    pairs = itertools.permutations(range(len(gradients)), 2)
    return torch.stack([hessians[i] @ gradients[j] for i, j in pairs]).mean(dim=0)  # (4.24)
    ### END SOLUTION


check("reptile.avg_grad_inner", my_avg_grad_inner)

# %% [markdown]
# ### The coefficients, measured
#
# A claim about expectations up to O(α²) sounds hard to test exactly. It is not, if the task is small: with five minibatches, each a random
# quadratic in three dimensions, *all* sequences of k different minibatches can be enumerated, which makes the expectation a finite mean; and
# autograd differentiates that mean by α at α = 0, which picks out the second term without any remainder. The code below is the three algorithms; it
# knows nothing of (4.25) to (4.27).

# %%
generator = torch.Generator().manual_seed(0)
B, D = 5, 3
root = torch.randn(B, D, D, generator=generator, dtype=torch.float64)
A = (
    root @ root.mT / D + torch.eye(D, dtype=torch.float64) / 2
)  # symmetric, positive definite: [B, D, D]
C = torch.randn(B, D, generator=generator, dtype=torch.float64)
theta = torch.randn(D, generator=generator, dtype=torch.float64)


def loss(phi, A, c):
    return (phi - c) @ A @ (phi - c) / 2


gradient = grad(loss)  # by its first argument


def inner_loop(theta, A, C, alpha):
    phi = theta
    for a, c in zip(A, C, strict=True):
        phi = phi - alpha * gradient(phi, a, c)  # (4.1)
    return phi


def maml(alpha, A, C):
    return grad(lambda start: loss(inner_loop(start, A[:-1], C[:-1], alpha), A[-1], C[-1]))(theta)


def fomaml(alpha, A, C):
    return gradient(inner_loop(theta, A[:-1], C[:-1], alpha), A[-1], C[-1])


def reptile(alpha, A, C):
    phi, total = theta, torch.zeros_like(theta)
    for a, c in zip(A, C, strict=True):
        g = gradient(phi, a, c)
        phi, total = phi - alpha * g, total + g  # (4.6) and (4.21), divided by α, which is 0 below
    return total


def expected(method, k):
    """The mean over all sequences of k different minibatches, as a function of α."""
    sequences = torch.tensor(list(itertools.permutations(range(B), k)))
    return lambda alpha: vmap(lambda A, C: method(alpha, A, C))(A[sequences], C[sequences]).mean(
        dim=0
    )


g = vmap(gradient, (None, 0, 0))(theta, A, C)  # [B, D], of (4.20); the Hessians are A
avg_grad = g.mean(dim=0)
avg_grad_inner = yours("reptile.avg_grad_inner", my_avg_grad_inner)(g, A)  # (4.24)


def coefficients(method, k):
    """Of AvgGrad and of −α·AvgGradInner; and what neither explains."""
    value, slope = expected(method, k)(zero), jacfwd(expected(method, k))(zero)
    first = value @ avg_grad / (avg_grad @ avg_grad)
    second = -slope @ avg_grad_inner / (avg_grad_inner @ avg_grad_inner)
    unexplained = (value - first * avg_grad).norm() + (slope + second * avg_grad_inner).norm()
    return float(first), float(second), float(unexplained)


def product(theta):
    """The inner product of the gradients of the first two minibatches."""
    return gradient(theta, A[0], C[0]) @ gradient(theta, A[1], C[1])


def on_the_way(alpha, i=3):
    """The gradient of minibatch i where the path is, g_i of (4.20)."""
    return gradient(inner_loop(theta, A[:i], C[:i], alpha), A[i], C[i])


zero = torch.zeros((), dtype=torch.float64)
print(
    "(4.22) agrees:", torch.allclose(jacfwd(on_the_way)(zero), -A[3] @ g[:3].sum(dim=0))
)  # (4.22)
print("(4.23) agrees:", torch.allclose(grad(product)(theta), A[0] @ g[1] + A[1] @ g[0]))  # (4.23)
print(
    "(4.9) agrees:", torch.allclose(expected(reptile, 1)(zero + 0.1), avg_grad)
)  # (4.9), the step over −εα

# %% [markdown]
# **Predict** the six numbers for k = 2, from the table. Then those for k = 4.

# %%
methods = {"MAML": maml, "FOMAML": fomaml, "Reptile": reptile}
rows = {}
for k in (2, 3, 4):
    for name, method in methods.items():
        first, second, unexplained = coefficients(method, k)
        rows[f"{name}, k = {k}"] = [f"{first:.3f}", f"{second:.3f}", str(unexplained < 1e-12)]
table(rows, ["AvgGrad", "−α · AvgGradInner", "the rest is below 1e-12"], title="k minibatches")

# %% [markdown]
# Exactly the table: 2, 1, 1, then 4, 2, 3, then 6, 3, 6. And the O(α²) that we dropped? **Predict:** on logarithmic axes, which slope has the error
# of the two-term formula against α? At which α is the formula worth nothing?

# %%
rates = torch.logspace(-3, 0, 25, dtype=torch.float64)
formula = {
    "MAML": lambda k: (1, 2 * (k - 1)),  # (4.27)
    "FOMAML": lambda k: (1, k - 1),  # (4.26)
    "Reptile": lambda k: (k, k * (k - 1) / 2),  # (4.25)
}
fig, axes = plt.subplots(1, 2, figsize=(9.4, 3.8))
ks, fine = range(2, 6), torch.linspace(1.5, 5.3, 50)
for (name, method), colour, mark in zip(methods.items(), COLOURS, "os^", strict=False):
    axes[0].plot(fine, [formula[name](k)[1] for k in fine], color=colour, lw=1.2)
    axes[0].plot(ks, [coefficients(method, k)[1] for k in ks], mark, color=colour, ms=8, label=name)
    first, second = formula[name](4)
    error = [
        (expected(method, 4)(r) - (first * avg_grad - second * r * avg_grad_inner)).norm()
        for r in rates
    ]
    relative = torch.stack(error) / (first * avg_grad.norm())
    axes[1].loglog(rates, relative, color=colour, marker=mark, markevery=6, label=name)
    print(f"{name:8s} error as large as the first term at α = {rates[relative > 1][0]:.1f}")
axes[0].set(title="coefficient of −α · AvgGradInner", xlabel="minibatches k", xticks=ks)
axes[0].legend()
axes[1].loglog(rates, 0.5 * rates**2, color="black", ls=":", label="slope 2")
axes[1].axhline(1, color="#777777", lw=1)
axes[1].set(
    title="error of the two-term formula, k = 4",
    xlabel="inner rate α",
    ylabel="relative to the first term",
)
axes[1].legend()
show(
    fig,
    alt="Left: measured coefficients for two to five minibatches lie on the lines 2(k − 1), k − 1"
    " and k(k − 1)/2; Reptile's"
    " curve bends upwards and meets MAML's line at k = 4. Right: on logarithmic axes the errors of"
    " all three methods"
    " rise with slope 2, as the square of the inner rate, and MAML's is the largest.",
)

# %% [markdown]
# Slope 2, so what was dropped is indeed $O(\alpha^2)$. The formula says which way small steps lean. Where the error is as large as the first term, at
# the rates printed above, it says nothing; there section 3 describes better what happens, the search for a point near to all solutions. Both views
# are true, each at its end.

# %% [markdown]
# ## 6 · The inner optimiser: Adam, but no momentum
#
# Any optimiser can go *there*; it is only where it ends that counts. The paper uses Adam inside, with $\beta_1 = 0$, and SGD outside. Adam's step
# j, from the gradient $g_j$ (squares, roots and quotients number by number, η tiny):
#
# $$ \begin{aligned} m_j &= \beta_1 m_{j-1} + (1 - \beta_1)\,g_j, & \hat m_j &= m_j / (1 - \beta_1^j) \\
# v_j &= \beta_2 v_{j-1} + (1 - \beta_2)\,g_j^2, & \hat v_j &= v_j / (1 - \beta_2^j) \\
# \varphi_j &= \varphi_{j-1} - \alpha\,\hat m_j \,\big/\, \big(\sqrt{\hat v_j} + \eta\big) \end{aligned} \tag{4.29} $$
#
# **Why Adam?** In the first step $\hat v_1 = g_1^2$ and $\hat m_1 = g_1$, so every weight moves by α, whatever the size of its gradient:
#
# $$ \varphi_1 = \theta - \alpha\,\frac{g_1}{|g_1| + \eta} \approx \theta - \alpha\,\text{sign}(g_1) \tag{4.30} $$
#
# Later steps keep about that scale. So the length of the inner loop, and with it that of the outer step, does not hang on how large the loss or its
# gradient happens to be. **Predict:** multiply the loss by 100. What does that do to the pseudo-gradient with inner SGD, and with inner Adam?

# %%
for optimiser, rate in (("sgd", 0.001), ("adam", 0.001)):
    lengths = []
    for scale in (1, 100):
        scaled = Reptile(
            classifier().double(),
            steps=4,
            inner_rate=rate,
            optimiser=optimiser,
            loss=lambda outputs, target, scale=scale: scale * F.cross_entropy(outputs, target),
        )
        scaled.meta_gradient(episodes)
        lengths.append(torch.cat([w.grad.flatten() for w in scaled.parameters()]).norm())
    print(
        f"inner {optimiser:4s}: loss × 100 makes the pseudo-gradient {lengths[1] / lengths[0]:.1f}"
        " times as long"
    )

# %% [markdown]
# SGD does not give the full 100, for with longer steps the later gradients are taken elsewhere.
#
# **Why no momentum?** Nichol et al. found that it made results worse throughout (section 6.1). The analysis says why. With $\beta_1 > 0$ the step
# $\hat m_j$ is a mean over all minibatches so far: the first one, whose gradient was taken at θ and has learned nothing from the others, goes on
# pushing in every later step, and the late ones, whose gradients do know, count less. We measure as before, with $\hat m_j$ in place of $g_j$ in
# (4.1), and the second moments left out. **Predict:** which of Reptile's two coefficients for k = 4 changes?


# %%
def with_momentum(beta):
    def method(alpha, A, C):
        phi, total, m = theta, torch.zeros_like(theta), torch.zeros_like(theta)
        for j, (a, c) in enumerate(zip(A, C, strict=True), start=1):
            m = beta * m + (1 - beta) * gradient(phi, a, c)
            step = m / (1 - beta**j)  # (4.29), left
            phi, total = phi - alpha * step, total + step
        return total

    return method


for beta in (0.0, 0.5, 0.9):
    first, second, _ = coefficients(with_momentum(beta), 4)
    print(
        f"β1 = {beta}: AvgGrad {first:.2f}, AvgGradInner {second:.2f}, ratio {second / first:.2f}"
    )

# %% [markdown]
# The coefficient of joint training stays, that of generalisation falls by nearly half. Is the package's inner Adam PyTorch's with `betas=(0,
# 0.999)`? It begins its second moments anew in every task, so that a task's end depends on nothing but θ and the task. (The paper lets them run on
# from task to task while training, and restores them for tests.)

# %%
net = Reptile(classifier().double(), steps=4, batch=10, inner_rate=0.002)
learner = copy.deepcopy(net.network)
adam = torch.optim.Adam(learner.parameters(), lr=0.002, betas=(0.0, 0.999))
for chosen in net.minibatches(
    len(x), x.shape[1], net.steps, torch.Generator().manual_seed(net.seed)
)[0]:
    adam.zero_grad()
    F.cross_entropy(learner(x[0, chosen]), y[0, chosen]).backward()
    adam.step()  # (4.29)
net.meta_gradient(episodes.split(1)[0])
pairs = zip(net.network.parameters(), learner.parameters(), strict=True)
print(
    "inner Adam is PyTorch's:",
    all(torch.allclose(w.grad, w - phi, rtol=0, atol=1e-9) for w, phi in pairs),
)

# %%
net = Reptile(classifier().double(), steps=1, batch=x.shape[1], inner_rate=0.002)
net.meta_gradient(episodes.split(1)[0])
weights = list(net.network.parameters())
joint = torch.autograd.grad(F.cross_entropy(net.network(x[0]), y[0]), weights)
moved, g1 = (
    torch.cat([v.flatten() for v in vectors]) for vectors in ([w.grad for w in weights], joint)
)
by_sign = torch.isclose(moved, 0.002 * g1.sign(), rtol=0.01)  # (4.30)
print(
    f"weights whose first step is α·sign(g), to one percent: {100 * by_sign.double().mean():.0f} %"
)

# %% [markdown]
# ## 7 · Faces
#
# Now 5-way 5-shot tasks with 32×32 pictures, and a small network, so that it takes seconds. Five trainings: Reptile with eight inner steps; Reptile
# with one, which is joint training; MAML with one inner step, FOMAML with three; and ProtoNet. All inner loops are SGD with α = 0.1, and the
# numbers of steps are such that all five take about the same time on one core, since that is what one pays. The other settings come from a few
# trials, some of them on the novel people: that flatters the three inner loops a little. ProtoNet has those of lesson 02, on the same episodes as
# the others.

# %% [markdown]
# **Predict:** the training loss is shown on the last minibatch of a task, before the step on it. Where will the curve of k = 1 run, and where that
# of k = 8? (Section 2 has the first answer. The five trainings take about 8 seconds each.)

# %%
import time

from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.training import meta_train


def reptile_net(steps):
    return Reptile(
        classifier(), steps=steps, batch=10, inner_rate=0.1, optimiser="sgd", test_steps=10
    )


def maml_net(steps, first_order=False):
    settings = {"inner_rate": 0.1, "transductive": True, "fast": False}  # as lesson 03
    return MAML(classifier(), steps=steps, first_order=first_order, **settings)


recipes = {  # the learner, tasks in a step, outer rate, steps
    "Reptile, k = 8": (reptile_net(8), 2, 0.5, 105),
    "Reptile, k = 1": (reptile_net(1), 2, 0.5, 600),
    "MAML": (maml_net(1), 2, 5e-3, 130),
    "FOMAML": (maml_net(3, first_order=True), 1, 3e-3, 260),
    "ProtoNet": (ProtoNet(Conv4(3, 32, width=16), temperature=64), 1, 1e-3, 540),
}

# %% tags=["nbval-ignore-output"]
trained = {}
for name, (net, at_once, rate, steps) in recipes.items():
    sampler = EpisodeSampler(small, ways=5, shots=5, queries=5, seed=0)
    start = time.process_time()  # seconds of computing, whatever else the machine is doing
    trained[name] = meta_train(
        net, sampler, steps=steps * (10 if FULL else 1), tasks=at_once, rate=rate
    )
    print(f"{name:15s} {trained[name].steps:5d} steps in {time.process_time() - start:.1f} s")
for name in ("MAML", "FOMAML"):
    trained[name].learner.transductive = False  # for the test

# %%
fig, ax = plt.subplots(figsize=(8, 3.4))
for i, (name, colour) in enumerate(
    {"Reptile, k = 8": COLOURS[0], "Reptile, k = 1": COLOURS[1]}.items()
):
    values = torch.tensor(trained[name].history.loss)
    window = max(1, min(20, len(values) // 4))
    share = torch.linspace(0, 100, len(values))
    ax.plot(share, values, color=colour, lw=0.6, alpha=0.4)
    ax.plot(
        share[window - 1 :],
        values.unfold(0, window, 1).mean(1),
        color=colour,
        ls=("-", "--")[i],
        label=name,
    )
ax.axhline(math.log(5), color="black", ls=":", lw=1.4, label="ln 5: an even guess (4.10)")
ax.set(xlabel="share of the training time, %", ylabel="loss of the last minibatch", ylim=(0, 2))
ax.legend(loc="lower left", ncols=3)
show(
    fig,
    alt="Loss of the last minibatch against the share of the training time. With one inner step it"
    " scatters around ln 5,"
    " the loss of an even guess, from beginning to end; with eight inner steps it begins lower,"
    " and falls further.",
)

# %% [markdown]
# With k = 1 every step asks a network that knows nobody which of five strangers is number 3, and the answer cannot be better than (4.10), however
# long one trains. With k = 8 the last minibatch is asked after seven steps on images of the same people. They are not all *other* images: 50 images
# make five minibatches of ten, and steps 6 to 8 take images that the first five have trained on. So part of what its curve shows is memory.
#
# **Predict** for the next figure, on people whom no training has seen: the accuracy on the queries before the first inner step; after one; after
# ten. Is the start of joint training any better than an untrained one? Will ProtoNet, which takes no steps, be above or below?

# %% tags=["nbval-ignore-output"]
test = EpisodeSampler(strangers, ways=5, shots=5, queries=3, seed=1).sample(
    tasks=100 if FULL else 24
)
accuracy = {}
for name in ("Reptile, k = 8", "MAML", "FOMAML", "Reptile, k = 1"):
    accuracy[name] = trained[name].learner.trajectory(test, steps=10).query_accuracy  # [T, 11]
accuracy["untrained"] = reptile_net(8).trajectory(test, steps=10).query_accuracy
with torch.no_grad():
    logits = trained["ProtoNet"].learner.adapt(test.support).predict(test.query.x)
accuracy["ProtoNet"] = (
    (logits.argmax(-1) == test.query.y).double().mean(1, keepdim=True).expand(-1, 11)
)
rows = {}
for name, values in accuracy.items():
    ends = 1.96 * values.std(0) / len(values) ** 0.5
    rows[name] = [f"{100 * values[:, j].mean():.0f} ± {100 * ends[j]:.0f}" for j in (0, 1, 3, 10)]
table(
    rows,
    ["before", "1 step", "3 steps", "10 steps"],
    title=f"5-way 5-shot, novel people, {len(test.query.x)} episodes: accuracy, % ± over episodes",
)

# %%
fig, ax = plt.subplots(figsize=(8, 4))
for i, (name, values) in enumerate(accuracy.items()):
    dashes, mark = ("--", "") if name == "ProtoNet" else ("-", "os^vD"[i])
    ax.plot(
        100 * values.mean(0),
        color=COLOURS[(0, 2, 4, 1, 5, 3)[i]],
        ls=dashes,
        marker=mark,
        ms=5,
        label=name,
    )
ax.axhline(20, color="black", lw=1, ls=":")
ax.annotate("chance", (10, 20), ha="right", va="top")
ax.set(
    xlabel="inner steps on the support set",
    ylabel="accuracy on the queries, %",
    xticks=range(11),
    ylim=(10, 100),
)
ax.legend(ncols=2, loc="upper left")
show(
    fig,
    alt="Accuracy on novel people against the number of inner steps. Before the first step all"
    " starts are near chance,"
    " the dotted line at 20 percent. Reptile with eight inner steps, MAML and FOMAML rise steeply;"
    " joint training and the"
    " untrained start rise slowly and stay below. ProtoNet, which takes no steps, is a dashed"
    " horizontal line.",
)

# %% [markdown]
# What to read off, and what not:
#
# * **Before** the first step every start is at chance: it cannot know who is number 3. A start is not to be judged by what it can do, but by what it can learn.
# * **Joint training** ends no higher than the untrained start: it has learned to answer evenly, and little else. It is the control of this experiment: the same network, the same time, the same inner loop at test, but k = 1 in training.
# * **Reptile ends level with MAML and FOMAML** of the same seconds, without a second derivative and without a query set. But MAML, trained for one step, is ahead *after* one step; Reptile's start is good for many. With intervals as wide as these, do not rank the three any closer.
# * **All of them lose to ProtoNet** at this budget, and they pay ten forward and backward passes for every new task where ProtoNet pays one forward pass. Reptile is the simplest way to learn an *initialisation*; it is not the cheapest way to recognise five strangers.
#
# Lesson 06 compares all of them with more time, several seeds, and on real faces.

# %% [markdown]
# ### Does the inner product rise?
#
# (4.25) says that training raises the inner product between the gradients of two minibatches of a task, and (4.28) what that is good for. One can
# look: the gradient on the support images and that on the query images of the same novel people, at the start, before any step. By (4.28) α times
# their inner product is what the first inner step takes from the loss of the *queries*; the second column measures that, with a small step of α =
# 0.01.
#
# **Predict:** at which start is it the largest? And what is the inner product between *different* tasks, whose labels have nothing to do with each
# other?


# %% tags=["nbval-ignore-output"]
def gradients(network, examples):
    """The gradient on each task's examples, at the start: [T, all weights]."""
    rows = []
    for images, labels in zip(*examples, strict=True):
        value = F.cross_entropy(network(images), labels)
        rows.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(value, list(network.parameters()))])
        )
    return torch.stack(rows)


def query_loss(network, rate):
    """Of queries, normalised by themselves: before and after one step on the support images."""
    probe = Reptile(
        network,
        steps=1,
        batch=10**6,
        inner_rate=rate,
        optimiser="sgd",
        test_steps=1,
        transductive=True,
    )
    return probe.trajectory(test).query_loss.mean(dim=0)


rate = 0.01
rows = {}
for name in ("untrained", "Reptile, k = 1", "Reptile, k = 8", "MAML", "FOMAML"):
    network = classifier() if name == "untrained" else trained[name].learner.network
    g_support, g_query = (gradients(network, part) for part in (test.support, test.query))
    products = rate * g_support @ g_query.T  # [T, T]
    between = products[~torch.eye(len(products), dtype=torch.bool)].mean()
    before, after = query_loss(network, rate)
    numbers = products.diagonal().mean(), before - after, between  # (4.28)
    rows[name] = [*(f"{number:.4f}" for number in numbers), f"{before:.2f}"]
table(
    rows,
    [
        "α · inner product, same task",
        "query loss falls by",
        "α · inner product, between tasks",
        "query loss before",
    ],
    title=f"one inner step at α = {rate}",
)

# %% [markdown]
# The first two columns agree, as (4.28) says. Joint training has made the inner product *smaller* than it was before any training. Training with
# inner steps has made it *larger*: the first step on a few images of strangers does more for their other images.
#
# The third column should be small. Two tasks are drawn independently, so the mean product of their gradients is $\lVert \mathbb E\,g \rVert^2$, the
# squared length of the gradient of joint training. Where it is not small, the start lies away from the minimum of the joint loss: its first step
# mends the same thing in every task, and the last column shows what, a loss above ln 5 before any step.

# %% [markdown]
# ### Which statistics at test time?
#
# The network normalises by the statistics of the images at hand (lesson 03). If the queries are normalised by their own mean and variance, the
# answer to one depends on the others: *transductive*. By the support set's, each is judged by itself: *inductive*, the package's default. Nichol et
# al. report both, since the difference is worth points in their tables. The same start, asked both ways:

# %% tags=["nbval-ignore-output"]
net = trained["Reptile, k = 8"].learner
for transductive in (False, True):
    net.transductive = transductive
    right = (
        (net.adapt(test.support).predict(test.query.x).argmax(-1) == test.query.y).float().mean(1)
    )
    print(
        f"transductive {transductive!s:5s}: {100 * right.mean():.1f} ±"
        f" {100 * 1.96 * right.std() / len(right) ** 0.5:.1f} %"
    )
net.transductive = False

# %% [markdown]
# In our episodes every person has as many queries, so a set of queries looks much like a support set, and the difference is small or none. It need
# not be where queries come one by one, or all of one person; then only the inductive number is one that you will see again.

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. You train Reptile with ε = 1 and one task a step. What is θ after 1000 steps?**
#
# <details><summary>The mean of the weights with which 1000 separate trainings would end</summary>No. By (4.3) θ keeps the share 1 − ε = 0 of what it
# was.</details>
# <details><summary>The weights of one network, trained on one task after another</summary>Right: plain sequential training. Recent tasks have most
# say, and each inner loop begins where the last has ended.</details>
# <details><summary>The same as with ε = 0.1, only sooner</summary>No. The fixed point (4.17) of the batched step is the same, but with one task at a time θ is thrown to and fro, (4.19).</details>
#
# **2. Somebody's Reptile has the loop `for task in tasks: loss = mean loss at θ; loss.backward()`, then one step of SGD. The training loss stays at
# 1.61 with five ways. Why?**
#
# <details><summary>The learning rate is too small, or the training too short</summary>No. 1.61 is ln 5, the least that a network can reach that
# adapts to nobody, (4.10).</details>
# <details><summary>It is joint training: the inner loop is missing</summary>Right. It is (4.8): k = 1, whatever the comments say.</details>
# <details><summary>Reptile needs Adam outside</summary>No. The outer optimiser changes how θ moves along the pseudo-gradient, not what the pseudo-gradient knows.</details>

# %% [markdown]
# **3. Every task has one single minibatch, the same in all k steps. Is what remains of Reptile with k > 1 still different from joint training?**
#
# <details><summary>No, since AvgGradInner needs different minibatches, and AvgGrad alone is joint training</summary>Not quite. The pairs are then
# $\bar H_i\,\bar g_i$ instead of $\bar H_i\,\bar g_j$: a second term remains, but it is the gradient of $\frac12\lVert \bar g_i \rVert^2$, and says
# nothing about <i>other</i> images.</details>
# <details><summary>Yes: it rests elsewhere, but the term that makes other images agree is gone</summary>Right. Section 3 has just that case: its fixed points move with k. What is lost is generalisation within the task, (4.28).</details>
# <details><summary>Yes, and nothing is lost</summary>Half right: it differs. But between minibatches, there is nothing left to agree.</details>
#
# **4. In the table below (4.27) MAML has the ratio 2(k − 1) and Reptile (k − 1)/2. So with k = 5, MAML learns four times as fast?**
#
# <details><summary>Yes</summary>No. A ratio of two terms of an expansion is no speed; and at the α and k that one uses, what was dropped is not small.</details>
# <details><summary>No, but for small α four times as much of the second term comes with the first</summary>Right, and no more is said. Per second it may look different, as section 7 shows.</details>
# <details><summary>No, for Reptile's k is larger by one</summary>No: k counts minibatches for both. Reptile takes k inner steps on them, MAML k − 1.</details>

# %% [markdown]
# **5. Two tasks, one steep, one flat, many inner steps, none of which overshoots (αa < 1). Where are the fixed points?**
#
# <details><summary>Both near the minimum of the steep one</summary>No. That is where joint training rests, weighted by curvature.</details>
# <details><summary>Reptile in the middle, MAML near the flat one</summary>Right, (4.13) and (4.14): all distances count alike for Reptile, and MAML leaves to the inner loop what that can mend.</details>
# <details><summary>Both in the middle</summary>No. MAML's weights $a r^2$ do not become equal: those of the steep task vanish first.</details>
#
# **6. Inner Adam with its usual $\beta_1 = 0.9$: what is to be expected?**
#
# <details><summary>Better results, momentum always helps</summary>Not here. What is wanted is not to reach the task's minimum soonest, but that later steps know of earlier ones.</details>
# <details><summary>The joint-training part stays, the part that generalises is weaker</summary>Right: you measured the two coefficients in section 6.</details>
# <details><summary>It turns into k = 1</summary>Too strong. The second coefficient falls, it does not vanish.</details>

# %% [markdown]
# ## Recap
#
# * Reptile: k ordinary steps on minibatches of a task, (4.1), then a share ε of the way, (4.4). Its pseudo-gradient is α times the sum of the gradients along the way, (4.6).
# * With k = 1 it is joint training, (4.8), and on episodes with drawn labels that reaches ln N at best, (4.10).
# * On parabolas it rests at the mean of the minima with weights 1 − r, (4.13): near to all solutions. MAML, with $a r^2$, rests where k steps mend most.
# * To first order in α, MAML, FOMAML and Reptile all descend on the joint loss *and* raise the inner product of gradients of different minibatches; (4.25) to (4.27), with coefficients that you have measured.
# * Inner Adam makes the step independent of the loss's scale; momentum weakens the term that generalises.
# * On faces, at equal seconds: ahead of joint training, level with MAML and FOMAML after ten steps, and behind ProtoNet, which is cheaper at test time, too.
# * `examples/reptile.py` is all of it in one short program. Read it beside `examples/maml.py`: the two differ in the algorithm alone.

# %%
progress("04")

# %% [markdown]
# ## References
#
# * A. Nichol, J. Achiam, J. Schulman. *On First-Order Meta-Learning Algorithms.* [arXiv:1803.02999](https://arxiv.org/abs/1803.02999), 2018. Section 3: k = 1; section 5.1: the Taylor analysis; section 5.2: near to all solutions; section 6.1: Adam with β1 = 0; tables 1 and 2: with and without transduction.
# * C. Finn, P. Abbeel, S. Levine. *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.* ICML 2017. Algorithm 1, line 6: the inner step; section 5.2: first order.
#   [arXiv:1703.03400](https://arxiv.org/abs/1703.03400)
# * D. P. Kingma, J. Ba. *Adam: A Method for Stochastic Optimization.* ICLR 2015. Algorithm 1.
#   [arXiv:1412.6980](https://arxiv.org/abs/1412.6980)
# * J. Snell, K. Swersky, R. Zemel. *Prototypical Networks for Few-shot Learning.* NeurIPS 2017.
#   [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)
# * J. L. W. V. Jensen. *Sur les fonctions convexes et les inégalités entre les valeurs moyennes.* Acta Mathematica 30, 1906, 175-193. The inequality in (4.10).
#   [doi:10.1007/BF02418571](https://doi.org/10.1007/BF02418571)

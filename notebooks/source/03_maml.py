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
# # 03 · MAML
#
# Lesson 02 enrolled a stranger by a mean, and trained nothing. This lesson takes the other road: it *does* train, on the few photos that there are,
# for a few steps. A network has tens of thousands of weights, and there are five photos. That is hopeless from most starting points. It is not
# hopeless from all, and this lesson's algorithm looks for a good one: **an initialisation from which one step goes far**.
#
# **After this lesson you can**
#
# * derive the meta-gradient for one step and for k, and say which term makes it hard;
# * write MAML from scratch in a dozen lines, second order and first order, without ever forming a Hessian;
# * test a meta-gradient by finite differences, and say how tight the test has to be, and why;
# * predict where joint training, MAML, first-order MAML and Reptile come to rest;
# * adapt a network to new faces and follow it step by step, compare it honestly, and name the two traps of batch normalisation.

# %% [markdown]
# **You need** lesson 01 (the frame: inner and outer loop), the chain rule for functions of several variables, products of matrices, and `autograd`.
# Lesson 02 is what we compare with. **Time** 100 minutes, with six exercises, worth 12 points. **Computing** less than 180 seconds on two CPU
# cores; a GPU is not needed. With the environment variable `METAFACE_BUDGET=full` the live trainings are longer.

# %%
import math
import os
import textwrap

import torch
from matplotlib import pyplot as plt
from torch.func import functional_call, hessian, jacrev
from torch.nn import functional as F

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.exercises import check, hint, progress, solution, yours
from metaface_lessons.figures import COLOURS, show, style, table
from metaface_lessons.learners.maml import MAML

style()
FULL = os.environ.get("METAFACE_BUDGET") == "full"
grad = torch.autograd.grad


def numbers(*shape, seed=0):
    """Standard normal numbers, in double precision to compare to many digits."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# %% [markdown]
# ## 1 · A start from which one step goes far
#
# The smallest example that shows the whole idea: one weight θ, two tasks. The first has the loss ½θ², a wide bowl with its minimum at 0; the second
# ½·4·(θ − 1)², a bowl that is four times as steep, with its minimum at 1. You may choose θ. Then one of the two tasks turns up, each as often as the
# other; you may take k steps of gradient descent on *its* loss, at rate 0.1; and you pay what its loss then is.

# %% [markdown]
# **Predict:** where do you put θ if k = 0, so that you pay at once? And where if k = 5: nearer to the minimum of the wide bowl, or of the steep one?

# %%
a, c = torch.tensor([1.0, 4.0]).double(), torch.tensor([0.0, 1.0]).double()
theta = torch.linspace(-0.5, 1.5, 401).double()[:, None]  # many starts at once, [401, 1]
fig, ax = plt.subplots(figsize=(7, 3.6))
for i, k in enumerate((0, 1, 5)):
    phi = theta.expand(-1, 2)  # one column for each task
    for _ in range(k):
        phi = phi - 0.1 * a * (phi - c)  # the derivative of ½a(φ − c)² is a(φ − c)
    paid = (a * (phi - c) ** 2 / 2).mean(1)
    best = paid.argmin()
    ax.plot(theta, paid, color=COLOURS[i], label=f"k = {k}: best θ = {theta[best].item():.3f}")
    ax.plot(theta[best], paid[best], "os^"[i], color=COLOURS[i], ms=9)
ax.set(xlabel="θ, where both tasks start", ylabel="mean loss that is paid", ylim=(-0.04, 1.2))
ax.legend(loc="upper center")
show(
    fig,
    alt="Mean loss of two tasks against the common start θ, paid after 0, 1 and 5 gradient steps."
    " The best start is 0.8"
    " without a step, 0.64 with one, and 0.065 with five, where the curve is also by far the"
    " lowest.",
)

# %% [markdown]
# Without a step the best θ sits near the minimum of the steep bowl, because mistakes are dear there. With five steps it moves to the *wide* one:
# as long as no step overshoots, whoever starts far from the steep minimum gets there in a few steps anyway, for steep means large gradients. The
# wide bowl is where steps are short, so it is there that the start should be good. **The best place to be is not the best place to start from.**
# Ordinary training looks for the former.

# %% [markdown]
# Now in general. Let task t have a support set, which gives the loss $L_t^S(\theta)$, and a query set, with the loss $L_t^Q(\theta)$. The learner of
# the task starts at the common θ and takes one step of gradient descent on the support loss, with the **inner rate** α (we leave out the index t
# where one task is meant):
#
# $$ \varphi = \theta - \alpha\,\nabla L^S(\theta) \tag{3.1} $$
#
# or k of them, each from where the last one led:
#
# $$ \varphi_0 = \theta, \qquad \varphi_j = \varphi_{j-1} - \alpha\,\nabla L^S(\varphi_{j-1}), \quad j = 1, \dots, k \tag{3.2} $$
#
# This is the *inner loop*, and it is all that MAML's $\mathcal A_\theta(S)$, equation (1.2), does.

# %% [markdown]
# ### Exercise 1: one inner step
#
# *2 points, 8 minutes.* Equation (3.1). `loss` is a function that maps weights `[D]` to a number, `theta [D]` requires a gradient. Return φ. The same
# θ will serve other tasks after this one, so leave it alone; and the outer loop will want to know how φ changes with θ. (The gradient in (3.1)
# changes with θ, too: `torch.autograd.grad` returns a constant, unless it is asked to keep the graph.)


# %% exercise="maml-inner-step"
def my_inner_step(loss, theta, rate):
    ### BEGIN SOLUTION
    (gradient,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    return theta - rate * gradient  # (3.1)
    ### END SOLUTION


check("maml.inner_step", my_inner_step)

# %% [markdown]
# ### Exercise 2: k inner steps
#
# *2 points, 6 minutes.* Equation (3.2): return $\varphi_k$ for `steps` = k, which may be 0.


# %% exercise="maml-adapt"
def my_adapt(loss, theta, rate, steps):
    ### BEGIN SOLUTION
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(phi), phi, create_graph=True)
        phi = phi - rate * gradient  # (3.2)
    return phi
    ### END SOLUTION


check("maml.adapt", my_adapt)

# %% [markdown]
# The *outer loop* changes θ so that the inner loop ends well: on the **query** set, on average over T tasks:
#
# $$ \min_\theta\; F(\theta) = \frac1T \sum_{t=1}^{T} L_t^Q\big(\varphi_{t,k}(\theta)\big) \tag{3.3} $$
#
# That is a **bi-level** problem: inside, φ is found by minimising one loss; outside, another loss is minimised *at what was found*. Set k = 0 and the
# inside is gone. What remains is **joint training**, one network for all tasks at once:
#
# $$ \min_\theta\; \frac1T \sum_{t=1}^{T} L_t^Q(\theta) \tag{3.4} $$

# %% [markdown]
# Two things to hold on to. Query and support are *different* examples, or else (3.3) rewards a start from which one memorises quickly. And whoever writes
# MAML as $\min_\theta \sum_t L_t(\theta)$, with no φ in it, has written (3.4): there is no learning to learn in that.

# %% [markdown]
# ## 2 · The meta-gradient, one step
#
# F is minimised by gradient descent on θ, so we need $\nabla F$. Take one task. $L^Q$ depends on all coordinates $\varphi_i$, each of which depends on
# all $\theta_j$. The chain rule:
#
# $$ \frac{\partial}{\partial \theta_j} L^Q\big(\varphi(\theta)\big) = \sum_i \frac{\partial \varphi_i}{\partial \theta_j}\; \frac{\partial L^Q}{\partial \varphi_i}(\varphi) \tag{3.5} $$
#
# Coordinate i of (3.1) is $\varphi_i = \theta_i - \alpha\, \partial L^S / \partial \theta_i$. Its derivative by $\theta_j$ is 1 if i = j (write
# $\delta_{ij}$), minus α times a *second* derivative:
#
# $$ \frac{\partial \varphi_i}{\partial \theta_j} = \delta_{ij} - \alpha\, \frac{\partial^2 L^S}{\partial \theta_j\, \partial \theta_i}(\theta) = \delta_{ij} - \alpha H_{ij} \tag{3.6} $$

# %% [markdown]
# $H = H^S(\theta)$ is the **Hessian** of the support loss, the matrix of its second derivatives. For a smooth loss the order of differentiation does not
# matter, so H is symmetric, and it is the same whether i or j counts its rows. Put (3.6) into (3.5):
#
# $$ \nabla F(\theta) = \big(I - \alpha H^S(\theta)\big)\; \nabla L^Q(\varphi) \tag{3.7} $$
#
# Read it from the right: the gradient of the query loss, taken **at φ**, after the step; then corrected for the fact that moving θ moves the step,
# too. Where the support loss is steeply curved (αH near 1), the step undoes most of a move of θ, so θ matters less there. Those are the two bowls.

# %% [markdown]
# **Check it where everything can be written down.** Linear regression with K support points, the rows of $X_S$:
#
# $$ L^S(\theta) = \frac{1}{2K} \lVert X_S \theta - y_S \rVert^2, \qquad \nabla L^S(\theta) = \frac1K X_S^\top (X_S \theta - y_S), \qquad H^S = \frac1K X_S^\top X_S \tag{3.8} $$
#
# and the same with Q query points. Then (3.7) becomes
#
# $$ \nabla F(\theta) = \Big(I - \frac{\alpha}{K} X_S^\top X_S\Big)\, \frac1Q X_Q^\top (X_Q \varphi - y_Q) \tag{3.9} $$
#
# We let autograd differentiate through the step of exercise 1, and compare. (`yours` is your function once it passes, and the course's until then.) The Jacobian of the step, (3.6), and the chain rule, (3.5),
# are checked on the way.

# %%
K, Q, alpha = 5, 7, 0.1
X_S, y_S, X_Q, y_Q = (
    numbers(K, 3, seed=1),
    numbers(K, seed=2),
    numbers(Q, 3, seed=3),
    numbers(Q, seed=4),
)


def support_loss(w):
    return (X_S @ w - y_S).square().sum() / (2 * K)  # (3.8)


def query_loss(w):
    return (X_Q @ w - y_Q).square().sum() / (2 * Q)


theta = numbers(3, seed=5).requires_grad_()
phi = yours("maml.inner_step", my_inner_step)(support_loss, theta, alpha)  # (3.1)
(by_autograd,) = grad(query_loss(phi), theta)


def same(ours, theirs):
    return torch.allclose(ours, theirs, rtol=0, atol=1e-12)


with torch.no_grad():
    step = jacrev(lambda w: w - alpha / K * X_S.T @ (X_S @ w - y_S))  # ∂φ/∂θ, of (3.1) with (3.8)
    jacobian = step(theta)
    H, at_phi = X_S.T @ X_S / K, X_Q.T @ (X_Q @ phi - y_Q) / Q
    by_hand = (torch.eye(3) - alpha * H) @ at_phi  # (3.7), here (3.9)
    print("(3.6) agrees to 1e-12:", same(jacobian, torch.eye(3) - alpha * H))  # (3.6)
    print("(3.5) agrees to 1e-12:", same(jacobian.T @ at_phi, by_autograd))  # (3.5)
print("by autograd", [round(v, 6) for v in by_autograd.tolist()])
print("by hand    ", [round(v, 6) for v in by_hand.tolist()])
print("(3.9) agrees to 1e-12:", same(by_autograd, by_hand))

# %% [markdown]
# ## 3 · k steps
#
# Every step of (3.2) is a step of the kind (3.1), from another place. So the Jacobian of one of them is (3.6) again, with the Hessian taken *where
# that step starts*:
#
# $$ J_j = \frac{\partial \varphi_j}{\partial \varphi_{j-1}} = I - \alpha H^S(\varphi_{j-1}) \tag{3.10} $$
#
# and $\varphi_k$ depends on θ through all of them, one after the other. For a chain of functions the Jacobians multiply, the last one leftmost:
#
# $$ \frac{\partial \varphi_k}{\partial \theta} = J_k\, J_{k-1} \cdots J_1 \tag{3.11} $$

# %% [markdown]
# In (3.5) the sum runs over the *rows* of the Jacobian, i: it is a product with the transposed matrix,
#
# $$ \nabla F(\theta) = \Big(\frac{\partial \varphi_k}{\partial \theta}\Big)^{\!\top} \nabla L^Q(\varphi_k) \tag{3.12} $$
#
# and transposing a product turns its order round. Each $J_j$ is symmetric, so $(J_k \cdots J_1)^\top = J_1^\top \cdots J_k^\top = J_1 \cdots J_k$:
#
# $$ \boxed{\;\nabla F(\theta) = \big(I - \alpha H^S(\varphi_0)\big) \big(I - \alpha H^S(\varphi_1)\big) \cdots \big(I - \alpha H^S(\varphi_{k-1})\big)\; \nabla L^Q(\varphi_k)\;} \tag{3.13} $$
#
# One factor for each inner step, the first step leftmost. (The order matters: products of symmetric matrices do not commute in general.) This is
# MAML's gradient, with nothing left out. For T tasks it is the mean of T such terms.

# %% [markdown]
# The check needs Hessians that differ from place to place: a small network with tanh units, its 25 weights in one vector so that one can look at a
# matrix of second derivatives. `torch.func.hessian` forms these matrices; we do it here once, to believe (3.10) to (3.13).

# %%
x_S, x_Q = numbers(6, 1, seed=6), numbers(9, 1, seed=7)


def predict(w, x):
    """One hidden layer of 8 tanh units: weights [25], inputs [S, 1] → [S, 1]."""
    hidden = torch.tanh(x @ w[None, :8] + w[8:16])
    return hidden @ w[16:24, None] + w[24]


def support_loss(w):
    return F.mse_loss(predict(w, x_S), x_S.sin())


def query_loss(w):
    return F.mse_loss(predict(w, x_Q), x_Q.sin())


# %%
adapt = yours("maml.adapt", my_adapt)

theta = numbers(25, seed=8).requires_grad_()
path = [adapt(support_loss, theta, 0.2, steps) for steps in range(4)]  # φ_0, …, φ_3, by (3.2)
(by_autograd,) = grad(query_loss(path[-1]), theta)
(at_the_end,) = grad(query_loss(path[-1]), path[-1])

places = [phi.detach() for phi in path[:-1]]
J1, J2, J3 = (torch.eye(25) - 0.2 * hessian(support_loss)(phi) for phi in places)  # (3.10)
whole = torch.autograd.functional.jacobian(lambda w: adapt(support_loss, w, 0.2, 3), theta)
print("(3.11) agrees to 1e-12:", same(J3 @ J2 @ J1, whole))  # (3.11)
print("(3.12) agrees to 1e-12:", same(whole.T @ at_the_end, by_autograd))  # (3.12)
print("(3.13) agrees to 1e-12:", same(J1 @ J2 @ J3 @ at_the_end, by_autograd))  # (3.13)
error = (J3 @ J2 @ J1 @ at_the_end - by_autograd).norm() / by_autograd.norm()
print(f"factors in the other order: off by {100 * error:.1f} %")

# %% [markdown]
# ## 4 · Products with Hessians, never Hessians
#
# With P weights H has P² entries. **Predict:** the face network of section 8 has some 24,000 weights. How large is its Hessian, in gigabytes, at 4
# bytes an entry?

# %%
from metaface_lessons.networks import Classifier, Conv4


def classifier(seed=0):
    """Conv-4 of width 32 for colour images 32×32, and a head with 5 outputs."""
    embedding = Conv4(channels=3, size=32, width=32, norm="task", seed=seed)
    return Classifier(embedding, embedding.features, ways=5, seed=seed)


P = sum(w.numel() for w in classifier().parameters())
print(f"P = {P:,} weights; H = {P**2:.1e} entries = {4 * P**2 / 1e9:.1f} GB", end="; ")
print(f"one vector = {4 * P / 1e6:.2f} MB")

# %% [markdown]
# And there is one for each inner step of each task. But look at (3.13) from the right: there stands a *vector*, and each factor turns it into another
# vector. Nobody needs H, only the product Hv. And that is the gradient of a number: for a vector v that does not depend on θ,
#
# $$ \frac{\partial}{\partial \theta_j} \big(\nabla L(\theta) \cdot v\big) = \sum_i \frac{\partial^2 L}{\partial \theta_j\, \partial \theta_i}\, v_i = (Hv)_j \qquad\Longrightarrow\qquad Hv = \nabla\big(\nabla L \cdot v\big) \tag{3.14} $$
#
# Two passes of autograd, and memory for a few vectors (Pearlmutter 1994). With it, (3.13) is a loop:
#
# $$ v_k = \nabla L^Q(\varphi_k), \qquad v_{j-1} = v_j - \alpha H^S(\varphi_{j-1})\, v_j, \qquad \nabla F(\theta) = v_0 \tag{3.15} $$


# %%
def hessian_vector(loss, at, v):
    return torch.func.grad(lambda w: torch.func.grad(loss)(w) @ v)(at.detach())  # (3.14)


v = at_the_end
for phi in path[-2::-1]:  # φ_2, φ_1, φ_0: from right to left in (3.13)
    v = v - 0.2 * hessian_vector(support_loss, phi, v)  # (3.15)
print("(3.15) agrees to 1e-12:", same(by_autograd, v))

# %% [markdown]
# This backward loop is precisely what autograd does, on its own, when you differentiate a query loss through inner steps that kept their graph
# (`create_graph=True`). So the whole of MAML is short. For any network, any loss, T tasks:


# %%
def meta_gradient(network, episodes, loss, rate, steps, first_order=False):
    names, theta = zip(*network.named_parameters(), strict=True)
    (x_S, y_S), (x_Q, y_Q) = episodes.support, episodes.query
    total = 0.0
    for t in range(len(x_S)):
        phi = theta
        for _ in range(steps):
            outputs = functional_call(network, dict(zip(names, phi, strict=True)), (x_S[t],))
            gradients = grad(loss(outputs, y_S[t]), phi, create_graph=not first_order)
            phi = [w - rate * g for w, g in zip(phi, gradients, strict=True)]  # (3.2)
        outputs = functional_call(network, dict(zip(names, phi, strict=True)), (x_Q[t],))
        total = total + loss(outputs, y_Q[t]) / len(x_S)  # (3.3)
    return grad(total, theta)  # (3.13)


# %% [markdown]
# `functional_call` runs the network with weights other than its own. That is what makes φ possible: new tensors that remember how they came from θ, while
# the network keeps θ itself. The package's `MAML` does the same. On the sinusoids of section 7, in double precision:

# %%
from metaface_lessons.episodes import Episodes, Examples
from metaface_lessons.sinusoids import SinusoidSampler

smooth = torch.nn.Sequential(
    torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)
).double()
for i, w in enumerate(smooth.parameters()):
    w.data = numbers(*w.shape, seed=i) / 3
drawn = SinusoidSampler(shots=5, queries=10, seed=0).sample(tasks=4)
episodes = Episodes(
    *(Examples(e.x.double(), e.y.double()) for e in (drawn.support, drawn.query)), drawn.identities
)

for first_order in (False, True):
    package = MAML(smooth, steps=3, inner_rate=0.05, first_order=first_order, loss=F.mse_loss)
    package.zero_grad()
    package.meta_gradient(episodes)
    ours = meta_gradient(smooth, episodes, F.mse_loss, rate=0.05, steps=3, first_order=first_order)
    agree = all(
        torch.allclose(w.grad, g, rtol=1e-9) for w, g in zip(smooth.parameters(), ours, strict=True)
    )
    print(f"first_order={first_order!s:5}: a dozen lines and package agree: {agree}")

joint = MAML(smooth, steps=0, loss=F.mse_loss)
joint.zero_grad()
joint.meta_gradient(episodes)
x, y = (tensor.flatten(0, 1) for tensor in episodes.query)
ours = grad(F.mse_loss(smooth(x), y), smooth.parameters())  # (3.4)
agree = all(
    torch.allclose(w.grad, g, rtol=1e-9) for w, g in zip(smooth.parameters(), ours, strict=True)
)
print("with steps=0 it is joint training, (3.4):", agree)

# %% [markdown]
# ## 5 · First order: what is dropped
#
# Keeping the graph of k steps costs memory and time. **First-order MAML** (FOMAML) puts I for every factor of (3.13):
#
# $$ \nabla F(\theta) \approx \nabla L^Q(\varphi_k) \tag{3.16} $$
#
# Adapt; take the query gradient *where you have arrived*; apply it *where you started*. For one step, what is left out is exactly
#
# $$ \nabla L^Q(\varphi) - \nabla F(\theta) = \alpha\, H^S(\theta)\, \nabla L^Q(\varphi) \tag{3.17} $$
#
# which is small if α or the curvature is.

# %% [markdown]
# ### Exercise 3: first order
#
# *2 points, 8 minutes.* Equation (3.16), after `steps` inner steps: two loss functions, `theta [D]` → the gradient `[D]`. No Hessian may come into it,
# and `theta.grad` stays as it was.


# %% exercise="maml-first-order"
def my_first_order(support_loss, query_loss, theta, rate, steps):
    ### BEGIN SOLUTION
    phi = theta
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(
            support_loss(phi), phi
        )  # a constant, without create_graph
        phi = phi - rate * gradient  # (3.2)
    return torch.autograd.grad(query_loss(phi), phi)[0]  # (3.16)
    ### END SOLUTION


check("maml.first_order", my_first_order)

# %% [markdown]
# What does the dropped term *do*? Expand F for one step around θ. A small move by −αg, with $g = \nabla L^S(\theta)$, changes a function by −α times
# the product of its gradient with g:
#
# $$ F(\theta) = L^Q\big(\theta - \alpha\,\nabla L^S\big) = L^Q(\theta) - \alpha\, \nabla L^Q \cdot \nabla L^S + O(\alpha^2) \tag{3.18} $$
#
# So besides a small query loss MAML asks for a large *inner product* of the two gradients: support and query should want the same change of θ, for
# then learning from one helps with the other. That is generalisation, written as a loss. Its gradient, by the product rule, and what first order has
# of it:
#
# $$ \begin{aligned}
# \text{MAML:} &\quad \nabla L^Q - \alpha\,\big(H^S\, \nabla L^Q + H^Q\, \nabla L^S\big) + O(\alpha^2) \\
# \text{FOMAML:} &\quad \nabla L^Q - \alpha\, H^Q\, \nabla L^S + O(\alpha^2)
# \end{aligned} \tag{3.19} $$

# %% [markdown]
# (The second line is the expansion of $\nabla L^Q(\theta - \alpha\,\nabla L^S)$, everything else taken at θ.) With support and query drawn alike the
# two terms in the bracket are the same on average, so **first order keeps half of what rewards agreement**. That is why it works at all, and lesson
# 04 makes much of it. If (3.18) and (3.19) are right, the remaining error must fall a hundredfold when α falls tenfold:

# %%
theta = numbers(25, seed=8).requires_grad_()
g_S, g_Q = grad(support_loss(theta), theta)[0], grad(query_loss(theta), theta)[0]
half_S, half_Q = hessian_vector(support_loss, theta, g_Q), hessian_vector(query_loss, theta, g_S)
first_order = yours("maml.first_order", my_first_order)
rows = {}
for rate in (0.1, 0.01, 0.001):
    value = query_loss(theta) - rate * g_Q @ g_S  # (3.18)
    reached = query_loss(adapt(support_loss, theta, rate, 1))
    maml = g_Q - rate * (half_S + half_Q), grad(reached, theta)[0]  # (3.19), and by autograd
    fomaml = g_Q - rate * half_Q, first_order(support_loss, query_loss, theta, rate, 1)
    errors = [reached - value, *(predicted - exact for predicted, exact in (maml, fomaml))]
    rows[f"α = {rate}"] = [f"{error.norm():.0e}" for error in errors]
table(rows, ["error of (3.18)", "of (3.19) for MAML", "for FOMAML"], title="what is left of O(α²)")

# %% [markdown]
# ### How would you notice?
#
# A first-order gradient where a second-order one was meant raises no error, and training works. **Predict:** on the linear regression of section 2,
# by how many percent does the first-order gradient differ from the true one?

# %%
theta = numbers(3, seed=5)
phi = theta - alpha / K * X_S.T @ (X_S @ theta - y_S)  # (3.1)
first = X_Q.T @ (X_Q @ phi - y_Q) / Q  # (3.16)
print("(3.17) agrees:", torch.allclose(first - by_hand, alpha / K * X_S.T @ X_S @ first))  # (3.17)
print(f"first order is off by {100 * (first - by_hand).norm() / by_hand.norm():.1f} %")

# %% [markdown]
# A few percent. A test with a tolerance of 10 % waves it through, and so does a look at the curve. The remedy is a test that does not use what it
# tests: **finite differences** of F itself, which needs no derivative at all. Expand a function f to both sides along coordinate i, with $e_i$ the
# unit vector:
#
# $$ f(\theta \pm h e_i) = f \pm h\, \partial_i f + \tfrac{h^2}{2}\, \partial_i^2 f \pm \tfrac{h^3}{6}\, \partial_i^3 f + \dots \quad\Longrightarrow\quad
# \frac{f(\theta + h e_i) - f(\theta - h e_i)}{2h} = \partial_i f + \tfrac{h^2}{6}\, \partial_i^3 f + \dots \tag{3.20} $$
#
# The even terms cancel, so the error falls with h². (One-sided, $(f(\theta + h e_i) - f(\theta))/h$, it falls with h only.) Rounding adds about
# $10^{-16}/h$ in double precision. Both are small near $h = 10^{-5}$.

# %% [markdown]
# ### Exercise 4: central differences
#
# *2 points, 8 minutes.* The left side of the second formula in (3.20), for every coordinate: `f` maps weights `[D]` to a number; `theta [D]` → `[D]`,
# in θ's own precision.


# %% exercise="maml-finite-difference"
def my_finite_difference(f, theta, h):
    ### BEGIN SOLUTION
    steps = h * torch.eye(len(theta), dtype=theta.dtype)
    return torch.stack([(f(theta + step) - f(theta - step)) / (2 * h) for step in steps])  # (3.20)
    ### END SOLUTION


check("maml.finite_difference", my_finite_difference)

# %% [markdown]
# Now the test, for three inner steps of the tanh network. Smooth functions and double precision are part of it: at the kinks of ReLU and max-pooling
# a difference says nothing about a derivative, and in single precision rounding hides what we look for (lesson 05 shows by how much).


# %%
def after_three(theta):
    return query_loss(adapt(support_loss, theta.detach().requires_grad_(), 0.005, 3)).detach()


theta = (numbers(25, seed=8) / 2).requires_grad_()
finite_difference = yours("maml.finite_difference", my_finite_difference)
truth = finite_difference(after_three, theta.detach(), 1e-5)  # (3.20)
gradients = {
    "second order": grad(query_loss(adapt(support_loss, theta, 0.005, 3)), theta)[0],
    "first order": first_order(support_loss, query_loss, theta, 0.005, 3),
}
rows = {}
for name, ours in gradients.items():
    error = ((ours - truth).norm() / truth.norm()).item()
    rows[name] = [f"{100 * error:.1f} %", *(str(error < limit) for limit in (0.1, 1e-6, 1e-8))]
table(rows, ["off by", "within 10 %", "within 1e-6", "within 1e-8"], title="meta-gradient")

# %% [markdown]
# A right gradient agrees to eight digits and more, the first-order one to one: here there is nothing in between. But what first order leaves out,
# (3.17), is proportional to α: at a tiny inner rate first order passes any tolerance. So test at a rate at which first order *fails*, with the
# tolerance at 1e-6, not at "looks alike". Keep this test: every graph that is cut somewhere fails it. What it cannot see is an F that is itself the
# wrong one, with the support set for queries, say: of that, too, the gradient is right. (Lesson 05 has tests for it.)

# %% [markdown]
# ## 6 · The Hessian term made visible
#
# Back to the two bowls, with every step by hand. Task t has, for support and query alike,
#
# $$ L_t(\theta) = \tfrac12 a_t\, (\theta - c_t)^2, \qquad \nabla L_t = a_t\, (\theta - c_t), \qquad H_t = a_t \tag{3.21} $$
#
# An inner step multiplies the distance to the minimum by a fixed factor, so k steps by its power:
#
# $$ \varphi_j - c = (\varphi_{j-1} - c) - \alpha a\, (\varphi_{j-1} - c) = (1 - \alpha a)(\varphi_{j-1} - c) \quad\Longrightarrow\quad \varphi_k - c = r\,(\theta - c), \quad r = (1 - \alpha a)^k \tag{3.22} $$

# %% [markdown]
# The query gradient at $\varphi_k$ is $a\,(\varphi_k - c) = a\,r\,(\theta - c)$. By (3.13) each of the k steps multiplies it by $1 - \alpha a$, which
# makes another r:
#
# $$ \nabla F(\theta) = \frac1T \sum_t a_t\, r_t^2\, (\theta - c_t) \tag{3.23} $$
#
# It is zero where the weighted sum of $\theta - c_t$ vanishes, with the weights $w_t = a_t r_t^2$; solved for θ, that is a weighted mean of the minima:
#
# $$ \sum_t w_t\, (\theta^* - c_t) = 0 \quad\Longrightarrow\quad \theta^* = \frac{\sum_t w_t\, c_t}{\sum_t w_t} \tag{3.24} $$

# %% [markdown]
# ### Exercise 5: the meta-gradient of quadratics, by hand
#
# *2 points, 8 minutes.* Equation (3.23), the mean over the tasks: `a [T]`, `c [T]`, the numbers θ, α and k → a number. No autograd needed.


# %% exercise="maml-meta-gradient"
def my_meta_gradient(a, c, theta, rate, steps):
    ### BEGIN SOLUTION
    r = (1 - rate * a) ** steps  # (3.22)
    return (a * r**2 * (theta - c)).mean()  # (3.23)
    ### END SOLUTION


check("maml.meta_gradient", my_meta_gradient)

# %% [markdown]
# ### Exercise 6: where MAML comes to rest
#
# *2 points, 6 minutes.* Equation (3.24) with MAML's weights: `a [T]`, `c [T]`, α and k → the number θ*.


# %% exercise="maml-fixed-point"
def my_fixed_point(a, c, rate, steps):
    ### BEGIN SOLUTION
    w = a * (1 - rate * a) ** (2 * steps)  # of (3.23)
    return (w * c).sum() / w.sum()  # (3.24)
    ### END SOLUTION


check("maml.fixed_point", my_fixed_point)

# %% [markdown]
# Other methods come to rest elsewhere, and each has the form (3.24) with weights of its own. Joint training has the gradient $a(\theta - c)$; FOMAML,
# by (3.16), $a\,r\,(\theta - c)$. Reptile, of lesson 04, moves θ towards $\varphi_k$: its "gradient" is
# $\theta - \varphi_k = (\theta - c) - (\varphi_k - c) = (1 - r)(\theta - c)$. So
#
# $$ w = \underbrace{a}_{\text{joint training}}, \qquad w = \underbrace{a\,r^2}_{\text{MAML}}, \qquad w = \underbrace{a\,r}_{\text{FOMAML}}, \qquad w = \underbrace{1 - r}_{\text{Reptile}} \tag{3.25} $$
#
# **Predict,** before you run the cell: for k = 1, which two methods come to rest in the same place? For k → ∞, where does each go? (No
# step overshoots: for both tasks $\alpha a < 1$.)

# %%
from metaface_lessons.widgets import quadratic_explorer

a, c = torch.tensor([1.0, 4.0]).double(), torch.tensor([0.0, 1.0]).double()
theta = torch.tensor(0.3).double().requires_grad_()


def bowls(w):
    return a * (w - c) ** 2 / 2  # (3.21), of both tasks


phi = adapt(lambda w: bowls(w).sum(), theta.expand(2), 0.1, 5)
(by_autograd,) = grad(bowls(phi).mean(), theta)
by_hand = yours("maml.meta_gradient", my_meta_gradient)(a, c, theta.detach(), 0.1, 5)  # (3.23)
print("(3.23) agrees:", math.isclose(by_autograd, by_hand, rel_tol=1e-9))

fixed_point = yours("maml.fixed_point", my_fixed_point)
starts = torch.linspace(-0.5, 1.5, 200_001).double()
rows, agree = {}, []
for k in (1, 2, 5, 50):
    state = quadratic_explorer.State(steps=k, rate=0.1)
    rest = quadratic_explorer.fixed_points(state)  # (3.24) with the weights of (3.25)
    agree.append(math.isclose(fixed_point(a, c, 0.1, k), rest[1], rel_tol=1e-6))  # (3.24)
    best = starts[quadratic_explorer.after_adaptation(starts, state).argmin()]
    rows[f"k = {k}"] = [f"{value:.4f}" for value in [*rest, best.abs()]]
print("(3.24) agrees, for MAML:", all(agree))
table(
    rows,
    [*quadratic_explorer.WEIGHTS, "best θ of (3.3), by search"],
    title="where each method comes to rest",
)

# %% [markdown]
# Only MAML's is the θ that is best after k steps: the other three minimise something else. With k → ∞ MAML and FOMAML go to the minimum of the task
# whose r vanishes last, the one with the largest $|1 - \alpha a|$. If no step overshoots, $\alpha a < 1$ for both, that is the wide bowl: the steep
# one is reached from anywhere. (It stays the wide one as long as $\alpha < 2/(a_1 + a_2)$, here 0.4. With α = 0.45 the steep bowl has
# $|1 - \alpha a| = 0.8$ and the wide one 0.55, and the answer turns round.) Reptile goes to the middle, ½, since r vanishes for both. And with k = 1,
# $1 - r = \alpha a$ is proportional to a: **Reptile with one step is joint training**.

# %% [markdown]
# ### Move it yourself
#
# On the left the inner steps that start from where joint training and MAML rest (large marks: before, open marks: after). On the right θ of all four
# methods over the outer steps, *simulated by autograd*, which knows no formula; dashed, the closed form (3.24).
#
# 1. At k = 1, raise the inner rate. Which method moves most, and which not at all?
# 2. At α = 0.10, raise k to 5. On which task is MAML's start the worse one *before* the steps? By how much is it better after them, on average?
# 3. Find a setting in which all four nearly agree. What does it say about when the Hessian matters?

# %%
from metaface_lessons.widgets.explorer import describe

describe(quadratic_explorer.State)

# %%
quadratic_explorer.explore()

# %% [markdown]
# <details><summary>What you may have seen</summary>1. MAML, then FOMAML; joint training never, for it has no inner loop, and Reptile at k = 1 neither: it is joint training. 2. On the steep one. (On average over both, too: joint training is by definition the best <i>before</i> a step.) After the steps MAML has 0.006 where joint training has 0.056. 3. Small α and few steps: then αH is small, (3.13) is nearly the plain gradient, and nothing much is learned in the inner loop either.</details>

# %% [markdown]
# ## 7 · Sinusoids: one network, any curve
#
# Now with a real network, on the test that MAML's authors used. A task is a curve
#
# $$ y = A \sin(x - b), \qquad A \in [0.1, 5], \quad b \in [0, \pi], \quad x \in [-5, 5] \tag{3.26} $$
#
# (all uniform), of which the learner gets ten points. How good can one be *without* learning from them? The best answer that is the same for all
# tasks is the mean of all curves. A and b are independent, the mean of A is 2.55, and the mean of the sine over b is
# $\frac1\pi \int_0^\pi \sin(x-b)\,db = \frac1\pi \big[\cos(x-b)\big]_{b=0}^{\pi} = -\frac2\pi \cos x$:
#
# $$ \bar y(x) = -\tfrac{2}{\pi} \cdot 2.55 \cos x \approx -1.62 \cos x \tag{3.27} $$

# %%
curves, x = (
    SinusoidSampler(shots=1, queries=1, seed=0).curves(tasks=3),
    torch.linspace(-5, 5, 7)[:, None],
)
A, b = curves.amplitude[:, None, None], curves.phase[:, None, None]
print("(3.26) agrees:", torch.allclose(curves(x), A * (x - b).sin()))  # (3.26)

many = SinusoidSampler(shots=1, queries=50, seed=1).sample(tasks=20_000).query
for name, answer in (
    ("the answer 0", 0 * many.x),
    ("the mean of all curves", -2 / torch.pi * 2.55 * many.x.cos()),
):
    print(f"squared error of {name}: {F.mse_loss(answer, many.y):.2f}")  # (3.27)

# %% [markdown]
# Joint training can reach the second number, and no less, *before* it sees the ten points. MAML cannot do better before either! The difference must
# come after. Two networks of the same shape (two hidden layers of 40 units) were trained on the same tasks by the same code: one with k = 1 at α =
# 0.01, one with k = 0, which is (3.4). That takes minutes, so their weights are stored; `metaface experiment sinusoids` trains them again.

# %% [markdown]
# **Predict:** both now take 10 inner steps on ten points of a new curve. MAML was trained for *one*. Does its error go on falling after the first
# step, or does the curve go wild? What do ten steps from the jointly trained network do?

# %%
from metaface_lessons.experiments import sinusoids
from metaface_lessons.widgets import sinusoid_explorer

methods = sinusoids.load_methods()
new = SinusoidSampler(shots=10, queries=50, seed=2).sample(tasks=200)
rows = {}
for name, method in methods.items():
    error = method.trajectory(new, steps=10).query_loss.mean(0)
    rows[name] = [f"{error[k].item():.2f}" for k in (0, 1, 5, 10)]
table(
    rows,
    ["no step", "1 inner step", "5", "10"],
    title="squared error on the queries of 200 new curves",
)

# %% [markdown]
# Before any step both are near the bound (these are 200 other tasks, so not exactly at it). One step takes MAML most of the way, and the following
# ones help, although training never took them. The jointly trained network has the same shape, the same data and the same error at the start, and
# after ten steps it is still well above what MAML has after one: **nothing in (3.4) asks for a start from which one gets far.**

# %% [markdown]
# **Look at single curves,** and move the inner steps one by one.
#
# 1. What does MAML's curve look like *before* any step? Why that?
# 2. After one step: is it right only near the points, or everywhere?
# 3. With 5 points instead of 10, find a task where ten steps do harm between the points.

# %%
describe(sinusoid_explorer.State)

# %%
sinusoid_explorer.explore(sinusoid_explorer.Measured(methods))

# %% [markdown]
# <details><summary>What you may have seen</summary>1. Something like −1.6 cos x: the mean of all curves, for both. 2. Everywhere, also where there are no points: the inner loop changes amplitude and phase of a sine, not single places. It has learned what sinusoids are. 3. Points that leave a gap of more than half a period, often at the border: there the curve is a guess, and five points leave larger gaps.</details>

# %% [markdown]
# ## 8 · Faces: before, during and after
#
# A task is now a 5-way 1-shot episode, as in lesson 01, and the network is the Conv-4 of lesson 02 with a linear head of five outputs. Output 0
# stands for "whoever is label 0 *today*". So before its inner steps the network cannot know whom an output means; the steps have to tell it.
#
# We train on base people at 32×32, with one inner step at α = 0.1: MAML, FOMAML, and **ANIL** ("almost no inner loop", Raghu et al. 2020), whose
# inner loop changes the head alone:
#
# $$ \theta = (\theta_\text{emb}, \theta_\text{head}), \qquad \varphi = \big(\theta_\text{emb},\; \theta_\text{head} - \alpha\, \nabla_{\!\text{head}} L^S(\theta)\big) \tag{3.28} $$
#
# The embedding is still trained, by the outer loop, through (3.3); it just does not move within a task. In the package the three are switches of one
# class. (`fast=False` runs them task by task, as they are derived here. By default the package runs all tasks of a step together, which gives the same
# gradients in less time: `metaface_lessons/learners/fast/`.)

# %% [markdown]
# **Predict:** the numbers of training steps below are such that all take about the same time on one core. Why does MAML get the fewest? Rank MAML,
# FOMAML with one inner step and with three, and ANIL by their accuracy on novel people. And ProtoNet, with the recipe of lesson 02, in the same time:
# above or below them? (The five trainings take about 12 seconds each.)

# %%
import time

from metaface_lessons.experiments.snapshots import snapshot_split
from metaface_lessons.learners.inner_loop import final
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.training import meta_train

STEPS = {"MAML": 360, "FOMAML": 540, "FOMAML, k = 3": 380, "ANIL": 540, "ProtoNet": 500}
SWITCHES = {
    "MAML": {"steps": 1},
    "FOMAML": {"steps": 1, "first_order": True},
    "FOMAML, k = 3": {"steps": 3, "first_order": True},
    "ANIL": {"steps": 1, "adapt": "head"},
}


split = snapshot_split()
small, strangers = (
    split.base.resized(32),
    split.novel.resized(32),
)  # a laptop can train on these while you watch

# %% tags=["nbval-ignore-output"]
learners, seconds = {}, {}


def train(name, net, sampler, **settings):
    start = time.process_time()  # seconds of computing, whatever else the machine is doing
    run = meta_train(net, sampler, steps=STEPS[name] * (8 if FULL else 1), **settings)
    learners[name], seconds[name] = run.learner, time.process_time() - start
    print(f"{name}: trained in {seconds[name]:.0f} s")


for name, switches in SWITCHES.items():
    net = MAML(
        classifier(), test_steps=5, inner_rate=0.1, transductive=True, fast=False, **switches
    )
    train(name, net, EpisodeSampler(small, ways=5, shots=1, queries=5, seed=0), tasks=2, rate=5e-3)
    learners[name].transductive = False  # for the test; section 10 says what that is
net = ProtoNet(Conv4(3, 32, width=32), temperature=64)
train("ProtoNet", net, EpisodeSampler(small, ways=20, shots=1, queries=4, seed=0))

# %% tags=["nbval-ignore-output"]
from metaface_lessons.evaluation import evaluate

results = evaluate(
    learners, EpisodeSampler(strangers, ways=5, shots=1, queries=5, seed=1), episodes=100
)
table(
    {
        name: [f"{seconds[name]:.0f}", r.accuracy, r.ci95, r.ci95_people]
        for name, r in results.items()
    },
    ["seconds", "accuracy", "± over episodes", "± over people"],
    title="5-way 1-shot on novel people, %",
)

# %% [markdown]
# Read it as it stands. In the same time **ProtoNet is ahead**. Of the others the one that does *least* in its inner loop does best: a step of ANIL is
# cheap, so it gets more of them. FOMAML depends on its inner loop: with one step it is behind MAML, though it took half as many outer steps again;
# with three it has caught up. Section 9 looks for the reason. MAML does sinusoids and faces by the same code, whatever the network and the loss,
# while ProtoNet can only compare. And this is one short training of each: lesson 06 compares them all, with several seeds and more time.

# %% [markdown]
# That ANIL does as (3.28) says, for one task and one step:

# %%
tasks = EpisodeSampler(strangers, ways=5, shots=1, queries=5, seed=2).sample(tasks=40)
anil, (x, y) = learners["ANIL"], tasks.support
phi = final(anil.inner_loop(anil.start(Examples(x[:1], y[:1])), Examples(x[:1], y[:1]), steps=1))
(gradient,) = grad(F.cross_entropy(anil.network(x[0]), y[0]), anil.network.head.weight)
agree = torch.allclose(
    phi["weight"][0], anil.network.head.weight - 0.1 * gradient, atol=1e-6
)  # (3.28)
print(f"adapted: {', '.join(phi)} of the head; (3.28) agrees: {agree}")

# %% [markdown]
# Now look inside an adaptation: `trajectory` gives loss and accuracy of every task before the first and after each inner step, and we do ten of them
# where training did one. The other network is the same one, untrained, with the same inner loop.
#
# **Predict** four curves over the inner steps: accuracy on the *support* images and on the *queries*, for the trained and for the untrained start.
# Where does each begin? Which of them reach 100 %?

# %%
starts = {
    "trained": learners["MAML"],
    "untrained": MAML(classifier(), test_steps=5, inner_rate=0.1),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
for ax, (name, learner) in zip(axes, starts.items(), strict=True):
    path = learner.trajectory(tasks, steps=10)
    for accuracy, part, colour, mark in (
        (path.support_accuracy, "support", COLOURS[1], "s-"),
        (path.query_accuracy, "queries", COLOURS[0], "o-"),
    ):
        ax.plot(100 * accuracy.mean(0), mark, color=colour, label=part)
    ax.axhline(20, color="black", ls="--", lw=1)
    ax.set(title=f"{name} start, novel people", xlabel="inner steps", ylim=(0, 105))
axes[0].set_ylabel("accuracy, %")
axes[1].legend(loc="center right")
show(
    fig,
    alt="Accuracy over ten inner steps for a meta-trained and an untrained start. Both begin near"
    " chance, 20 percent, and"
    " both soon have the support images nearly all right. On the queries the trained start jumps"
    " far above chance with the"
    " first step and then hardly changes; the untrained one stays far lower.",
)

# %% [markdown]
# Before the steps there is nothing but chance: the heads' outputs mean nobody. After them *both* know their five support photos by heart, and that is
# why one never reports the support accuracy. The difference is what comes with it. From the meta-trained start the step that fits five photos also
# recognises *other* photos of the same people; from the other start it fits five photos, and little else. And most of the work is done by the first
# step, the one that was trained for.

# %% [markdown]
# ## 9 · When does the Hessian matter?
#
# How far do the first-order and the full meta-gradient point apart? With g for (3.13) and g′ for (3.16), all weights in one long vector each:
#
# $$ \cos(g, g') = \frac{g \cdot g'}{\lVert g \rVert\, \lVert g' \rVert} \tag{3.29} $$
#
# **Predict:** as α goes to 0? As α grows, at one step, and at five? Can it become negative, so that FOMAML steps *up* the loss that MAML steps down?

# %%
probe = EpisodeSampler(small, ways=5, shots=1, queries=5, seed=9).sample(tasks=4)


def whole_gradient(network, steps, rate, first_order):
    net = MAML(network, steps=steps, inner_rate=rate, first_order=first_order, transductive=True)
    net.zero_grad()
    net.meta_gradient(probe)
    return torch.cat([w.grad.flatten() for w in network.parameters()])


rates, networks = (
    (0.003, 0.01, 0.03, 0.1, 0.3),
    {"untrained": classifier(), "MAML": learners["MAML"].network},
)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
for ax, (name, network) in zip(axes, networks.items(), strict=True):
    for i, k in enumerate((1, 3, 5)):
        pairs = [
            [whole_gradient(network, k, rate, first) for first in (False, True)] for rate in rates
        ]
        cosines = [F.cosine_similarity(g, first, dim=0).item() for g, first in pairs]  # (3.29)
        ax.plot(rates, cosines, "os^"[i] + "-", color=COLOURS[i], label=f"k = {k}")
    ax.axhline(0, color="black", lw=1)
    ax.axvline(0.1, color="#777777", ls=":")
    ax.set(title=f"{name} network", xlabel="inner rate α", xscale="log", ylim=(-0.6, 1.05))
axes[0].set_ylabel("cosine of first order and full")
axes[1].legend(loc="lower left")
show(
    fig,
    alt="Cosine between the first-order and the full meta-gradient against the inner rate, on an"
    " untrained and a trained"
    " network, for one, three and five inner steps. It is near 1 at the smallest rate and falls as"
    " the rate grows; at the"
    " rate of our training, 0.1, the two point apart, and at the largest rate they have little or"
    " nothing in common.",
)

# %% [markdown]
# By (3.19) the two agree as α goes to 0, and the figure begins near 1. At our α = 0.1, the dotted line, they point well apart; further right they
# hardly agree at all, and can even oppose each other. That is what FOMAML with one step has paid in section 8: it got more steps, in worse
# directions. Where αH is small the cosine is near 1 and first order the better bargain. The papers report both: on mini-ImageNet 1-shot Finn et al.
# lost 0.6 points by it (48.7 to 48.1 %), on 20-way 1-shot Omniglot Nichol et al. lost 6.4 (95.8 to 89.4 %).
#
# Why then did three steps help FOMAML, though its cosine is hardly better there? One reason, to first order in α: every inner step adds a term
# $-\alpha H^Q \nabla L^S$ of its own to (3.19), so FOMAML with k steps has k of them, where MAML with one step has two such terms. Three steps reward
# agreement between support and queries *more* than MAML's one, without any Hessian. (Lesson 04 counts these terms.) **Do not ask whether first order
# is good enough in general; measure it on your network, with your rate.**

# %% [markdown]
# ## 10 · Batch normalisation, or: what does the test know?
#
# The network normalises each channel by a mean and a variance. **Whose?** With an inner loop the question is sharper than in lesson 02. Two answers
# are common:
#
# * *Transductive:* of the queries, all together, as in the code of the MAML paper. The prediction for a photo then depends on which
#   others are asked with it.
# * *Inductive:* of the support set, which the learner has anyway. Each query is judged by itself. `MAML(transductive=False)`, the default of the package.
#
# **Predict** the accuracy of the same trained MAML, both ways, on novel people, if (a) 25 queries come mixed, five of each person; (b) they come
# person by person, five at a time; (c) one at a time.

# %% tags=["nbval-ignore-output"]
tasks = EpisodeSampler(strangers, ways=5, shots=1, queries=5, seed=3).sample(tasks=60)
net, y = learners["MAML"], tasks.query.y
for net.transductive in (True, False):
    learner = net.adapt(tasks.support)
    row = "transductive" if net.transductive else "inductive   "
    for name, together in (("mixed", 25), ("by person", 5), ("one by one", 1)):
        logits = torch.cat(
            [learner.predict(part) for part in tasks.query.x.split(together, dim=1)], dim=1
        )
        row += f"   {name} {100 * (logits.argmax(-1) == y).float().mean():.1f} %"
    print(row)

# %% [markdown]
# Mixed, as benchmarks ask them, the transductive answer is as good as or a little better than the other. Asked as a door would ask, one person after
# the other, it falls apart: the mean of five photos of *one* person is that person, and normalisation subtracts it. The inductive answer does not
# care. Papers that report transductive numbers are not wrong, but their number is of another task: on mini-ImageNet Nichol et al. report for Reptile
# both, 1-shot, and they differ by almost three points. **Say which one you use.**

# %% [markdown]
# ### And running averages?
#
# In lesson 02 the third answer was the good one: averages over the training. Under an inner loop it is the bad one. The package refuses:

# %%
from metaface_lessons.errors import MetaFaceError

embedding = Conv4(3, 32, width=32, norm="batch")
ordinary = Classifier(embedding, embedding.features, ways=5)
try:
    MAML(ordinary)
except MetaFaceError as error:
    print(textwrap.fill(str(error), 100))

# %% [markdown]
# What would go wrong? We do it by hand. The averages are no weights, so `functional_call` does not replace them: every forward pass writes into the
# network itself, in every inner step, of every task. **Predict:** we adapt to one task, then to twenty others, then to the first one again, from the
# same θ. Do we get the same learner?

# %% tags=["nbval-ignore-output"]
ordinary.load_state_dict(
    classifier().state_dict(), strict=False
)  # the same weights; averages as new


def adapt_and_ask(task):
    names, phi = zip(*ordinary.named_parameters(), strict=True)
    (x, y), (queries, _) = task.support, task.query
    ordinary.train()
    for _ in range(5):
        outputs = functional_call(ordinary, dict(zip(names, phi, strict=True)), (x[0],))
        phi = [
            w - 0.1 * g for w, g in zip(phi, grad(F.cross_entropy(outputs, y[0]), phi), strict=True)
        ]  # (3.2)
    ordinary.eval()
    return functional_call(ordinary, dict(zip(names, phi, strict=True)), (queries[0],)).argmax(-1)


stream = EpisodeSampler(strangers, ways=5, shots=1, queries=15, seed=4).sample(tasks=21).split(1)
before = {name: w.clone() for name, w in ordinary.named_parameters()}
first = adapt_and_ask(stream[0])
for task in stream[1:]:
    adapt_and_ask(task)
again = adapt_and_ask(stream[0])
print(
    "θ is unchanged:", all(torch.equal(w, before[name]) for name, w in ordinary.named_parameters())
)
print(
    f"queries of the first task that are answered as before: {int((first == again).sum())} of"
    f" {len(first)}"
)

# %% [markdown]
# Same θ, same support set, another learner: **other tasks have leaked in**. No test of the weights sees it, and accuracy depends on the order of the
# tasks. Use statistics of the task (`norm="task"`), of each image alone (`norm="group"`), or none.

# %% [markdown]
# ## 11 · How much inner loop does it take?
#
# ANIL did well with an inner loop on the head alone. Does MAML, which may change everything, change everything? **Predict:** which layers move most,
# relative to their size? And what happens to the accuracy if the trained MAML may, *in the test only*, adapt nothing but its head?

# %% tags=["nbval-ignore-output"]
net = learners["MAML"]
weights = final(net.inner_loop(net.start(tasks.support), tasks.support, steps=5))
for name, w in net.network.named_parameters():
    if w.ndim > 1:
        moved = ((weights[name] - w).flatten(1).norm(dim=1) / w.norm()).mean().item()
        print(f"{name:20s} moved by {100 * moved:4.1f} % of its length")

head_only = MAML(net.network, test_steps=5, inner_rate=0.1, adapt="head")
test = EpisodeSampler(strangers, ways=5, shots=1, queries=5, seed=1)
for name, r in evaluate({"all weights": net, "head only": head_only}, test, episodes=100).items():
    print(f"in the test it adapts {name}: {r}")

# %% [markdown]
# The head moves many times as far as any convolution, and taking the rest away costs hardly anything: in the words of Raghu et
# al., it is *feature reuse* rather than rapid learning. What MAML has learned, for faces, is mostly an **embedding** in which a linear head can be
# fitted in a step. That is not far from lesson 02, where the head was written down. (Lesson 09 joins the two.) It need not be so: on the sinusoids of
# section 7 it is worth a try.

# %% [markdown]
# ## 12 · Traps
#
# Two you have met: the lost `create_graph`, and running averages. **The third: sum or mean.** A loss that *sums* over the S support examples has
# gradients S times as large, so the same α is another algorithm:
#
# $$ \theta - \alpha\, \nabla \sum_{s=1}^{S} \ell_s(\theta) \;=\; \theta - (S\alpha)\; \nabla\, \frac1S \sum_{s=1}^{S} \ell_s(\theta) \tag{3.30} $$
#
# MAML's own code divides the sum over N·K examples by K alone. Its inner rate of 0.4 for 5-way Omniglot is therefore 5 · 0.4 = 2.0 for whoever takes
# the mean cross-entropy. Whoever copies 0.4 there trains another algorithm.

# %%
x, y = tasks.support.x[0], tasks.support.y[0]  # N = 5, K = 1
net = classifier().double()
theta = list(net.parameters())
by_paper = grad(F.cross_entropy(net(x), y, reduction="sum") / 1, theta)  # over K
by_mean = grad(F.cross_entropy(net(x), y), theta)  # over N·K
agree = all(
    torch.allclose(0.4 * g, 2.0 * h, rtol=1e-9) for g, h in zip(by_paper, by_mean, strict=True)
)
print("0.4 by the paper's loss is 2.0 by the mean:", agree)  # (3.30)

# %% [markdown]
# **The fourth: an inner loop that diverges.** By (3.22) a step with αa > 2 leaps over the minimum and lands further away than it was; the
# loss grows by (1 − αa)² with each. **Predict:** what does the sinusoid network do at an inner rate of 2?

# %%
try:
    MAML(methods["MAML"].network, inner_rate=2.0, test_steps=10, loss=F.mse_loss).adapt(new.support)
except MetaFaceError as error:
    print(textwrap.fill(str(error), 100))

# %% [markdown]
# ## Quiz
#
# Decide first, then open.
#
# **1. Somebody trains with F(θ) = Σ L(θ) over tasks and calls it MAML, "since θ will be adapted later". What is it?**
#
# <details><summary>MAML with k = 1</summary>No. There is no φ in it: the loss is taken <i>before</i> any step.</details>
# <details><summary>Joint training, (3.4)</summary>Right. It looks for the best place to be, not the best place to start from.</details>
# <details><summary>First-order MAML</summary>No. First order takes its gradient at φ, (3.16), after adapting. This one never adapts.</details>
#
# **2. Why does MAML not run out of memory for Hessians?**
#
# <details><summary>It approximates them by differences of gradients</summary>No. One could, but autograd's products are exact.</details>
# <details><summary>It only ever needs products with a vector</summary>Right, (3.14) and (3.15): one more pass of autograd for each step. What it does hold in memory is the graph of k steps.</details>
# <details><summary>ReLU networks have no second derivatives</summary>No. Each ReLU is piecewise linear, but the loss of the network is not: layers multiply one another, and cross-entropy curves.</details>

# %% [markdown]
# **3. In the quadratics, no inner step overshoots (αa < 1). Why does MAML move to the minimum of the *wide* bowl as k grows?**
#
# <details><summary>It weighs tasks by their curvature</summary>That is joint training: w = a, which favours the steep one.</details>
# <details><summary>The steep one is reached by the inner loop from anywhere</summary>Right. Its r vanishes first, so its weight a·r² does, too: no need to start near.</details>
# <details><summary>The meta-gradient vanishes</summary>It does get small for both, but θ* depends on the <i>ratio</i> of the weights only.</details>
#
# **4. A finite-difference test of a meta-gradient passes at a tolerance of 0.05. What do you know?**
#
# <details><summary>The second-order term is there</summary>Not yet. In section 5 the first-order gradient was nearer than that on the regression.</details>
# <details><summary>Little</summary>Right. A correct one agrees to 1e-6 and better, in double precision on a smooth network.</details>
# <details><summary>That h is well chosen</summary>No. With a good h a right gradient passes at 1e-6; a tolerance of 0.05 hides a bad h as well.</details>

# %% [markdown]
# **5. Support accuracy 100 %, query accuracy 20 % in 5-way episodes, after adaptation. What is it?**
#
# <details><summary>The inner rate is too small</summary>No. The support set has been fitted perfectly.</details>
# <details><summary>A start from which one memorises</summary>Right: as after a training with the support set in place of the queries. (3.3) then asks for no generalisation.</details>
# <details><summary>An untrained start</summary>Close, but in section 8, right panel, even that one gets some queries right by more than chance.</details>
#
# **6. "MAML 49.9, ours 48.5, mini-ImageNet 5-way 1-shot." What do you ask first?**
#
# <details><summary>Whether both are transductive</summary>Right. That choice alone can be worth more than the difference. Then: how many queries, which interval.</details>
# <details><summary>Whether both used second order</summary>Worth knowing, but on that benchmark first order costs little.</details>
# <details><summary>Which optimiser the outer loop had</summary>It matters, but less than whether the two numbers answer the same question.</details>

# %% [markdown]
# ## Recap
#
# * MAML minimises the query loss *after* k inner steps, (3.3): the best place to start from. With k = 0 it is joint training.
# * Its gradient is (3.13): the query gradient at $\varphi_k$, times $I - \alpha H$ for each step. Only products with vectors are needed, (3.15), and
#   autograd does them if the inner gradients keep their graph.
# * First order drops the Hessians, (3.16), and with them half of what rewards agreement between support and queries, (3.19). It costs less; at small
#   αH it is nearly the same, at large it is not.
# * Test a meta-gradient by central differences, in double precision, at 1e-6. At a few percent first order may pass.
# * On quadratics all methods are weighted means, (3.24), with weights a, a·r², a·r, 1 − r.
# * Say whether a number is transductive. Never adapt through running averages. Mind sum and mean, (3.30).
# * On these faces, in equal time, ProtoNet is ahead, and what MAML learns is mostly an embedding. On the sinusoids there is nothing to embed, and
#   MAML does what joint training cannot.
# * `examples/maml.py` is all of it in one short program. Read it beside `examples/protonet.py`: the two differ in the algorithm alone.

# %%
progress("03")

# %% [markdown]
# ## References
#
# * C. Finn, P. Abbeel, S. Levine. *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.* ICML 2017. Algorithms 1 and 2;
#   section 5.1: sinusoids; 5.2: first order.
#   [arXiv:1703.03400](https://arxiv.org/abs/1703.03400)
# * A. Nichol, J. Achiam, J. Schulman. *On First-Order Meta-Learning Algorithms.* [arXiv:1803.02999](https://arxiv.org/abs/1803.02999), 2018. Section 5: the expansion in α; section 6:
#   transduction, with both numbers.
# * A. Raghu, M. Raghu, S. Bengio, O. Vinyals. *Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML.* ICLR 2020. ANIL.
#   [arXiv:1909.09157](https://arxiv.org/abs/1909.09157)
# * A. Antoniou, H. Edwards, A. Storkey. *How to Train Your MAML.* ICLR 2019. What makes the inner loop unstable, batch normalisation among it, and
#   remedies.
#   [arXiv:1810.09502](https://arxiv.org/abs/1810.09502)
# * B. A. Pearlmutter. *Fast Exact Multiplication by the Hessian.* Neural Computation 6(1), 1994, 147-160. Products with Hessians at the cost of a few
#   gradients.
#   [doi:10.1162/neco.1994.6.1.147](https://doi.org/10.1162/neco.1994.6.1.147)

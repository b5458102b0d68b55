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
# # 00 · Start here
#
# Welcome. In this course you teach a computer to recognise people from *one* photo each, people whom it has never seen before,
# in any light, turned away, behind sunglasses. The art is called **meta-learning**: learning how to learn. You will derive its
# algorithms, build them, and measure honestly what they are worth.
#
# **After this lesson you can** run the cells and widgets of a lesson, have your answers checked and ask for hints; say what is
# in a face set, and choose images by condition; say what such a system must not be used for.
#
# **You need** Python and a little PyTorch (tensors, `mean`, indexing). **Time** 20 minutes, with three exercises,
# worth 4 points. **Computing** less than 20 seconds on two CPU cores, once the faces are rendered; no GPU.

# %% [markdown]
# ## Is everything here?
#
# Click into the next cell and press <kbd>Shift</kbd> + <kbd>Enter</kbd>: that runs a cell and goes to the next one. It checks what
# the course needs. `warn` is something optional that is missing. In a terminal, `metaface doctor` says more, with the one-line fix of each.

# %% tags=["nbval-ignore-output"]
from metaface_lessons.doctor import run_doctor

for found in run_doctor():
    print(
        f"{found.status:5s} {found.name}"
        + (f"   fix: {found.fix}" if found.status == "fail" else "")
    )

# %% [markdown]
# ## The faces
#
# Every lesson uses faces, and yet nobody's picture is in this course. Its faces are **synthetic**: our own generator makes a head
# from numbers (how wide the jaw, how long the nose, what hair and skin) and photographs it with a camera that it makes up, too. You see
# none of the people below in any street. What is found on them is never reported as accuracy on real faces; where a lesson speaks of real
# faces, it shows numbers and curves, but no pictures.
#
# The first time, 6,000 images are rendered and kept on your disk, which takes a minute or two. After that they load at once.

# %% tags=["nbval-ignore-output"]
import torch

from metaface_lessons.faces import load_faces
from metaface_lessons.figures import COLOURS, face_grid, show, style

style()
faces = load_faces("procedural")
print(
    f"{len(faces)} images of {len(faces.identities)} people, each {'×'.join(map(str, faces.shape))}"
)

# %% [markdown]
# **Predict:** below are six people, one in each row, in ten pictures each. What will differ within a row, and what will stay?

# %%
who = [0, 1, 2, 3, 4, 5]
rows = torch.cat([faces.images[faces.identity == person][:10] for person in who])
figure = face_grid(rows, columns=10)
show(
    figure,
    alt="Six rows of ten pictures, a row for each of six synthetic people: pose, light, expression,"
    " background and what covers the face change from picture to picture.",
)

# %% [markdown]
# Pose, light, expression and background change, and some faces are partly covered. The person stays. To see the person through all the
# rest is the task of this course; what changes is called **nuisance**.
#
# A `FaceSet` records it. Each picture has a number for its person (`identity`) and, by name, the conditions under which it was taken:

# %%
for name, values in faces.conditions.items():
    if name in faces.levels:
        print(f"{name:16s} one of {', '.join(faces.levels[name])}")
    else:
        print(f"{name:16s} from {values.min():.0f} to {values.max():.0f}")

# %% [markdown]
# `faces.where(…)` finds the pictures that fulfil conditions: a word, or a range `(low, high)`. Angles are in degrees, and a `yaw` of 0
# looks straight into the camera.

# %%
turned_and_masked = faces.where(yaw=(30, 45), occluder="mask")
print(
    f"{int(turned_and_masked.sum())} of {len(faces)} pictures are masked and turned by 30° to 45°"
)
show(
    face_grid(faces.images[turned_and_masked][:8], columns=8),
    alt="Eight synthetic people with a mask over mouth and nose, all turned to the same side.",
)

# %% [markdown]
# ## How exercises work
#
# An exercise is a cell with a gap. Fill the gap, run the cell, and the `check` in it says at once whether your answer is right, and if not, what
# it got, what it wanted, and what the slip may be. It never shows you a page of errors. Try as often as you like.
#
# * Your copy of a lesson opens without outputs, because a **Predict** is worth nothing with the answer in view. Once you have run it, it keeps its outputs:
#   before you go through it again, choose *Edit → Clear Outputs of All Cells*.
# * An exercise that you have not touched is no error: every lesson runs from top to bottom before you have solved anything.
# * `hint("…")` gives a first hint, `hint("…", 2)` the next; after the last, `solution("…")` says what looking at the solution costs, and how to.
# * What you passed is written into `progress.json` in your own folder, `~/metaface-lessons`, beside your copy of the lessons. There is no account. Updating
#   the course never overwrites your work; `metaface reset 00` brings a lesson back as new, after saving yours.
#
# Here is an answer that is wrong, so that you see what that looks like. It is asked how often a guess among `ways` names is right, and gives the
# probability that the guess is *wrong*. (`record=False` only shows the outcome. Your own tries are counted.)

# %%
from metaface_lessons.exercises import check, hint, progress, solution, yours


def too_sure(ways):
    return 1 - 1 / ways


outcome = check("start.chance", too_sure, record=False)
hint("start.chance")

# %% [markdown]
# ### Exercise 1: what guessing is worth
#
# *1 point, 2 minutes.* Somebody shows you a face and `ways` names, and you pick a name at random, each as likely as the next. You are right with probability
#
# $$ p_\text{chance} = \frac{1}{N}, \qquad N = \text{the number of names} \tag{0.1} $$
#
# Whatever we build has to beat this number. Write it as a function of `ways`.


# %% exercise="start-chance"
def chance(ways):
    ### BEGIN SOLUTION
    return 1 / ways  # (0.1)
    ### END SOLUTION


check("start.chance", chance)

# %% [markdown]
# ### Exercise 2: an image without its brightness
#
# *2 points, 4 minutes.* A bright photo and a dark photo of one person differ in every pixel. The first thing that the networks of this course do to an
# image $x$ with $n$ numbers is to take brightness and contrast away:
#
# $$ z = \frac{x - \mu}{\sigma}, \qquad \mu = \frac1n \sum_{i=1}^{n} x_i, \qquad \sigma^2 = \frac1n \sum_{i=1}^{n} (x_i - \mu)^2 \tag{0.2} $$
#
# Write it for one image, a uint8 tensor of shape `[C, H, W]`: channels, height, width. $\mu$ and $\sigma$ are over all its numbers.


# %% exercise="start-standardise"
def standardise_one(image):
    ### BEGIN SOLUTION
    x = image.float()
    return (x - x.mean()) / x.std(unbiased=False)  # (0.2)
    ### END SOLUTION


check("start.standardise", standardise_one)

# %% [markdown]
# The package has the same as `networks.standardise`, for many images at once. Does it agree with (0.2), and is brightness really gone? Where a cell
# needs an answer, `yours("…", …)` is your own function once it passes, and the course's until then. We darken an image by half and compare.

# %%
from metaface_lessons.networks import standardise

image = faces.images[:1]
one = yours("start.standardise", standardise_one)(image[0])  # (0.2)
many = standardise(image.float())
print("equation and package agree:", torch.allclose(one, many[0], atol=1e-5))
print(f"mean of its numbers {abs(one.mean()):.1f}, mean of their squares {one.square().mean():.1f}")
print(
    "a picture half as bright comes out the same:",
    torch.allclose(many, standardise(0.5 * image.float()), atol=1e-5),
)

# %% [markdown]
# ### Exercise 3: how many look at you?
#
# *1 point, 3 minutes.* Count the pictures of a face set that are nearly frontal, with a yaw of −15° to 15°, and on which nothing covers the face (`occluder` is
# `none`). The answer is a whole number.


# %% exercise="start-frontal"
def frontal_and_bare(faces):
    ### BEGIN SOLUTION
    return int(faces.where(yaw=(-15, 15), occluder="none").sum())
    ### END SOLUTION


check("start.frontal", frontal_and_bare)

# %% [markdown]
# Where are you? This panel shows it, here and in every lesson; `metaface check` prints it in a terminal.

# %%
progress("00")

# %% [markdown]
# ## When you come back
#
# A notebook that you open again shows the pictures and numbers of its last run, but nothing runs behind them. Until you run its cell again, a widget is a
# **picture**: its sliders do nothing. A cell that needs an earlier one stops with `NameError`. So, the day after, or after *Restart Kernel*:
#
# 1. Click into the cell where you stopped.
# 2. Choose *Run ▸ Run All Above Selected Cell*. Nothing that you wrote is lost, and your points stay.
#
# <kbd>Ctrl</kbd> + <kbd>B</kbd> (on a Mac <kbd>⌘</kbd> + <kbd>B</kbd>) closes the side bar, so that wide formulas and tables have room; the same keys open it
# again.

# %% [markdown]
# ## Turn a head yourself
#
# **Predict:** which change makes a face hardest to recognise: turning the head, moving the lamp, or a scarf? Then try: drag a slider, or click it and
# use the arrow keys. Person, pose and light are numbers, and the picture is computed from them.

# %%
from metaface_lessons.widgets import face_explorer

face_explorer.explore(face_explorer.State(person=5))

# %% [markdown]
# You recognised the person all the time. How far apart are the pictures in numbers? We measure the mean squared difference of the standardised
# pixels, for one change each.
#
# **Predict** the longest of the four bars: a lamp at the side, a turned head, a scarf, or another person?

# %%
from matplotlib import pyplot as plt

start = face_explorer.State(person=5)
changed = {
    "lamp at the side": face_explorer.State(person=5, light_azimuth=80),
    "head turned by 35°": face_explorer.State(person=5, yaw=35),
    "scarf": face_explorer.State(person=5, occluder="scarf"),
    "another person": face_explorer.State(person=6),
}
before = standardise(face_explorer.picture(start)[None])
distance = {
    name: (standardise(face_explorer.picture(s)[None]) - before).square().mean().item()
    for name, s in changed.items()
}

# %%
figure, axes = plt.subplots(figsize=(8, 2.6))
axes.barh(list(distance), list(distance.values()), color=[COLOURS[0]] * 3 + [COLOURS[1]])
axes.invert_yaxis()
axes.set_xlabel("mean squared difference of standardised pixels")
words = ", ".join(f"{name} {value:.1f}" for name, value in distance.items())
show(figure, alt=f"Mean squared difference of pixels to the picture before the change: {words}.")

# %% [markdown]
# If recognition meant comparing pixels, some of those changes would turn you into somebody else. That is the whole problem in one picture: the
# distance between pixels is not the distance between people. Lesson 02 learns a better one.
#
# ## Data, consent, and what this must not be used for
#
# A face cannot be changed like a password. Where a system turns it into a template that identifies a person, the law of the European Union
# calls that *biometric data* (GDPR Art. 4(14)), a special category (Art. 9) that may be processed only under strict conditions; since February
# 2025 the EU AI Act (Art. 5(1)(e)) bans building recognition databases by untargeted scraping of images.
#
# Such systems err, and not equally for everyone: in 2018 the *Gender Shades* study found commercial gender classifiers that erred on up to 34.7%
# of darker-skinned women and on at most 0.8% of lighter-skinned men. Lesson 16 will measure such differences.
#
# So three rules hold in this course. **No picture of a real person is stored** in a notebook. **Every face set has a data card** in the folder `data/` of your
# clone of the course:
# where it comes from, who consented, what it must not be used for. **Ask before you use a photo of somebody**, and stop when they say no.
#
# ## Budgets
#
# Each lesson says what it costs. By default it keeps to a `quick` budget that two CPU cores can pay. Start JupyterLab with
# `METAFACE_BUDGET=full` for the longer experiments; a GPU is used where there is one.
#
# ## Quiz
#
# **1. You run a lesson from top to bottom without solving anything. What happens?**
#
# <details><summary>It stops at the first exercise.</summary>No. An untouched exercise is reported as not attempted, and the lesson goes on.</details>
# <details><summary>It runs through; every check says that nothing was attempted.</summary>Right: where a later cell
# needs an answer, it takes yours once that passes, and the course's until then.</details>
# <details><summary>The solutions are filled in.</summary>No, nothing is filled in for you. Ask for hints when you are stuck.</details>
#
# **2. A recogniser names the right one of 20 people in 10% of the tries. Is it better than guessing?**
#
# <details><summary>No, 10% is close to nothing.</summary>It is low, but compare with (0.1): chance is 5%, and 10% is twice that, if there were enough tries to tell.</details>
# <details><summary>Yes: chance is 5%.</summary>Right. Always ask first what guessing would give. How many tries it takes to be sure is in lesson 01.</details>
# <details><summary>One cannot say, since the people are unknown.</summary>Chance depends on how many names there are, not on whose they are.</details>
#
# **3. May you collect photos of strangers from a social network to try this course on them?**
#
# <details><summary>Yes, they are public.</summary>No. Public does not mean that they consented, and building recognition databases from scraped images is banned in the EU.</details>
# <details><summary>Yes, for learning only, and without publishing them.</summary>No. The purpose does not replace consent. Use the synthetic faces,
# or people whom you asked.</details>
# <details><summary>No. Use the synthetic faces, or ask people first.</summary>Right.</details>
#
# ## Recap
#
# * What differs between pictures of a person is nuisance; a `FaceSet` records it, and `where` chooses by it.
# * Chance is one in N, equation (0.1). Standardised images know neither brightness nor contrast, equation (0.2).
# * Checks say what is wrong, hints come in steps, and your work is kept in your own folder.
#
# **Next:** lesson 01 asks what it means to learn from one picture of each person, and how one measures that without fooling oneself.
#
# ## References
#
# * J. Buolamwini and T. Gebru. Gender Shades: Intersectional Accuracy Disparities in Commercial Gender Classification. *Conference on Fairness,
#   Accountability and Transparency*, 2018.
#   [proceedings.mlr.press](https://proceedings.mlr.press/v81/buolamwini18a.html)
# * T. Gebru et al. Datasheets for Datasets. *Communications of the ACM* 64(12), 2021 (first version 2018).
#   [arXiv:1803.09010](https://arxiv.org/abs/1803.09010)
# * [Regulation (EU) 2016/679](https://eur-lex.europa.eu/eli/reg/2016/679/oj) (General Data Protection Regulation), Art. 4 and 9. [Regulation (EU) 2024/1689](https://eur-lex.europa.eu/eli/reg/2024/1689/oj) (Artificial Intelligence Act), Art. 5.

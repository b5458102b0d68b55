"""Faster formulations of what the course derives plainly. Tests hold each equal to the plain one.

You do not need them to understand the algorithms. `channel_groups.ChannelGroups` runs Conv-4 for several tasks at once,
each with its own weights; MAML uses it in place of `inner_loop.OneByOne`. `layers` has its layers, each with its
gradient and the derivative of that gradient.

`data/results/maml-speed.json` holds how much faster than learn2learn this is, case by case, and
`data/results/maml-speed-zen5.json` the same for another processor. `python -m benchmarks.maml` measures it again.
"""

from .channel_groups import ChannelGroups

__all__ = ["ChannelGroups"]

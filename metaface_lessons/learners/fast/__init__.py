"""Faster formulations of what the course derives plainly, each tested equal to the plain one beside which it stands.

None is needed to understand the algorithms. `channel_groups.ChannelGroups` runs Conv-4 for several tasks at once, each
with weights of its own; it takes the place of `inner_loop.OneByOne` in MAML. How much faster than learn2learn it is
stands in `data/results/maml-speed.json`, case by case, and for another processor in `maml-speed-zen5.json`;
`python -m benchmarks.maml` measures it again.
`layers` has the layers of which it is made, each with its gradient and with how that changes as the weights move.
"""

from .channel_groups import ChannelGroups

__all__ = ["ChannelGroups"]

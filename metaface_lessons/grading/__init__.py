"""Marks that can be trusted: submissions run locked up, the checker stays outside and exchanges only numbers with them.

messages.py      what the two say to each other         visible_package.py the package that a submission finds
lock.py      limits, and the way into the lock      worker.py    runs the submission's answers inside it
sandbox.py   starts and ends a locked process       remote.py    an answer in there, called like a function
marks.py     from a submitted notebook to marks     classroom.py the same for a class, around nbgrader
"""

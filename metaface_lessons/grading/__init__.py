"""Marks that can be trusted: a submission runs in a locked process, and the checker stays outside.

The two exchange only numbers and text.

lock.py             locks a process: limits, an empty folder as its root, no privileges
sandbox.py          starts a locked process, and ends it
visible_package.py  the part of the package that a submission can import
messages.py         what the checker and the locked process send to each other
worker.py           runs inside the locked process: the cells and answers of one submission
remote.py           runs outside: calls an answer in the locked process like a function
marks.py            turns a submitted notebook into marks
classroom.py        does so for a class, around nbgrader
collect.py          collects submissions from nbgrader's exchange
"""

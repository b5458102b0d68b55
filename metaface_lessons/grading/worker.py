"""The sandbox's side: runs the answer cells of one submission, and calls its answers when the checker asks.

After its first line, the submission controls everything in this process. So nothing is here that it may not know or
change, and the checker trusts only the numbers that it sends.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .lock import lock, stay_alone
from .messages import Decoder, Encoder, Unsendable, receive, send, snapshot

_FOREVER = 10.0**9  # the checker watches the clock
_FILES = 1 << 20  # more than a process has open


def main(room: str | None, user: int | None) -> None:
    """Serve the checker over file 0, after `lock(room, user, …)`."""
    channel = socket.socket(fileno=os.dup(0))
    for file in (0, 1, 2):  # the output of answers is dropped
        os.dup2(os.open(os.devnull, os.O_RDWR), file)
    start, _ = receive(channel, _FOREVER)
    if room is not None:
        stay_alone()
    space: dict[str, Any] = {"__name__": "__main__", "hint": _nothing, "progress": _nothing, "display": _nothing}
    for statement in start["setup"]:
        with contextlib.suppress(ImportError, AttributeError):  # a module that the submission must not have
            exec(statement, space)
    for module in start["modules"]:
        with contextlib.suppress(BaseException):  # some modules are programs, and exit
            importlib.import_module(module)
    import_what_torch_puts_off(start["optimisers"])
    os.closerange(channel.fileno() + 1, _FILES)  # what modules opened
    lock(room, user, start["cpu_seconds"])
    _Worker(channel, space).serve()


class _Worker:
    def __init__(self, channel: socket.socket, space: dict[str, Any]) -> None:
        self.channel, self.space = channel, space
        self.answers: dict[str, Any] = {}
        self.graphs: list[tuple[list[Tensor], list[Tensor]]] = []  # of each call: arguments and results
        self.kept: list[Any] = []  # what an answer may change: handed over again, it is what the last call left
        space["check"] = self.hand_in

    def hand_in(self, exercise: str, answer: Any, record: bool = True) -> None:
        """What `check` is to an answer cell."""
        self.answers[exercise] = answer

    def serve(self) -> None:
        self.reply({"ready": True}, [])
        while True:
            message, numbers = receive(self.channel, _FOREVER)
            action: Callable[..., tuple[Any, list[bytes]]] = getattr(self, f"do_{message.pop('do')}")
            try:
                reply, data = action(numbers=numbers, **message)
                self.reply(reply, data)
            except Unsendable as error:
                self.reply({"unsendable": str(error)}, [])
            except BaseException as error:  # SystemExit and KeyboardInterrupt as well
                self.reply({"raised": _described(error)}, [])

    def reply(self, tree: Any, numbers: list[bytes]) -> None:
        send(self.channel, tree, numbers, time.monotonic() + _FOREVER)

    def do_run(
        self, numbers: memoryview, exercise: str, source: str, name: str, before: list[str]
    ) -> tuple[Any, list[bytes]]:
        """Run an answer cell.

        numbers: of the message; there are none.
        exercise: the exercise that it answers.
        source: its text.
        name: the answer's name, for a cell that hands nothing to `check`.
        before: the texts of earlier cells with the same id. An error in one counts only if the last fails as well.
        An error in the last counts unless the answer is there by then: trying it on the lesson's variables, which are
        not here, costs no points.
        """
        _forget_settings()
        self.graphs.clear()
        self.kept.clear()
        self.answers.pop(exercise, None)
        errors = [self._ran(text, exercise) for text in before]
        earlier = self.answers.get(exercise), self.space.get(name)
        errors.append(self._ran(source, exercise))
        if errors[-1] is not None and self.answers.get(exercise) is earlier[0] and self.space.get(name) is earlier[1]:
            raise next(error for error in errors if error is not None)
        answer = self.answers.setdefault(exercise, self.space.get(name))
        if callable(answer):
            return {"callable": True}, []
        encoder = Encoder()
        return {"callable": False, "value": encoder(None if answer is ... else answer)}, encoder.numbers

    def _ran(self, text: str, exercise: str) -> BaseException | None:
        try:
            exec(compile(text, f"<{exercise}>", "exec"), self.space)
        except BaseException as error:  # SystemExit and KeyboardInterrupt as well
            return error
        return None

    def do_call(self, numbers: memoryview, exercise: str, arguments: Any) -> tuple[Any, list[bytes]]:
        decoder = Decoder(numbers, records=True, kept=self.kept)
        args, kwargs = decoder.all(arguments)
        _forget_settings()
        result = self.answers[exercise](*args, **kwargs)
        encoder = Encoder()
        reply = {"result": encoder(result)}
        tensors = [value for value in decoder.mutable if isinstance(value, Tensor)]
        self.graphs.append((tensors, list(encoder.mutable)))
        reply["after"] = encoder([snapshot(value) for value in decoder.mutable])
        return reply, encoder.numbers

    def do_pull(self, numbers: memoryview, call: int, cotangents: Any) -> tuple[Any, list[bytes]]:
        """The vector-Jacobian product of a call: from the gradients of its results to those of its arguments."""
        tensors, results = self.graphs[call]
        pairs = [(r, c) for r, c in zip(results, Decoder(numbers).all(cotangents), strict=True) if c is not None]
        gradients = torch.autograd.grad(
            [r for r, _ in pairs], tensors, [c for _, c in pairs], retain_graph=True, allow_unused=True
        )
        encoder = Encoder()
        return {"gradients": encoder([None if g is None else g.detach() for g in gradients])}, encoder.numbers


def _forget_settings() -> None:
    """What one answer has set for the whole process must not count against the next."""
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


def _described(error: BaseException) -> list[str]:
    """The type and text of an error, and the innermost line of the submission that raised it."""
    where = ""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.startswith("<"):
            where = f"in line {traceback.tb_lineno} of the cell"
        traceback = traceback.tb_next
    return [type(error).__name__, str(error)[:2000], where]


def import_what_torch_puts_off(optimisers: bool) -> None:
    """Use what PyTorch imports only when it is first needed: after `lock` no file can be read, and a clock runs.

    optimisers: whether answers need them.
    """
    weight = torch.ones(2, 2, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(weight, torch.tensor([0, 1]))
    torch.autograd.grad(loss, weight, create_graph=True)
    torch.func.vmap(torch.func.grad(lambda w: w.pow(3).sum()))(weight.detach())
    torch.func.hessian(lambda w: w.pow(3).sum())(torch.ones(2))
    repr(weight)  # as an answer's `print` does
    if optimisers:
        optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        optimiser.zero_grad()
        weight.sum().backward()
        optimiser.step()

"""A few steps of optimizers, in a process in which torch.optim is still as torch has it."""

import sys

import torch
from lid_mapmix.host.optimization import skip_dynamo


def train_lines(names, without):
    """Print whether torch._dynamo is there, and the weights after five steps, state saved and loaded between.

    A line per optimizer; `without` torch._dynamo or as torch has it.
    """
    if without:
        skip_dynamo()
    for name in names:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 6))
        optimizer = getattr(torch.optim, name)([weight], lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            weight.exp().square().sum().backward()
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        print("torch._dynamo" in sys.modules, *(value.hex() for value in weight.tolist()))

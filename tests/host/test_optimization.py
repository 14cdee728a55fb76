import pytest
import torch
from helpers.forking import run_forked
from helpers.optimizing import train_lines
from lid_mapmix.host.optimization import skip_dynamo, with_fused

ADAM = {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-3}


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_is_fused_and_steps_as_it_did(name):
    section = ADAM | {"torch_optim_name": name}
    chosen = with_fused(section, None)
    assert chosen == section | {"fused": True}
    assert "fused" not in section
    parameters = [[torch.nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2)] for _ in range(2)]
    optimizers = [
        getattr(torch.optim, name)(group, lr=1e-3, weight_decay=0.1, fused=fused)
        for group, fused in zip(parameters, (True, False), strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        gradients = [torch.randn(50, generator=generator) for _ in range(2)]
        for group, optimizer in zip(parameters, optimizers, strict=True):
            for parameter, gradient in zip(group, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    for one, other in zip(*parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "AdamW", "lr": 1.0},
        ADAM | {"torch_optim_name": "SGD"},
        ADAM | {"fused": False},
        ADAM | {"foreach": True},
    ],
)
def test_others_stay_as_they_were_asked_for(section):
    assert with_fused(section, None) == section


@pytest.mark.parametrize(("began", "goes_on"), [(True, True), (None, None), (False, None)])
def test_a_run_goes_on_with_the_kernel_it_began_with(began, goes_on):
    parameter = torch.nn.Parameter(torch.ones(3))
    state = torch.optim.Adam([parameter], fused=began).state_dict()
    assert with_fused(ADAM, state).get("fused") == goes_on


OPTIMIZERS = ("Adam", "AdamW", "SGD", "Adagrad", "NAdam", "RMSprop")


@pytest.fixture(scope="module")
def trained_lines():
    """Return the steps of each optimizer as torch has it, and without torch._dynamo, in a process each."""
    # What torch's own decorators wrap, called in a process where none of them was replaced.
    processes = [run_forked(train_lines, OPTIMIZERS, without, timeout=60) for without in (False, True)]
    assert [each.returncode for each in processes] == [0, 0], [each.stderr for each in processes]
    plain, without = (each.stdout.splitlines() for each in processes)
    return dict(zip(OPTIMIZERS, zip(plain, without, strict=True), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_the_same_without_torch_dynamo(name, trained_lines):
    plain, without = (line.split() for line in trained_lines[name])
    assert (plain[0], without[0]) == ("True", "False"), "whether torch._dynamo was imported"
    assert plain[1:] == without[1:] and len(plain) == 7


def test_gradients_of_a_step_are_still_there_for_who_asks_for_them():
    weight = torch.ones(1, requires_grad=True)
    skip_dynamo()
    optimizer = torch.optim.SGD([weight.clone()], lr=0.1, differentiable=True)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    optimizer.step()
    assert optimizer.param_groups[0]["params"][0].requires_grad

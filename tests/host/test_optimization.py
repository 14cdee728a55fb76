import pytest
import torch
from lid_mapmix.host.optimization import with_fused

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

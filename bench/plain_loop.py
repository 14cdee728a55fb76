"""The loop that a user would write for a step of Map-Mix, against which train_step.py times ours."""

import copy
from contextlib import nullcontext
from typing import Any

import torch
from hugging_face import hugging_face_settings, hugging_face_weights
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode


class PlainLoop:
    """What a user would write: transformers' model, two forwards, a head and Adam; it starts from our weights.

    Parameters
    ----------
    runner : S3PRL's, whose upstream and downstream it copies.
    device : where it computes.
    precision : fp32 or bf16.
    """

    def __init__(self, runner: Any, device: str, precision: str) -> None:
        from transformers import Wav2Vec2Config, Wav2Vec2Model  # noqa: PLC0415

        self.device = torch.device(device)
        self.autocast = precision == "bf16"
        native, head = runner.upstream.model.model, runner.downstream.model.model
        self.model = Wav2Vec2Model(Wav2Vec2Config(**hugging_face_settings(native)))
        self.model.load_state_dict(hugging_face_weights(native))
        self.model.freeze_feature_encoder()
        self.score = nn.Linear(*reversed(head.pooling.score.weight.shape))
        self.score.load_state_dict(head.pooling.score.state_dict())
        self.classifier = nn.Sequential(*(copy.deepcopy(layer) for layer in head.classifier))
        self.parts = nn.ModuleList([self.model, self.score, self.classifier]).to(self.device).train()
        settings = runner.config["optimizer"]
        self.optimizer = torch.optim.Adam(self.parts.parameters(), lr=settings["lr"])
        self.clipping = runner.config["runner"]["gradient_clipping"]

    def step(
        self, anchors: torch.Tensor, partners: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor], weight: float
    ) -> torch.Tensor:
        """Make a step and return its loss; waveforms are on the CPU, as a loader gives them."""
        context = torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext()
        with context:
            latent = weight * self._latents(anchors) + (1 - weight) * self._latents(partners)
            logits = self.classifier(latent)
        target = (weight * targets[0] + (1 - weight) * targets[1]).to(self.device)
        loss = functional.cross_entropy(logits.float(), target)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parts.parameters(), self.clipping)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def operations(self, waveforms: torch.Tensor) -> float:
        """Count the floating point operations of the products of a step, forward and backward."""
        counter = FlopCounterMode(display=False)
        with counter:
            self._latents(waveforms).sum().backward()
        self.optimizer.zero_grad()
        return counter.get_total_flops()

    def _latents(self, waveforms: torch.Tensor) -> torch.Tensor:
        frames = self.model(waveforms.to(self.device)).last_hidden_state
        weights = self.score(frames).softmax(dim=1)
        return (weights * frames).sum(dim=1)

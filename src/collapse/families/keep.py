"""The weights of a training run that are lowest in loss on a validation set, while it goes on."""

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from collapse.errors import TrainingError


class Best:
    """The best weights of those looked at so far.

    Args:
        weights: (P,), the flat buffer that training changes.
        look: returns the cross-entropy on the validation set at these weights.
    """

    def __init__(self, weights: Tensor, look: Callable[[], float]):
        self._weights, self._look = weights, look
        self._kept, self.step, self.losses = weights.clone(), 0, []

    def look(self, step: int) -> None:
        """Look at the weights after a step, and keep them where none before had a loss as low.

        Raises:
            TrainingError: the loss is not finite.
        """
        loss = self._look()
        if not isfinite(loss):
            raise TrainingError(f"the loss on the validation set is {loss} after step {step}: lower `learning_rate`")
        if loss < min(self.losses, default=torch.inf):
            self._kept.copy_(self._weights)
            self.step = step
        self.losses.append(loss)

    def put_back(self) -> None:
        """Give training's weights the values of the best ones."""
        self._weights.copy_(self._kept)

    def facts(self, steps_of_a_pass: int) -> dict[str, Any]:
        """Return the losses in nats per token, one for each look, the lowest of them, and after how many passes."""
        return {
            "validation_losses": list(self.losses),
            "validation_loss": min(self.losses),
            "kept_pass": self.step / steps_of_a_pass,
        }

    def state(self) -> dict[str, Any]:
        """Return all of it, arrays and JSON-able values."""
        return {"best": self._kept.cpu().numpy(), "looks": {"step": self.step, "losses": list(self.losses)}}

    def restore(self, best: np.ndarray, looks: dict[str, Any]) -> None:
        """Go back to where `state` was called."""
        self._kept.copy_(torch.from_numpy(best.copy()))
        self.step, self.losses = looks["step"], list(looks["losses"])

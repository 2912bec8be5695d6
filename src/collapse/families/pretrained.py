"""Models as transformers saves them: a folder with ``config.json`` and weights.

Weights are ``model.safetensors``, or ``pytorch_model.bin``, all that some older models have. The latter is a pickle: it
goes through torch's restricted unpickler, which makes tensors and plain containers and refuses anything else, unrun.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from collapse.errors import DataError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def settings(folder: str | Path, *needed: str) -> dict[str, Any]:
    """Return what ``config.json`` says. Raises DataError: missing, broken, or without a setting that is needed."""
    path = Path(folder) / "config.json"
    try:
        told = json.loads(path.read_bytes())
        missing = [name for name in needed if name not in told]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not JSON with settings ({error}): fetch it anew") from error
    if missing:
        raise DataError(f"{path} does not say {', '.join(missing)}: it is of another model, or broken")
    return told


def weights(folder: str | Path) -> dict[str, Tensor]:
    """Return the weights of a folder.

    Raises:
        DataError: they are missing, broken, in several files, or a pickle of more than tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if (path := folder / WEIGHTS[0]).exists():
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise DataError(f"{path} is truncated or not safetensors ({error}): fetch it anew") from error
    if (path := folder / WEIGHTS[1]).exists():
        return _unpickled(path)
    others = sorted(p.name for pattern in ("*.bin", "*.index.json") for p in folder.glob(pattern))
    hint = f", only {', '.join(others)}: weights in several files are not read" if others else ""
    raise DataError(
        f"{folder} has neither {' nor '.join(WEIGHTS)}{hint}; transformers writes the first: "
        f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(<another folder>)"
    )


def _unpickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickle. Raises DataError where it is broken, or asks for anything but tensors."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever the bytes lead it to
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is broken, or holds more than tensors, and was not loaded: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{path} holds no weights by name: fetch it anew")
    return found

"""LoRA: low-rank matrices beside frozen weights (Hu et al. 2022, arXiv 2106.09685), by peft.

What is published is peft's own format, so that `PeftModel.from_pretrained` reads it as well.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from winnow.core import files
from winnow.core.errors import Refusal, loading
from winnow.core.experiments import Adapter

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""Before every name in a file of peft's."""


def add(network: Any, adapter: Adapter, base: str, task: str = "CAUSAL_LM") -> None:
    """Freeze a model of transformers, and give its layers fresh matrices from torch's seed.

    Args:
        network: a PreTrainedModel; it is changed in place.
        adapter: what params.yaml declares.
        base: the folder, or the hub id with its commit, of the frozen weights.
        task: peft's name for what the model does.

    Raises:
        Refusal: the model has no layer of the adapter's targets.
    """
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    name, _, revision = base.partition("@")
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules="all-linear" if adapter.targets is None else list(adapter.targets),
        task_type=task,
        # GPT-2's layers hold their weights the other way round.
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in network.modules()),
        revision=revision or None,
    )
    with loading("params.yaml: train.models: adapter: it fits no layer of the model"):
        network.add_adapter(config)
    config.base_model_name_or_path = name


def _tensors(network: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    found: dict[str, torch.Tensor] = get_peft_model_state_dict(network, save_embedding_layers=False)
    return found


def save(network: Any, folder: Path) -> None:
    """Write the matrices and their configuration, and nothing of the frozen weights."""
    tensors = {f"{PREFIX}{name}": value for name, value in _tensors(network).items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    config = network.peft_config["default"].to_dict() | {"inference_mode": True}
    # Sets have another order in each process.
    sets = {key: sorted(value) for key, value in config.items() if isinstance(value, set)}
    files.write_json(folder / CONFIG, config | sets)


def read(network: Any, folder: Path) -> None:
    """Fill the matrices that `add` made with those of a folder.

    Raises:
        Refusal: they are of another rank or of other layers.
    """
    from peft import set_peft_model_state_dict

    with loading(f"{folder / WEIGHTS} cannot be loaded"):
        stored = load_file(folder / WEIGHTS)
    tensors = {name.removeprefix(PREFIX): value for name, value in stored.items()}
    shapes = {name: value.shape for name, value in _tensors(network).items()}
    if {name: value.shape for name, value in tensors.items()} != shapes:
        raise Refusal(f"{folder / WEIGHTS} does not fit the model that it is declared for")
    set_peft_model_state_dict(network, tensors)


def merge(network: Any) -> None:
    """Add the product of the matrices to the weights beside them, and forget the matrices: the
    same model without an adapter, but for rounding."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            network.set_submodule(name, module.get_base_layer())
    network._hf_peft_config_loaded = False

"""Layer numbering: the one place for it.

Layer k = 1..L is the residual stream after decoder block k, before the final norm. Counted as

    transformers, forward hook:        `layers[k - 1]` output
    transformers, hidden_states[i]:    i = k, except that i = L is after the final norm (so T2 never uses it)
    vLLM aux hidden state (EAGLE-3):   id k, before the final norm for every k
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from t2.errors import T2Error

LayerChoice = Literal["every-4th", "every-2nd", "all", "last"] | list[int]
_STRIDES = {"every-4th": 4, "every-2nd": 2, "all": 1}


def choose_layers(choice: LayerChoice, num_layers: int) -> tuple[int, ...]:
    """Layer numbers for a model of `num_layers` blocks, rising; the named choices always contain the last.

    Raises:
        T2Error: a layer outside 1..num_layers, a repeated one, or none.
    """
    if choice == "last":
        return (num_layers,)
    if isinstance(choice, str):
        stride = _STRIDES[choice]
        return tuple(sorted({*range(stride, num_layers + 1, stride), num_layers}))
    layers = tuple(sorted(set(choice)))
    if not layers or len(layers) != len(choice) or layers[0] < 1 or layers[-1] > num_layers:
        raise T2Error(
            f"Expected distinct layers between 1 and {num_layers} (blocks of this model), got {choice}. "
            "Change `model.layers`."
        )
    return layers


def hook_index(layer: int) -> int:
    """Index into transformers' list of decoder blocks."""
    return layer - 1


def decoder_blocks(model: Any) -> nn.ModuleList:
    """The decoder blocks of a transformers model, found by structure.

    Lists inside a block do not count: as many experts as there are blocks are no blocks.

    Raises:
        T2Error: not exactly one outermost ModuleList of `num_hidden_layers` modules.
    """
    expected = model.config.get_text_config().num_hidden_layers
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():  # parents come before what is inside them
        inside = any(name.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) == expected and not inside:
            lists[name] = module
    if len(lists) != 1:
        raise T2Error(
            f"Expected one list of {expected} decoder blocks in {type(model).__name__}, got {len(lists)}. "
            "This architecture is not supported yet."
        )
    return next(iter(lists.values()))

"""What PEFT writes and is not read here, as a table: the tensor's name, and why.

PEFT has many kinds of adapters. Those whose formula is that of one of our algorithms are read
(LoRA, DoRA, LoHa, LoKr); all others are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from lycoris_ext.errors import Faults, FormatError
from lycoris_ext.formats.keys import PEFT, split_key

_OFT = "oft_R"
_ROTATES_INPUTS = "which rotates the inputs of a layer; that of LyCORIS rotates its outputs"
_WEIGHT, _BIAS = "weight", "bias"
_OTHER = "a kind of adapter that no algorithm here computes"
#: Names of tensors -> what they belong to, and why that is not read.
_UNREAD = {
    ("ia3_l",): "(IA)^3, which scales biases, too; that of LyCORIS scales the weights alone",
    (_OFT, "oft_r"): f"OFT, {_ROTATES_INPUTS}",
    ("boft_R", "boft_s"): f"BOFT, {_ROTATES_INPUTS}",
    ("lora_A.bias",): "LoRA with a bias behind its first factor",
    ("lora_E",): "AdaLoRA, which has singular values between its factors",
    ("trainable_tokens_delta",): "new words of an embedding (trainable_token_indices)",
    ("ln_tuning_layers.weight", "ln_tuning_layers.bias"): "normalisations as a whole (LN tuning)",
    (_WEIGHT,): "layers as a whole (modules_to_save), not differences to those of the model",
    (_BIAS, "base_layer.bias"): (
        'biases as a whole (bias = "all" or "lora_only"), not differences to those of the model'
    ),
}
_REASONS = {name: reason for names, reason in _UNREAD.items() for name in names}
_NAME = re.compile(
    rf"\.({'|'.join(re.escape(name) for name in _REASONS if name not in (_WEIGHT, _BIAS))})"
    r"(?:\.default)?(?:\.weight)?$"
)


def refuse_unread(keys: Collection[str]) -> None:
    """Raise an error if a file holds tensors of a form that only PEFT has.

    Args:
        keys: all keys of the file.

    Raises:
        FormatError: it does; each form is named once, all of them in one error.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, key in _unread(keys):
        found.setdefault(_REASONS.get(name, _OTHER), []).append((name, key))
    if len(found) > 1:
        found.pop(_OTHER, None)  # such as the factors of AdaLoRA, whose name is known
    Faults(_fault(reason, *some[0], len(some)) for reason, some in found.items()).raise_all()


def _unread(keys: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (name of the tensor, key) of each tensor of a form that is not read."""
    for key in keys:
        match = _NAME.search(key)
        if match:
            yield match[1], key
        elif key.startswith(PEFT):
            layer, name = split_key(key)
            parent, _, last = key.rpartition(".")
            if name == _WEIGHT and f"{layer}.on_input" not in keys:
                yield _WEIGHT, key
            elif not name and not (last == _BIAS and f"{parent}.{_WEIGHT}" in keys):
                yield last, key


def _fault(reason: str, name: str, key: str, number: int) -> FormatError:
    writer, mend = "PEFT", "merge it into the model with PEFT (merge_and_unload)"
    if name == _OFT and not key.startswith(PEFT):
        writer, mend = "OneTrainer", "choose LoRA or LoHa in OneTrainer instead of OFT"
    more = f" (and {number - 1} more)" if number > 1 else ""
    return FormatError(f"holds {writer}'s {name}: {reason}", where=f"{key}{more}", fix=mend)

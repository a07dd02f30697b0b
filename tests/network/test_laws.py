"""Networks on one model: its output is that of the networks that are on, whatever came before."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor, nn

from lycoris_ext.algorithms import Plan
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.network import Network, NetworkConfig, build_network

KINDS: tuple[dict[str, object], ...] = (
    {"algo": "lora"},
    {"algo": "loha", "use_scalar": True},
    {"algo": "lora", "dora_wd": True},
    {"algo": "diag-oft"},
    {"algo": "full", "train_norm": True},
)
NUMBERS = st.integers(0, 2)
STRENGTHS = st.sampled_from([0.5, 1.0, -0.75])


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)).requires_grad_(False)


def change(network: Network, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


class Update:
    """The update of one layer, computed in float64 from the tensors of this moment."""

    def __init__(self, network: Network, key: str, strength: float) -> None:
        layer = network.layers[key]
        self.plan: Plan = layer.plan
        self.tensors = {name: tensor.double() for name, tensor in layer.tensors().items()}
        self.scalar = None if layer.scalar is None else layer.scalar.double()
        self.strength = strength

    def of(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        base = FrozenLayer(self.plan.layer, weight, bias, None)  # type: ignore[arg-type]
        delta = self.plan.delta(self.tensors, base, self.scalar)
        of_bias = delta.bias()
        zero = torch.zeros_like(bias)
        return delta.dense() * self.strength, zero if of_bias is None else of_bias * self.strength


class Laws(RuleBasedStateMachine):
    """Networks are injected, removed, merged and unmerged; each rule is legal or refused."""

    def __init__(self) -> None:
        super().__init__()
        self.model = model()
        self.attributes = [set(module.__dict__) for module in self.model.modules()]
        self.own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.networks: list[Network] = []
        self.injected: set[int] = set()
        #: In the order in which they were merged; "void" if the weights were replaced since.
        self.merged: dict[int, str] = {}
        self.updates: list[tuple[int, dict[str, Update]]] = []
        self.replaced = 0

    @initialize(kinds=st.lists(st.sampled_from(range(len(KINDS))), min_size=3, max_size=3))
    def build(self, kinds: list[int]) -> None:
        for number, kind in enumerate(kinds):
            config = NetworkConfig(network_dim=2, **KINDS[kind])  # type: ignore[arg-type]
            self.networks.append(build_network({"model": self.model}, config))
            change(self.networks[-1], number)

    @rule(number=NUMBERS)
    def inject(self, number: int) -> None:
        if number in self.injected or number in self.merged:
            with pytest.raises(ConfigError, match="already"):
                self.networks[number].inject()
        else:
            self.networks[number].inject()
            self.injected.add(number)

    @precondition(lambda self: self.injected)
    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        number = sorted(self.injected)[number % len(self.injected)]
        self.networks[number].remove()
        self.networks[number].remove()  # nothing is injected: nothing happens
        self.injected.discard(number)

    @rule(number=NUMBERS, strength=STRENGTHS | st.none(), keep=st.sampled_from([True, True, False]))
    def merge(self, number: int, strength: float | None, keep: bool) -> None:
        network = self.networks[number]
        if number in self.injected or number in self.merged:
            with pytest.raises(ConfigError, match="already"):
                network.merge(strength, keep)
            return
        used = network.multiplier if strength is None else strength
        updates = {key: Update(network, key, used) for key in network.sites}
        network.merge(strength, keep)
        self.merged[number] = "kept" if keep else "for good"
        self.updates.append((number, updates))

    @precondition(lambda self: self.merged)
    @rule(number=NUMBERS)
    def unmerge(self, number: int) -> None:
        number = sorted(self.merged)[number % len(self.merged)]
        state = self.merged[number]
        if state in ("for good", "void"):
            with pytest.raises(ConfigError, match=r"not kept|were changed after the merge"):
                self.networks[number].unmerge()
            return
        self.networks[number].unmerge()
        del self.merged[number]
        self.updates = [(n, update) for n, update in self.updates if n != number]
        self.networks[number].unmerge()  # nothing is merged: nothing happens

    @rule(number=NUMBERS, strength=STRENGTHS, training=st.booleans(), seed=st.integers(0, 99))
    def train(self, number: int, strength: float, training: bool, seed: int) -> None:
        network = self.networks[number]
        network.multiplier = strength
        network.train(training)
        change(network, seed)

    @precondition(lambda self: self.merged and self.replaced < 2)
    @rule()
    def load_other_weights(self) -> None:
        """Somebody loads weights over the merged ones: nothing of before can be taken out."""
        self.replaced += 1
        self.own = {name: tensor + self.replaced * 0.1 for name, tensor in self.own.items()}
        self.model.load_state_dict(self.own)
        self.updates = []
        for number, state in self.merged.items():
            self.merged[number] = "void" if state == "kept" else state

    @precondition(lambda self: any(state != "kept" for state in self.merged.values()))
    @rule()
    def forget_merges_that_nobody_can_undo(self) -> None:
        for number, state in [*self.merged.items()]:
            if state == "void":
                self.networks[number].forget_merge()
                del self.merged[number]

    @invariant()
    def the_output_is_that_of_the_networks_that_are_on(self) -> None:
        x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(
                self.model(x).double(), self.wanted(x.double()), rtol=1e-4, atol=1e-4
            )

    @invariant()
    def nothing_is_left_of_networks_that_are_off(self) -> None:
        if not self.injected and not self.updates:
            for name, tensor in self.model.state_dict().items():
                assert torch.equal(tensor, self.own[name]), name
            if not self.merged:
                assert [set(m.__dict__) for m in self.model.modules()] == self.attributes

    def wanted(self, x: Tensor) -> Tensor:
        """Compute the model's output in float64 from its own weights and the updates."""
        for path, module in self.model.named_children():
            weight, bias = (self.own[f"{path}.{kind}"].double() for kind in ("weight", "bias"))
            key = f"lycoris_{path}"
            for _, updates in self.updates:
                if key in updates:
                    of_weight, of_bias = updates[key].of(weight, bias)
                    weight, bias = weight + of_weight, bias + of_bias
            extra = [
                Update(self.networks[number], key, self.networks[number].multiplier)
                for number in self.injected
                if key in self.networks[number].sites
            ]
            sums = [update.of(weight, bias) for update in extra]
            weight = weight + sum(of_weight for of_weight, _ in sums)
            bias = bias + sum(of_bias for _, of_bias in sums)
            if isinstance(module, nn.LayerNorm):
                x = nn.functional.layer_norm(x, (8,), weight, bias)
            else:
                x = nn.functional.linear(x, weight, bias)
        return x


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=40, stateful_step_count=40)

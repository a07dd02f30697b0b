"""What to know about an optimizer beside this schedule and these rates, before the first step."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.optimizer_kind import OptimizerKind


def optimizer_notes(config: TrainConfig) -> Iterator[str]:
    """Yield a sentence for each setting that does not suit the chosen optimizer."""
    kind = config.optimizer.kind
    yield from _about_rates(config, kind)
    yield from _about_schedule(config, kind)
    yield from kind.hints if config.optimizer.max_grad_norm else ()
    if config.run.scale_weight_norms is not None and kind.needs_no_schedule:
        yield (
            f"scale_weight_norms limits the weights that {kind.name} trains, not the average of "
            "them that it saves: leave it out"
        )


def _about_rates(config: TrainConfig, kind: OptimizerKind) -> Iterator[str]:
    optimizer, (low, high) = config.optimizer, kind.rates
    if kind.sets_rate(optimizer.optimizer_args):
        yield (
            f"{kind.name} sets its rate itself and ignores learning_rate, unet_lr, text_encoder_lr "
            f'and lr_scheduler; to use them set optimizer_args = ["{kind.own_rate_unless}"]'
        )
        return
    rates = {"learning_rate": optimizer.learning_rate}
    if optimizer.unet_lr is not None:
        rates = {"unet_lr": optimizer.unet_lr}
    odd = {name: rate for name, rate in rates.items() if rate and not low <= rate <= high}
    for name, rate in odd.items():
        if kind.finds_rate:
            yield (
                f"{name} is {rate:g}, and {kind.name} finds the rate itself: this is a factor of "
                f"it, which is usually 1; set learning_rate = 1"
            )
        else:
            yield f"{name} is {rate:g}; with {kind.name} rates from {low:g} to {high:g} are usual"


def _about_schedule(config: TrainConfig, kind: OptimizerKind) -> Iterator[str]:
    schedule, arguments = config.schedule, config.optimizer.optimizer_args
    name = schedule.lr_scheduler_type or schedule.lr_scheduler
    if kind.needs_no_schedule and name != "constant":
        warm_up = ', and optimizer_args = ["warmup_steps=N"] for a warm-up'
        yield (
            f"{kind.name} averages the weights in place of a schedule, and lr_scheduler = "
            f'"{name}" lowers its rate besides: use "constant"'
            + (warm_up if kind.package == "schedulefree" else "")
        )
    if not kind.finds_rate or kind.needs_no_schedule:
        return
    if name == "cosine_with_restarts":
        yield (
            f"{kind.name} finds one rate for the whole run, which never falls, and "
            'cosine_with_restarts starts it again at full height: use "cosine" or "constant"'
        )
    needs = kind.warm_up_needs
    if needs and schedule.values().get("lr_warmup_steps") and needs not in arguments:
        yield (
            f"a warm-up makes {kind.name}'s estimate of the rate too high: add "
            f'"{needs}" to optimizer_args, or set lr_warmup_steps = 0'
        )

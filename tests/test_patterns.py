"""No pattern takes for ever, and no usual one is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext import patterns
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig
from lycoris_ext.patterns import LONGEST, MOST, pattern_faults, pattern_fits

NAME = "unet.down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_out.0"

USUAL = [
    "attn2",
    r"to_out\.0$",
    r"^unet\.up_blocks",
    r"(?<!to_q)(?<!to_v)$",
    r"lora_unet.*down.*attn.*to_q.*",
    r"down_blocks.*attentions.*transformer_blocks.*attn.*to_(q|k|v).*",
    r"^unet\.down_blocks\.[12]\b.*\.proj_in$",
    r"^(?!.*(?:norm|bias)).*(?:to_q|to_k|to_v|to_out\.0)$",
    r"single_blocks\.(?:[0-9]|1[0-9])\.linear[12]",
    r".*(_modulation|_norm|_embedder|final_layer).*",
    r"^unet\.(?:" + "|".join(rf"down_blocks\.{n}\.resnets\.{n}\.conv1" for n in range(1500)) + ")$",
    r"lycoris_(?:unet_)?(?:down|up|mid)_?blocks?_?\d*_?.*attn",
    r"^text_encoder\..*layers\.\d+\.(?:mlp|self_attn)\..+$",
    r"(?i)ATTN[12]",
    r"[a-z]+_blocks\.\d+\.[a-z]+\.\d+",
]

SLOW = [
    "^(([a-z0-9_.])+)+!$",
    "(.*.*.*.*.*)*!",
    "(a|a)*b",
    "(?:o|ow|own_)+!",
    "(a?){50}!",
    "(.*)*",
    "(?:.{0,90}){0,90}!",
    ".*.*.*.*.*.*!",
    "[a-z]+[a-z_]+[._a-z]+[a-z]+[a-z]+!",
    "(?=(.*.*)+!)x",
    "(?:x|(?:.+)+)!",
    "(" * 5000,
    "(" * 5000 + ")" * 5000,
    "(?:" * 200 + "a" + ")*" * 200,
    "a{9999999999999999999}",
    "x" * (LONGEST + 1),
]


@pytest.mark.parametrize("pattern", USUAL, ids=range(len(USUAL)))
def test_usual_patterns_are_searched_as_by_re(pattern):
    assert not list(pattern_faults(pattern))
    for name in (NAME, "text_encoder.text_model.encoder.layers.3.mlp.fc1", ""):
        assert pattern_fits(pattern, name) == bool(re.search(pattern, name))
        assert pattern_fits(pattern, name, "match") == bool(re.match(pattern, name))
        assert pattern_fits(pattern, name, "fullmatch") == bool(re.fullmatch(pattern, name))


@pytest.mark.parametrize("pattern", SLOW, ids=range(len(SLOW)))
@pytest.mark.parametrize("option", ["include", "exclude", "overrides"])
def test_a_pattern_that_may_take_for_ever_is_refused_wherever_it_stands(option, pattern):
    value = [{"match": pattern, "network_dim": 2}] if option == "overrides" else [pattern]
    with pytest.raises(ConfigError) as caught:
        NetworkConfig(**{option: value})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("key", ["unet_target_name", "exclude_name", "name_algo_map"])
def test_a_preset_file_holds_no_slow_pattern_either(tmp_path, key):
    from lycoris_ext.network.preset_file import read_preset

    path = tmp_path / "a.toml"
    slow = SLOW[0]
    text = f"[{key}.'{slow}']\nalgo = 'lora'" if key == "name_algo_map" else f"{key} = ['{slow}']"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="may take very long to search for"):
        read_preset(NetworkConfig(preset=str(path)))


def test_more_patterns_than_the_bound_are_refused():
    with pytest.raises(ConfigError, match=f"at most {MOST:,} are read"):
        NetworkConfig(include=[str(number) for number in range(MOST + 1)])
    NetworkConfig(include=[f"x{number}" for number in range(MOST)])


def test_searches_that_take_too_long_together_end_with_the_pattern(monkeypatch):
    seconds = iter(range(0, 1000, 1))
    monkeypatch.setattr(patterns, "thread_time", lambda: next(seconds) * 0.6)
    with pytest.raises(ConfigError, match=r"the pattern '\^slow_\.\*x' may take very long"):
        for _ in range(100):
            pattern_fits("^slow_.*x", NAME)
    assert next(seconds) == 8  # four searches of 0.6 s are more than 2 s
    for _ in range(3):
        pattern_fits("^slow_.*x", NAME)  # a host may try again


def test_quick_searches_are_never_too_many(monkeypatch):
    seconds = iter(range(10**6))
    monkeypatch.setattr(patterns, "thread_time", lambda: next(seconds) * 0.0009)
    for _ in range(10**5):
        pattern_fits("^quick", NAME)


_parts = st.recursive(
    st.sampled_from(["a", "_", ".", "[a-z]", r"\d", "down", "^", "$", r"\b"]),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,9}"])),
        st.builds("(?!{})".format, inner),
    ),
    max_leaves=12,
)


@given(pattern=_parts)
def test_the_estimate_of_ways_finds_all_of_what_re_reads(pattern):
    try:
        re.compile(pattern)
    except re.error:
        return
    for fault in pattern_faults(pattern):
        assert "may take very long" in fault.what


SCRIPT = """
import random, sys
from lycoris_ext.errors import ConfigError
from lycoris_ext.patterns import pattern_faults, pattern_fits
chance = random.Random(int(sys.argv[1]))
names = ["unet.down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_out.0", "a" * 70]
def part(depth):
    kind = chance.randrange(7)
    if depth == 0 or kind < 2:
        return chance.choice(["a", "_", ".", "[a-z.]", "[a-z0-9_.]", "o", r"[^!]", "down", "t"])
    if kind < 5:
        loop = chance.choice(["*", "+", "?", "*?", "{0,60}", "{2}", "{1,9}"])
        return f"(?:{part(depth - 1)}){loop}"
    if kind == 5:
        return f"(?:{part(depth - 1)}|{part(depth - 1)})"
    return part(depth - 1) + part(depth - 1)
accepted = 0
for number in range(int(sys.argv[2])):
    pattern = "".join(part(3) for _ in range(chance.randrange(1, 7))) + "!"
    if any(pattern_faults(pattern)):
        continue
    accepted += 1
    try:
        for name in names:
            pattern_fits(pattern, name)
    except ConfigError:
        pass
print(accepted)
"""


def test_random_patterns_that_are_accepted_end_soon():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "7", "1500"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300

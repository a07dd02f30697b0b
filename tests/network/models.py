"""Small models whose blocks have the class names that presets select."""

from __future__ import annotations

from torch import nn


class ResnetBlock2D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(8, 8, 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(8, 8)


class Transformer2DModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj_in = nn.Linear(8, 8)
        self.attn1 = Attention()


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(8, 8, 3, padding=1)
        self.block = ResnetBlock2D()
        self.attention = Transformer2DModel()
        self.other = nn.Linear(8, 8)


class CLIPAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(8, 8)


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = CLIPAttention()

"""Tools that make new adapters or settings of existing ones, without training."""

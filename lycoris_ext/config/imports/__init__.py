"""Configs of other programs: one file for each format, which puts it in sd-scripts' words."""

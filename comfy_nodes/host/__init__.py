"""What ComfyUI holds and how it wants things, translated for the core.

Its modules are imported inside the functions that call them: the pack then loads wherever torch
is, and a module that a future ComfyUI moves breaks one node instead of all of them.
"""

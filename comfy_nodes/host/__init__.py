"""Everything that talks to ComfyUI's own modules: models, samplers, folders, widgets, messages.

ComfyUI's modules are imported inside the functions that call them. The nodes can then be imported
without ComfyUI, and a module that a future ComfyUI moves breaks one node instead of all of them.
"""

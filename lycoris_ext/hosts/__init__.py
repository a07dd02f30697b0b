"""Find ComfyUI, AUTOMATIC1111, Forge and sd-scripts, and install lycoris_ext into them."""

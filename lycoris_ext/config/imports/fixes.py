"""What to do about settings that several programs have and that have no counterpart here."""

BESIDE = "write each caption into a .txt file beside its picture"
CHANGED_COPIES = "put changed copies of the pictures into the folder"
MASKS = (
    "put the masks into a folder, each called like its picture, and set conditioning_data_dir to "
    "it and masked_loss = true"
)
REGULARISATION = "use regularisation pictures: is_reg = true"
REPEATS = "use a larger or smaller number of repeats"
NO_CONDITIONING = "train without conditioning pictures"
ONE_BASE = "give one base model that holds all of its parts"
NOT_QUANTISED = "remove it: weights of the base model are not quantised here"
ONE_GPU = "train on one GPU with a larger gradient_accumulation_steps"
TIMESTEPS = "choose a range of timesteps with min_timestep and max_timestep"
NO_TRICK = "train without it; there is nothing like it here"

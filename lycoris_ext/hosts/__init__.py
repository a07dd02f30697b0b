"""The programs that lycoris_ext is installed into: where they are, and how it gets there."""

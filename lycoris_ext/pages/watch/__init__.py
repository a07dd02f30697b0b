"""The page of `lycoris-ext watch`: loss, rates, norms and pictures of runs, as they go on."""

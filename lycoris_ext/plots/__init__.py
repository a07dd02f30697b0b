"""Drawing: labelled grids, curves, fonts, and PNG files with text in them."""

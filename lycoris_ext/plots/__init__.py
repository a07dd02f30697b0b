"""Draw labelled grids of pictures, loss curves and charts, and write PNG files with metadata."""

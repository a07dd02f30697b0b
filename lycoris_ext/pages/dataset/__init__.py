"""The page of a data set: contact sheet, levels, concepts, sizes, tags, captions and findings."""

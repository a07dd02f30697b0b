"""The colours of text that all pictures share."""

from __future__ import annotations

#: Of titles and headings.
INK = "#1c1f26"
#: Of labels, axes and everything that explains.
SOFT_INK = "#5e6572"

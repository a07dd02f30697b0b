"""The tab for AUTOMATIC1111 and Forge.

Here will live the tab that loads trained files and tests them on grids. None of it is written yet.
"""

from __future__ import annotations

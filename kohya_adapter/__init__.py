"""kohya sd-scripts' calling convention.

Here will live `create_network` and what else `train_network.py --network_module lycoris_ext.kohya`
calls. Nothing of it is written yet, so nothing is exported: sd-scripts stops with its own
`AttributeError` rather than training something that is not there.
"""

from __future__ import annotations

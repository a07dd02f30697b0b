"""What `--network_module lycoris_ext.kohya` names: the sd-scripts adapter, re-exported."""

from kohya_adapter import *  # noqa: F403

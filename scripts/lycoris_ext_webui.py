"""The only script of this extension, run by AUTOMATIC1111 or Forge.

The host has the extension's folder first in sys.path while this runs, and for this moment alone.
"""

from webui_extension.register import register

register()

"""The only script of this extension, run by AUTOMATIC1111 or Forge.

The host puts the extension's folder first in sys.path only while it runs this file.
"""

from webui_extension.register import register

register()

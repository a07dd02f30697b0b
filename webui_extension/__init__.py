"""A tab for AUTOMATIC1111 (1.8 and newer) and Forge that compares, judges and installs adapters.

`lycoris_ext.grids` plans and writes the comparison grids. These modules tie it to the host:

    register         adds the tab, the API and the settings to the host; the host runs entry.py
    host, forge      read the host's folders, models and settings, and call its LoRA loader
    drawing          draws one picture with the host's own txt2img
    allowed_folders  keeps paths inside the folders that the host allows
    staging          copies adapters to names that carry their hash, so that the host's cache
                     never confuses two files
    painter          draws one cell of a grid and checks that the host applied the adapter
    jobs             draws a grid in a background thread
    laboratory       does what the tab and the API offer
    asked            turns the fields of the tab or of a request into a grid's plan
    tab, tab_*       build the pages; parts and tables hold what they share
    routes, schemas  define the API and the JSON of its requests
    axes             adds two axes to the host's X/Y/Z plot
    winner           installs an adapter in the host's LoRA folder
    training, child  train in a separate process with its own Python environment

`modules`, `gradio` and `fastapi` belong to the host and are imported inside functions, so that this
package can be imported and tested without a host.
"""

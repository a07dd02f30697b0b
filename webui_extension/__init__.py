"""The tab for AUTOMATIC1111 (1.8 and newer) and Forge: load and test what was trained.

The laboratory itself is `lycoris_ext.grids`. Here is what ties it to the host:

    register    what the host calls, once for every load of its scripts; entry is its script
    host        the host's folders, models and loader; drawing: one picture by its own hand
    places      which folders may be read and written
    staging     files under names that no other file ever had
    painter     one cell of a grid, drawn and checked; jobs: a grid, in the background
    laboratory  what the tab and the routes do; asked: from their fields to a plan
    tab, parts  the page, and what its pages tab_* share; tables: what it shows as text
    routes      the API; schemas: its JSON
    axes        for the host's X/Y/Z plot
    winner      into the host's folder of networks
    training    the child process that trains

`modules`, `gradio` and `fastapi` are the host's and are imported inside functions: nothing here
needs them to be imported or tested.
"""

"""Read a config as sd-scripts' train_network.py does; run by sd-scripts' Python in its folder.

Prints the options that it finds as JSON, with "datasets": for each its resolution, batch size and
subsets.
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.getcwd())

import train_network
from library import train_util
from library.config_util import BlueprintGenerator, ConfigSanitizer, load_user_config


def main(path: str) -> None:
    parser = train_network.setup_parser()
    sys.argv = ["train_network.py", "--config_file", path]
    found = train_util.read_config_from_file(parser.parse_args(), parser)
    train_util.verify_training_args(found)
    train_util.prepare_dataset_args(found, True)
    options = {name: value for name, value in vars(found).items() if value is not None}
    if found.dataset_config:
        blueprint = BlueprintGenerator(ConfigSanitizer(True, True, False, True)).generate(
            load_user_config(found.dataset_config), found
        )
        options["datasets"] = [
            {
                "resolution": one.params.resolution,
                "batch_size": one.params.batch_size,
                "subsets": [vars(subset.params) for subset in one.subsets],
            }
            for one in blueprint.dataset_group.datasets
        ]
    print("\n" + json.dumps(options))


if __name__ == "__main__":
    main(sys.argv[1])

"""The tensors of a Hugging Face trunk as its .safetensors file has them, without building the trunk.

`from_pretrained` builds a model, copies each tensor into it, and holds both: 0.4 GB for a BERT that may only be hashed.
"""

import re
from pathlib import Path
from typing import Any

from transformers import AutoModel, PretrainedConfig

from pipeline_lib.towers.file_tensors import FileTensors, Tensors, rename_tensors
from pipeline_lib.towers.on_meta import on_meta

# Names of TensorFlow's layer norms, which older files have -> those of the trunk.
OLD_NAMES = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))


def hf_tensors(path: Path, config: PretrainedConfig, options: dict[str, Any]) -> Tensors | None:
    """Return the trunk's tensors in a file, in float32 and unread; None if each does not have exactly one place there.

    Names may have the prefix of a model with a head (`bert.`). `options` are arguments of the trunk. ValueError for a
    file that is truncated.
    """
    with on_meta():
        trunk: Any = AutoModel.from_config(config, **options)  # type: ignore[no-untyped-call]
    tensors = FileTensors.of([path], as_float32=True)
    places: dict[str, list[str]] = {name: [] for name in trunk.state_dict()}
    for key in tensors:
        name = key.removeprefix(f"{trunk.base_model_prefix}.")
        for pattern, ours in OLD_NAMES:
            name = re.sub(pattern, ours, name)
        places.get(name, []).append(key)
    if any(len(keys) != 1 for keys in places.values()):
        return None
    found = rename_tensors(tensors, {name: key for name, (key,) in places.items()})
    return found if found.fit(trunk) else None

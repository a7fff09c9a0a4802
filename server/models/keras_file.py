"""What a Keras file holds, looked at before Keras opens it. Any thread.

Weights may say that they are in another file, which HDF5 then reads; files beside a model may have
names that lead out of the folder they are unpacked in. Neither is how Keras writes a file.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final

import h5py

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"


def is_archive(path: Path) -> bool:
    """Whether it is a `.keras` file, not one in HDF5."""
    return not h5py.is_hdf5(path)


def config_of(path: Path) -> Any:
    """The configuration of the model in a file.

    ValueError for a damaged file, for weights alone, and for what points out of the file; OSError
    of HDF5.
    """
    return _of_archive(path) if is_archive(path) else _of_hdf5(path)


def _of_archive(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            config = json.loads(archive.read(CONFIG))
            weights = archive.read(WEIGHTS) if WEIGHTS in names else None
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        msg = f"{path.name} is damaged or cut short: {error}"
        raise ValueError(msg) from error
    for name in names:
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
            msg = f"it holds a file that would leave its folder: {name!r}"
            raise ValueError(msg)
    if weights is not None:
        with h5py.File(io.BytesIO(weights)) as file:
            _refuse_elsewhere(file)
    if isinstance(config, dict):
        # Nobody trains here: a loss of one's own does no harm, since Keras does not look for it.
        config.pop("compile_config", None)
    return config


def _of_hdf5(path: Path) -> Any:
    with h5py.File(path) as file:
        config = file.attrs.get("model_config")
        if config is None:
            msg = "it holds weights without their model: save the whole model, with model.save"
            raise ValueError(msg)
        _refuse_elsewhere(file)
    return json.loads(config)


def _refuse_elsewhere(group: Any) -> None:
    """ValueError for arrays that are in other files."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            msg = f"its weights have a link in them: {group.name}/{name}"
            raise ValueError(msg)  # noqa: TRY004 - the file is at fault, not a caller of ours
        each = group[name]
        if isinstance(each, h5py.Group):
            _refuse_elsewhere(each)
        elif each.external or each.is_virtual:
            msg = f"its weights are said to be in another file: {each.name}"
            raise ValueError(msg)

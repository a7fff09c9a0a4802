"""Sample requests over HTTP, as commands of a shell with curl and python3. Pure.

Python is needed only where a body is too long to be printed, or is not text.
"""

import json
import math
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from server.protocols.json_tensors import READABLE
from server.protocols.oip_tensors import RAW_ONLY, to_raw
from server.protocols.plain_binary import SIGNATURE_NAME
from server.protocols.tfserving_strings import BYTES
from server.samples.bodies import datatype, is_raw, oip_body, rest_body
from server.samples.values import (
    PREDICT,
    Filled,
    NoForm,
    SampleRequest,
    Target,
    is_short,
    is_text,
    written,
)
from server.signature import DEFAULT_SIGNATURE

_WIDTH: Final = 80

_ACCEPT_JSON: Final = ("-H", "Accept: application/json")
_ACCEPT_NPZ: Final = ("-H", "Accept: application/x-npz", "-o", "answer.npz")


def tfserving_rest(target: Target, request: SampleRequest) -> str:
    """Rows where the signature shares batches, columns where not; examples to classify them."""
    body = rest_body(request)
    if request.verb != PREDICT:
        _check_text(request)
        return _json(body, request.features.values(), _predict(target, request))
    return _json(body, request.inputs.values(), _predict(target, request), *_npz(request))


def plain_binary(target: Target, request: SampleRequest) -> str:
    """A .npy file, or .npz for several inputs; the answer in JSON where it has that form."""
    for tensor in request.inputs.values():
        if tensor.spec.dtype == "string":
            msg = f"input {tensor.spec.name!r} is string, which has no form in .npy"
            raise NoForm(msg)
    arrays = {name: _numpy(tensor) for name, tensor in request.inputs.items()}
    if len(arrays) == 1:
        (array,) = arrays.values()
        file, saved = "rows.npy", f'np.save("rows.npy", {array})'
    else:
        named = ",\n  ".join(f"{json.dumps(name)}: {array}" for name, array in arrays.items())
        file, saved = "rows.npz", f'np.savez("rows.npz", **{{\n  {named}}})'
    media = f"application/x-{file.removeprefix('rows.')}"
    options = ["--data-binary", f"@{file}", "-H", f"Content-Type: {media}"]
    if request.signature.name != DEFAULT_SIGNATURE:
        options += ["-H", f"{SIGNATURE_NAME}: {request.signature.name}"]
    options += _npz(request) or _ACCEPT_JSON
    made = shlex.join(["python3", "-c", f"import numpy as np; {saved}"])
    return f"{made}\n{_curl(_url(target) + ':predict', *options)}"


def oip_http(target: Target, request: SampleRequest) -> str:
    """JSON; what has no form in it goes, and comes, as bytes behind it."""
    raw = [_raw(tensor) for tensor in request.inputs.values() if is_raw(tensor)]
    answers_raw = _answers_raw(request)
    curl = ["-o", "answer.bin"] if answers_raw else []
    body = oip_body(request, is_raw, answers_raw=answers_raw)
    url = f"http://{target.host}:{target.port}/v2/models/{quote(target.name, safe='')}/infer"
    if not raw:
        return _json(body, request.inputs.values(), url, *curl)
    header = json.dumps(json.loads(written(body)))
    length = f"Inference-Header-Content-Length: {len(header)}"
    program = (
        "import json, sys\n"
        f"header = json.dumps({written(body, python=True)})\n"
        f"sys.stdout.buffer.write(header.encode() + {' + '.join(raw)})"
    )
    made = shlex.join(["python3", "-c", program])
    return f"{made} |\n  {_curl(url, '-H', length, '--data-binary', '@-', *curl)}"


# --------------------------------------------------------------------------------------- commands


def _curl(url: str, *options: str) -> str:
    """The command, on as many lines as it needs; options come in pairs."""
    lines = [f"curl -s {shlex.quote(url)}"]
    for at in range(0, len(options), 2):
        option = shlex.join(options[at : at + 2])
        # A space and the backslash follow.
        if len(lines[-1]) + len(option) + 3 < _WIDTH:
            lines[-1] += f" {option}"
        else:
            lines.append(f"  {option}")
    return " \\\n".join(lines)


def _json(body: Mapping[str, Any], tensors: Iterable[Filled], url: str, *options: str) -> str:
    """The command that sends a body in JSON; Python makes a long one."""
    if is_short(*tensors):
        return _curl(url, *options, "-d", written(body))
    program = f"import json; print(json.dumps({written(body, python=True)}))"
    return f"{shlex.join(['python3', '-c', program])} |\n  {_curl(url, *options, '-d', '@-')}"


def _url(target: Target) -> str:
    return f"http://{target.host}:{target.port}/v1/models/{quote(target.name, safe='')}"


def _predict(target: Target, request: SampleRequest) -> str:
    return f"{_url(target)}:{request.verb}"


def _npz(request: SampleRequest) -> tuple[str, ...]:
    """Options for an answer that has no form in JSON. NoForm if it has none at all."""
    outputs = request.signature.outputs.values()
    if all(spec.dtype in READABLE | {"string"} for spec in outputs):
        _check_text(request)
        return ()
    for spec in outputs:
        if spec.dtype == "string":
            msg = f"output {spec.name!r} is string, and others have no JSON form: no form has both"
            raise NoForm(msg)
    return _ACCEPT_NPZ


def _check_text(request: SampleRequest) -> None:
    for name, array in (request.outputs or {}).items():
        if array.dtype == object and not name.endswith(BYTES) and not is_text(array.flat):
            msg = f"output {name!r} is no text, which has no JSON form"
            raise NoForm(msg)


# ----------------------------------------------------------------------------------------- tensors


def _numpy(tensor: Filled) -> str:
    """The NumPy expression of a tensor, which needs nothing but NumPy."""
    if tensor.spec.dtype == "bfloat16":
        bits = int(tensor.array.view("uint16").flat[0])
        return f'np.full({tensor.shape}, 0x{bits:04x}, "uint16").view("V2")'
    return f'np.full({tensor.shape}, {tensor.value}, "{tensor.spec.dtype}")'


def _raw(tensor: Filled) -> str:
    """The Python expression of a tensor's bytes."""
    count = math.prod(tensor.shape)
    element = to_raw(Filled(tensor.spec, (1,), tensor.value).array)
    told = f'bytes.fromhex("{element.hex()}")'
    return told if count == 1 else f"{told}*{count}"


def _answers_raw(request: SampleRequest) -> bool:
    """Whether an output has no form in JSON."""
    for spec in request.signature.outputs.values():
        if datatype(spec, "output") in RAW_ONLY:
            return True
    outputs = (request.outputs or {}).values()
    return any(array.dtype == object and not is_text(array.flat) for array in outputs)

"""The bodies of the Open Inference Protocol over HTTP as JSON schemas, with examples. Pure."""

import math
from collections.abc import Iterable
from typing import Any, Final

from server.inference import ServedModel
from server.protocols.oip_models import default_signature
from server.protocols.oip_tensors import DATATYPES, RAW_ONLY
from server.protocols.openapi_schemas import (
    COUNT,
    FLAG,
    NUMBERS,
    STRING,
    TEXT,
    Component,
    Schema,
    any_of,
    is_shown,
    list_of,
    of_any_rank,
    of_model,
    one,
    record,
    sizes,
)
from server.signature import Signature, TensorSpec

# -------------------------------------------------------------------------------------- inference


def requests(model: ServedModel) -> dict[str, Any]:
    """The media type for requests in JSON: any signature whose inputs have values; {} if none."""
    able = [s for s in model.signatures.values() if _has_values(s.inputs.values()) and _named(s)]
    if not able:
        return {}
    default = default_signature(model)
    return {
        "schema": any_of([_request(model, s, default) for s in able]),
        "examples": {s.name: {"value": _example(s, default)} for s in able if is_shown(s)},
    }


def answers(model: ServedModel) -> Schema:
    """An answer of any signature."""
    return any_of([_answer(model, signature) for signature in model.signatures.values()])


def _named(signature: Signature) -> list[TensorSpec]:
    """The outputs that the protocol has a datatype for."""
    return [spec for spec in signature.outputs.values() if spec.dtype in DATATYPES]


def _has_values(specs: Iterable[TensorSpec]) -> bool:
    """Whether they can be told in JSON."""
    return all(DATATYPES.get(s.dtype) not in {None, *RAW_ONLY} for s in specs)


_PARAMETERS: Final = Component(
    "InferParameters",
    record(
        {},
        timeout=COUNT | {"description": "Microseconds that the answer may take; 0 for any."},
        priority=COUNT | {"description": "1 goes first, 2 is usual, then come the others."},
        binary_data_output=FLAG | {"description": "Whether outputs that do not say are raw."},
        signature_name=TEXT,
    )
    | {"additionalProperties": {"type": ["string", "number", "boolean"]}},
)
_OUTPUT_PARAMETERS: Final = Component(
    "OutputParameters",
    record(
        {},
        binary_data=FLAG,
        classification=COUNT | {"description": "So many of the best classes, for the scores."},
    ),
)


def _request(model: ServedModel, signature: Signature, default: Signature) -> Component:
    inputs = [_input(spec) for spec in signature.inputs.values()]
    tensors = list_of(any_of(inputs)) | {"minItems": len(inputs), "maxItems": len(inputs)}
    names = [spec.name for spec in _named(signature)]
    output = record({"name": {"enum": names}}, parameters=_OUTPUT_PARAMETERS)
    more = {"id": TEXT, "outputs": list_of(output)}
    if signature is default:
        schema = record({"inputs": tensors}, parameters=_PARAMETERS, **more)
    else:
        chosen = record({"signature_name": {"const": signature.name}})
        schema = record({"inputs": tensors, "parameters": {"allOf": [_PARAMETERS, chosen]}}, **more)
    return of_model(model, f"{signature.name}.infer", schema)


def _input(spec: TensorSpec) -> Schema:
    return record(
        {
            "name": {"const": spec.name},
            "shape": _shape(spec),
            "datatype": {"const": DATATYPES[spec.dtype]},
            "data": list_of(of_any_rank(NUMBERS.get(spec.dtype, STRING))),
        }
    )


def _shape(spec: TensorSpec) -> Schema:
    """The declared sizes; only integers, where any rank will do or trailing ones may be left."""
    if spec.shape is None or spec.shape[1:][-1:] == (1,):
        return list_of(COUNT)
    told = [COUNT | {"minimum": 1}] if spec.shape[:1] == (None,) else []
    told += [COUNT if size is None else {"const": size} for size in spec.shape[len(told) :]]
    limits: Schema = {"minItems": len(told), "maxItems": len(told)}
    return list_of(COUNT) | limits | ({"prefixItems": told} if told else {})


def _answer(model: ServedModel, signature: Signature) -> Component:
    forms = [form for spec in _named(signature) for form in _output(spec)]
    schema = record(
        {
            "model_name": {"const": model.name},
            "model_version": {"const": str(model.version)},
            "outputs": list_of(any_of(forms)),
        },
        id=TEXT,
    )
    return of_model(model, f"{signature.name}.inferred", schema)


def _output(spec: TensorSpec) -> list[Schema]:
    """Its values, the size of its raw ones, or its best classes as strings."""
    datatype = DATATYPES[spec.dtype]
    named = {"name": {"const": spec.name}, "shape": list_of(COUNT)}
    size = {"parameters": record({"binary_data_size": COUNT})}
    forms = [
        record(named | {"datatype": {"enum": [datatype, "BYTES"]}} | size),
        record(named | {"datatype": {"const": "BYTES"}, "data": list_of(STRING)}),
    ]
    if spec.dtype in NUMBERS:
        values = {"datatype": {"const": datatype}, "data": list_of(NUMBERS[spec.dtype])}
        forms.insert(0, record(named | values))
    return forms


def _example(signature: Signature, default: Signature) -> dict[str, Any]:
    """Ones of the declared shape, one row where there may be any number."""
    example: dict[str, Any] = {"inputs": [_example_of(s) for s in signature.inputs.values()]}
    parameters: dict[str, Any] = {}
    if signature is not default:
        parameters["signature_name"] = signature.name
    outputs = _named(signature)
    if not _has_values(outputs):
        parameters["binary_data_output"] = True
    if parameters:
        example["parameters"] = parameters
    if len(outputs) < len(signature.outputs):
        example["outputs"] = [{"name": spec.name} for spec in outputs]
    return example


def _example_of(spec: TensorSpec) -> dict[str, Any]:
    shape = sizes(spec.shape)
    told = {"name": spec.name, "shape": shape, "datatype": DATATYPES[spec.dtype]}
    return told | {"data": [one(spec.dtype)] * math.prod(shape)}


# ------------------------------------------------------------------------- what is told of models

_TENSOR: Final = record(
    {"name": TEXT, "datatype": TEXT, "shape": list_of({"type": "integer", "minimum": -1})}
)
METADATA: Final = Component(
    "ModelMetadata",
    record(
        {
            "name": TEXT,
            "versions": list_of(TEXT),
            "platform": TEXT,
            "inputs": list_of(_TENSOR),
            "outputs": list_of(_TENSOR),
        }
    ),
)
MODEL_READY: Final = record({"name": TEXT, "ready": {"const": True}})

_CONFIG_TENSOR: Final = record(
    {
        "name": TEXT,
        "data_type": {"type": "string", "pattern": "^TYPE_"},
        "dims": list_of({"type": "integer", "minimum": -1}),
    }
)
CONFIG: Final = Component(
    "ModelConfig",
    record(
        {
            "name": TEXT,
            "platform": TEXT,
            "backend": TEXT,
            "max_batch_size": COUNT,
            "input": list_of(_CONFIG_TENSOR),
            "output": list_of(_CONFIG_TENSOR),
        }
    ),
)

_DURATION: Final = Component("Duration", record({"count": COUNT, "ns": COUNT}))
_STAGES: Final = ("compute_input", "compute_infer", "compute_output")
_STATISTICS: Final = ("success", "fail", "queue", *_STAGES, "cache_hit", "cache_miss")
_BATCHES: Final = record({"batch_size": COUNT, **dict.fromkeys(_STAGES, _DURATION)})
_MODEL_STATISTICS: Final = Component(
    "ModelStatistics",
    record(
        {
            "name": TEXT,
            "version": TEXT,
            "last_inference": COUNT | {"description": "Milliseconds since 1970; 0 for never."},
            "inference_count": COUNT | {"description": "Rows."},
            "execution_count": COUNT | {"description": "Batches."},
            "inference_stats": record(dict.fromkeys(_STATISTICS, _DURATION)),
            "batch_stats": list_of(_BATCHES),
        }
    ),
)
STATISTICS: Final = Component("Statistics", record({"model_stats": list_of(_MODEL_STATISTICS)}))


# -------------------------------------------------------------------------------------- the server

SERVER_METADATA: Final = Component(
    "ServerMetadata", record({"name": TEXT, "version": TEXT, "extensions": list_of(TEXT)})
)
LIVE: Final = record({"live": {"const": True}})
READY: Final = record({"ready": {"const": True}})

_STATE: Final[Schema] = {"enum": ["READY", "UNAVAILABLE", "LOADING", "UNLOADING"]}
INDEX: Final = Component(
    "RepositoryIndex",
    list_of(record({"name": TEXT, "state": _STATE}, version=TEXT, reason=TEXT)),
)
INDEX_REQUEST: Final = record({}, ready=FLAG | {"description": "Only those that take requests."})
CHANGE: Final = record({}, parameters={"type": "object"})

_LOG: Final = {"log_info": FLAG, "log_warning": FLAG, "log_error": FLAG, "log_verbose_level": COUNT}
LOG: Final = Component("LogSettings", record(_LOG | {"log_file": TEXT, "log_format": TEXT}))
LOG_CHANGE: Final = Component(
    "LogSettingsChange",
    record({}, **_LOG, log_file={"const": ""}, log_format={"const": "default"})
    | {"additionalProperties": False},
)

_LEVEL: Final[Schema] = {"enum": ["OFF", "TIMESTAMPS"]}
_RATE: Final[Schema] = {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}
_TRACES: Final[Schema] = {"type": "string", "pattern": "^(-1|[0-9]{1,18})$"}
TRACE: Final = Component(
    "TraceSettings",
    record(
        {
            "trace_level": list_of(_LEVEL),
            "trace_rate": _RATE,
            "trace_count": _TRACES,
            "log_frequency": TEXT,
            "trace_file": TEXT,
            "trace_mode": TEXT,
        }
    ),
)


def _taken_back(*schemas: Schema) -> Schema:
    """A value, or a list of the only one; or what takes a setting back."""
    return any_of([*schemas, *[list_of(s) | {"maxItems": 1} for s in schemas], {"type": "null"}])


TRACE_CHANGE: Final = Component(
    "TraceSettingsChange",
    record(
        {},
        trace_level=any_of([list_of(_LEVEL), _LEVEL, {"type": "null"}]),
        trace_rate=_taken_back(_RATE, COUNT | {"minimum": 1, "maximum": 10**18 - 1}),
        trace_count=_taken_back(_TRACES, {"type": "integer", "minimum": -1, "maximum": 10**18 - 1}),
        log_frequency=_taken_back({"const": "0"}),
        trace_file=_taken_back({"const": ""}),
        trace_mode=_taken_back({"const": "triton"}),
    )
    | {
        "additionalProperties": False,
        "description": "What is null, or an empty list, is taken back.",
    },
)

"""What the Open Inference Protocol answers beside inference, over HTTP, as JSON schemas. Pure."""

from typing import Final

from server.protocols.openapi_schemas import (
    COUNT,
    FLAG,
    TEXT,
    Component,
    Schema,
    any_of,
    list_of,
    record,
)

# ------------------------------------------------------------------------- one model

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

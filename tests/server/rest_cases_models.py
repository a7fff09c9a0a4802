"""The numbered cases of TensorFlow Serving's REST API that are about models: 60 to 66, 78 to 82."""

from typing import Any

from tests.server.rest_asking import HALF, case, no, rows, yes

BIG = 2**64 - 1


def bad(number: str, method: str, target: str) -> Any:
    """A request that is malformed."""
    told = (f"Malformed request: {method} {target}",)
    return case(number, method, target, rows("[1.0]"), status=400, said=told)


def got(number: str, target: str, said: Any, status: int = 200) -> Any:
    """A GET."""
    return case(number, "GET", target, "", status=status, said=said)


STATUS = {
    "model_version_status": [
        {
            "version": "123",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}


def info(name: str, dtype: str, *sizes: str) -> dict[str, Any]:
    """A TensorInfo in JSON."""
    dims = [{"size": size, "name": ""} for size in sizes]
    return {
        "dtype": dtype,
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": name,
    }


METADATA = {
    "model_spec": {"name": "half_plus_two", "signature_name": "", "version": "123"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {"x": info("serving_default_x:0", "DT_FLOAT", "-1", "1")},
                    "outputs": {"y": info("PartitionedCall:0", "DT_FLOAT", "-1", "1")},
                    "method_name": "tensorflow/serving/predict",
                    "defaults": {},
                }
            }
        }
    },
}

WHO = [
    yes("60-version", f"{HALF}/versions/123", rows("[1.0]"), {"predictions": [2.5]}),
    yes("60-leading-zeros", f"{HALF}/versions/000123", rows("[1.0]"), {"predictions": [2.5]}),
    yes("60-label", f"{HALF}/labels/stable", rows("[1.0]"), {"predictions": [2.5]}),
    no("61", "/v1/models/nobody", rows("[1.0]"), "nobody", status=404),
    no("61-version", "/v1/models/nobody/versions/1", rows("[1.0]"), "nobody version 1", status=404),
    no("62", f"{HALF}/versions/124", rows("[1.0]"), "half_plus_two version 124", status=404),
    no("62-largest", f"{HALF}/versions/{2**63 - 1}", rows("[1.0]"), str(2**63 - 1), status=404),
    no("63", f"{HALF}/labels/canary", rows("[1.0]"), "'canary'"),
    no("63-nobody", "/v1/models/nobody/labels/canary", rows("[1.0]"), "'canary'"),
    bad("64-get-foo", "GET", "/v1/foo"),
    bad("64-post-foo", "POST", "/v1/foo"),
    bad("64-post-models", "POST", "/v1/models"),
    bad("64-model-name", "GET", "/v1/models/debug/model_name"),
    bad("64-get-predict", "GET", f"{HALF}:predict"),
    bad("64-version", "POST", f"{HALF}/version/50:predict"),
    bad("64-versions-hello", "POST", f"{HALF}/versions/HELLO:regress"),
    bad("64-post-metadata", "POST", f"{HALF}/metadata"),
    bad("64-label", "POST", f"{HALF}/label/x:regress"),
    bad("64-both", "POST", f"{HALF}/versions/50/labels/x:regress"),
    no("65-ours-says-so", f"{HALF}/versions/{BIG}", rows("[1.0]"), str(BIG), "larger than"),
    no("65-ours-int64", f"{HALF}/versions/{2**63}", "{", str(2**63), "larger than"),
    no("65-ours-long", f"{HALF}/versions/{'9' * 5000}", "", "larger than"),
    got("66", "/v1/models", ("Malformed request: GET /v1/models", "name of a model"), 400),
    got("78", HALF, STATUS),
    got("78-version", f"{HALF}/versions/123", STATUS),
    got("79-model", "/v1/models/nobody", ("nobody",), 404),
    got("79-version", f"{HALF}/versions/1", ("half_plus_two version 1",), 404),
    got("80", f"{HALF}/labels/whatever", STATUS),
    got("80-nobody", "/v1/models/nobody/labels/whatever", ("nobody",), 404),
    got("81", f"{HALF}/metadata", METADATA),
    got("81-version", f"{HALF}/versions/123/metadata", METADATA),
    got("81-label", f"{HALF}/labels/stable/metadata", METADATA),
    got("82-model", "/v1/models/nobody/metadata", ("nobody",), 404),
    got("82-version", f"{HALF}/versions/1/metadata", ("half_plus_two version 1",), 404),
]

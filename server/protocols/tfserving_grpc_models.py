"""TensorFlow Serving's ModelService over gRPC, and the metadata of its PredictionService. Pure.

Written after tensorflow/serving (get_model_metadata_impl.cc, get_model_status_impl.cc,
model_service_impl.cc). A new configuration, which is administration, says what is served from then
on: models, their versions and labels. Models that the server was not started with it can bring only
from where the operator allows.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

from server.errors import InvalidArgument
from server.exchange import Answer, Exchange
from server.inference import ModelAddress
from server.protocols.grpc_protocol import GrpcProtocol, reply
from server.protocols.protocol import Call, Serving
from server.protocols.tensor_proto import DATA_TYPES, write
from server.protocols.tfserving_specs import address_in, describe
from server.protocols.wire import message, parse
from server.signature import Signature, TensorSpec
from server.versions import All, Latest, Policy, Specific, Wanted

_GetModelMetadataRequest: Final = message("tensorflow.serving.GetModelMetadataRequest")
_GetModelMetadataResponse: Final = message("tensorflow.serving.GetModelMetadataResponse")
_SignatureDefMap: Final = message("tensorflow.serving.SignatureDefMap")
_GetModelStatusResponse: Final = message("tensorflow.serving.GetModelStatusResponse")
_ModelVersionStatus: Final = message("tensorflow.serving.ModelVersionStatus")
_ReloadConfigRequest: Final = message("tensorflow.serving.ReloadConfigRequest")
_ReloadConfigResponse: Final = message("tensorflow.serving.ReloadConfigResponse")

SIGNATURE_DEF: Final = "signature_def"
"""The one kind of metadata there is."""

_UNKNOWN: Final = 2
"""The code of an error that is nothing more precise, as gRPC numbers them."""


class ModelService(GrpcProtocol):
    """Calls only."""

    name = "tfserving_grpc"
    service = "tensorflow.serving.ModelService"

    def __init__(self) -> None:
        self.methods = {"GetModelStatus": _get_model_status, "HandleReloadConfigRequest": _reload}


# ------------------------------------------------------------------------------------ metadata


def get_model_metadata(exchange: Exchange) -> Call:
    """The signatures of a model, if nothing else is asked for. DecodeError, InvalidArgument."""
    fields = parse(_GetModelMetadataRequest, exchange.body).metadata_field
    if not fields or any(field != SIGNATURE_DEF for field in fields):
        came = ", ".join(repr(field) for field in fields) or "none"
        msg = f'"metadata_field" must be {SIGNATURE_DEF!r}, got {came}'
        raise InvalidArgument(msg)
    address = address_in(exchange)
    return Call(functools.partial(_metadata, address), address.name)


async def _metadata(address: ModelAddress, serving: Serving) -> Answer:
    model = serving.find(address)
    signatures = _SignatureDefMap()
    for name, signature in model.signatures.items():
        _describe_signature(signatures.signature_def[name], signature)
    told = _GetModelMetadataResponse()
    describe(told.model_spec, model)
    told.metadata[SIGNATURE_DEF].Pack(signatures)
    return reply(told)


def _describe_signature(told: Any, signature: Signature) -> None:
    _describe_tensors(told.inputs, signature.inputs)
    _describe_tensors(told.outputs, signature.outputs)
    told.method_name = signature.method_name
    for name, array in signature.defaults.items():
        write(array, told.defaults[name], f"default of {name!r}")


def _describe_tensors(told: Any, specs: Mapping[str, TensorSpec]) -> None:
    for name, spec in specs.items():
        info = told[name]
        info.name = spec.tensor_name
        info.dtype = DATA_TYPES.get(spec.dtype, 0)
        if spec.shape is None:
            info.tensor_shape.unknown_rank = True
        else:
            info.tensor_shape.SetInParent()
            for size in spec.shape:
                info.tensor_shape.dim.add(size=-1 if size is None else size)


# -------------------------------------------------------------------------------------- status


def _get_model_status(exchange: Exchange) -> Call:
    address = address_in(exchange)
    # As in TensorFlow Serving, labels are not looked at.
    asked = ModelAddress(address.name, address.version)
    return Call(functools.partial(_status, asked), address.name)


async def _status(address: ModelAddress, serving: Serving) -> Answer:
    """The states of versions, newest first."""
    told = _GetModelStatusResponse()
    for state in serving.states(address):
        status = told.model_version_status.add(
            version=state.version, state=_ModelVersionStatus.State.Value(state.state)
        )
        status.status.error_code = _UNKNOWN if state.error else 0
        status.status.error_message = state.error
    return reply(told)


# --------------------------------------------------------------------------------------- reload


def _reload(exchange: Exchange) -> Call:
    config = parse(_ReloadConfigRequest, exchange.body).config
    if config.WhichOneof("config") != "model_config_list":
        msg = '"config" must have a "model_config_list", which is all that can be reloaded'
        raise InvalidArgument(msg)
    models = list(config.model_config_list.config)
    return Call(functools.partial(_serve_only, models), admin=True)


async def _serve_only(models: list[Any], serving: Serving) -> Answer:
    """Serve the models of a new configuration, and no others."""
    await serving.serve_only([_wanted(model) for model in models])
    told = _ReloadConfigResponse()
    told.status.error_code = 0
    return reply(told)


def _wanted(model: Any) -> Wanted:
    if not model.name:
        msg = '"model_config_list" has a model without a name'
        raise InvalidArgument(msg)
    labels = {label: int(version) for label, version in model.version_labels.items()}
    return Wanted(model.name, model.base_path, _policy(model), labels)


def _policy(model: Any) -> Policy:
    """The policy that a model asks for; the latest version if it asks for none."""
    asked = model.model_version_policy
    kind = asked.WhichOneof("policy_choice")
    try:
        if kind == "all":
            return All()
        if kind == "specific":
            return Specific(frozenset(asked.specific.versions))
        return Latest(asked.latest.num_versions or 1)
    except ValueError as error:
        msg = f'model {model.name!r}: "model_version_policy": {error}'
        raise InvalidArgument(msg) from error

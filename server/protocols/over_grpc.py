"""The protocols over gRPC, each a service of `GrpcProtocol`. A new one is a line here. Pure.

Only the adapter imports this, so that a server without gRPC does not pay for any of it.
"""

from typing import Final

from server.protocols.grpc_health import Health
from server.protocols.grpc_protocol import GrpcProtocol
from server.protocols.oip_grpc import OipGrpc
from server.protocols.tfserving_grpc import PredictionService
from server.protocols.tfserving_grpc_models import ModelService

_SERVICES: Final[tuple[GrpcProtocol, ...]] = (PredictionService(), ModelService(), OipGrpc())

GRPC_PROTOCOLS: Final[tuple[GrpcProtocol, ...]] = (*_SERVICES, Health(_SERVICES))

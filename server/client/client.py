"""The client: what is asked, of whom, in which protocol, until when. Event loop."""

import asyncio
import ssl as tls
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self, Unpack

from numpy.typing import ArrayLike

from server.client.attempts import Answered, Attempts
from server.client.codec import Ask
from server.client.dialect import AUTO, PROTOCOLS
from server.client.errors import (
    BadAnswer,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Refused,
    Unreachable,
)
from server.client.http import Http, checked_headers, checked_url
from server.client.known import Known
from server.client.messages import Reply, Request
from server.client.metadata import ModelMetadata, ModelState
from server.client.options import Options
from server.client.retries import Retries
from server.client.tensors import all_arrays, as_arrays
from server.client.timing import Receipt, receipt
from server.exchange import JSON
from server.inference import ModelAddress
from server.signature import Array, Tensors, names_text
from server.wishes import ID, PRIORITY

TIMEOUT: Final = 60.0
"""Seconds of a call that does not say otherwise."""


class Client:
    """Asks one server, on the event loop it was entered on; any number of calls at a time.

        async with Client("http://127.0.0.1:8501", "digits") as client:
            scores = await client.predict(scans)

    `url` may have a path, where the server is mounted. `protocol` is "auto" (the server is asked
    once what it speaks), "oip" (the Open Inference Protocol with binary tensors), "oip-json",
    "tfserving" (JSON) or "npy" (this project's server alone). `timeout` are the seconds of a call,
    all its attempts and the waits between them included; the server is told what is left of them.
    `connections` are kept, and at most so many: further calls wait for one. `compress` sends
    bodies from a kilobyte on in gzip, and takes answers in it. ValueError for what makes no sense.

    Calls raise a `ClientError`, whose class says what its caller can do.
    """

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        protocol: str = AUTO,
        token: str = "",
        timeout: float = TIMEOUT,
        retries: Retries = Retries(),  # noqa: B008 - it is frozen
        connections: int = 100,
        compress: bool = False,
        headers: Mapping[str, str] | None = None,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        if protocol not in PROTOCOLS:
            msg = f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}"
            raise ValueError(msg)
        if connections < 1:
            msg = f"connections must be at least 1, not {connections}"
            raise ValueError(msg)
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = Http(
            checked_url(url),
            connections=connections,
            headers=checked_headers(url, {**(headers or {}), **bearer}),
            compress=compress,
            ssl=ssl,
        )
        self._model = model
        self._timeout = _positive(timeout)
        self._attempts = Attempts(self._http, retries)
        self._single = Attempts(self._http, Retries(attempts=1))
        self._known = Known(self._attempts, protocol, self._timeout)

    async def __aenter__(self) -> Self:
        """Nothing is sent yet, and no connection made."""
        await self._http.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all connections; calls that are under way fail."""
        await self._known.close()
        await self._http.close()

    # ------------------------------------------------------------------------------- inference

    async def infer(
        self, inputs: Mapping[str, ArrayLike], **options: Unpack[Options]
    ) -> dict[str, Array]:
        """The outputs for inputs, by name; strings are objects of `bytes`. ClientError.

        Arrays are sent in their own dtype; lists get that of their input, for which the model's
        metadata is read once.
        """
        outputs, _ = await self.infer_with_receipt(inputs, **options)
        return outputs

    async def infer_with_receipt(
        self, inputs: Mapping[str, ArrayLike], **options: Unpack[Options]
    ) -> tuple[dict[str, Array], Receipt]:
        """`infer`, and what the call went through. ClientError."""
        began = asyncio.get_running_loop().time()
        return await self._infer(inputs, options, began)

    async def predict(self, rows: ArrayLike, **options: Unpack[Options]) -> Array:
        """The only output of a signature for its only input. ClientError."""
        began = asyncio.get_running_loop().time()
        about = await self._known.about(self._address(options), began + self._time_of(options))
        signature = about.signature(options.get("signature", ""))
        if len(signature.inputs) != 1 or len(signature.outputs) != 1:
            msg = (
                "predict() is for one input and one output, infer() for more:"
                f" {signature.name!r} takes {names_text(signature.inputs)} and gives"
                f" {names_text(signature.outputs)}"
            )
            raise InvalidRequest(msg)
        ((name,), (output,)) = signature.inputs, signature.outputs
        outputs, _ = await self._infer({name: rows}, options, began)
        if output not in outputs:
            msg = f"the answer has {names_text(outputs)}, not {output!r} as the model's metadata"
            raise BadAnswer(msg)
        return outputs[output]

    async def post(
        self, target: str, body: bytes, content_type: str = JSON, **options: Unpack[Options]
    ) -> tuple[Reply, Receipt]:
        """Send a body as it is to a path of the server; retried like the others. ClientError."""
        began = asyncio.get_running_loop().time()
        request = Request("POST", target, {"Content-Type": content_type}, body)
        answered = await self._send(request, options, began)
        return answered.reply, self._receipt(answered, began)

    # ----------------------------------------------------------------------------- about models

    async def metadata(self, **options: Unpack[Options]) -> ModelMetadata:
        """The signatures of a model, as the server tells them now. ClientError."""
        address = self._address(options)
        self._known.forget(address)
        began = asyncio.get_running_loop().time()
        return await self._known.about(address, began + self._time_of(options))

    async def models(self, **options: Unpack[Options]) -> Sequence[ModelState]:
        """The versions of all models, or of the named one, and their states. ClientError.

        TensorFlow Serving does not list its models: there one must be named.
        """
        deadline = asyncio.get_running_loop().time() + self._time_of(options)
        codec = (await self._known.dialect(deadline)).models
        name = options.get("model", self._model)
        answered = await self._attempts.call(codec.ask_models(name), deadline)
        return codec.models(name, answered.reply)

    async def ready(self, **options: Unpack[Options]) -> bool:
        """Whether the model answers now; or the server, if no model is named. It is asked once.

        ClientError for anything else than a clear yes or no: no token, or no such protocol.
        """
        deadline = asyncio.get_running_loop().time() + self._time_of(options)
        try:
            codec = (await self._known.dialect(deadline)).models
            ask = codec.ask_ready(self._address(options))
            return codec.is_ready((await self._single.call(ask, deadline)).reply)
        except (Unreachable, Refused, NotFound, DeadlineExceeded):
            return False
        except InvalidRequest as error:
            if not error.status:
                raise
            # Triton's word for a model that is not ready yet.
            return False

    # ---------------------------------------------------------------------------------- inside

    async def _infer(
        self, inputs: Mapping[str, ArrayLike], options: Options, began: float
    ) -> tuple[Tensors, Receipt]:
        deadline = began + self._time_of(options)
        address, name = self._address(options), options.get("signature", "")
        dialect = await self._known.dialect(deadline)
        codec = dialect.infer if address.label is None else dialect.label
        signature = None
        if codec.needs_signature or not all_arrays(inputs):
            signature = (await self._known.about(address, deadline)).signature(name)
        request = codec.ask(Ask(address, name, as_arrays(inputs, signature)))
        try:
            answered = await self._send(request, options, began)
            outputs = codec.outputs(answered.reply, signature)
        except (InvalidRequest, NotFound, BadAnswer):
            # The model may have changed since its metadata was read.
            self._known.forget(address)
            raise
        return outputs, self._receipt(answered, began)

    async def _send(self, request: Request, options: Options, began: float) -> Answered:
        wishes = dict(options.get("headers", {}))
        if "priority" in options:
            wishes[PRIORITY] = str(options["priority"])
        if "request_id" in options:
            wishes[ID] = options["request_id"]
        request = request._replace(headers={**request.headers, **wishes})
        return await self._attempts.call(request, began + self._time_of(options))

    def _address(self, options: Options) -> ModelAddress:
        version, label = options.get("version"), options.get("label")
        if version is not None and label is not None:
            msg = f"either a version or a label names one: got {version} and {label!r}"
            raise ValueError(msg)
        return ModelAddress(options.get("model", self._model), version, label)

    def _time_of(self, options: Options) -> float:
        return _positive(options["timeout"]) if "timeout" in options else self._timeout

    def _receipt(self, answered: Answered, began: float) -> Receipt:
        total = asyncio.get_running_loop().time() - began
        return receipt(answered.reply.headers, total, answered.attempts)


def _positive(seconds: float) -> float:
    if not seconds > 0:
        msg = f"a timeout must be a number of seconds above 0, not {seconds}"
        raise ValueError(msg)
    return seconds

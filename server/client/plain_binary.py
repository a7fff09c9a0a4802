"""Plain binary bodies, as this project's server takes them beside TensorFlow Serving's. Pure."""

import io
import zipfile
from typing import ClassVar

import numpy as np

from server.client.codec import Ask
from server.client.errors import BadAnswer, InvalidRequest
from server.client.messages import Reply, Request
from server.client.tensors import from_file
from server.client.tfserving import TfServing, path
from server.protocols.media_types import NPZ
from server.protocols.npy import write_npz
from server.protocols.plain_binary import SIGNATURE_NAME
from server.signature import Signature, Tensors


class PlainBinary(TfServing):
    """The codec: an .npz both ways, with the names of inputs and outputs; else as its base."""

    needs_signature: ClassVar[bool] = False

    def ask(self, ask: Ask) -> Request:
        """A member for each input."""
        for name, array in ask.inputs.items():
            if array.dtype.hasobject:
                msg = f"input {name!r} is string, which has no form in .npz: protocol='oip'"
                raise InvalidRequest(msg)
        headers = {"Content-Type": NPZ, "Accept": NPZ}
        if ask.signature:
            headers[SIGNATURE_NAME] = ask.signature
        return Request("POST", f"{path(ask.address)}:predict", headers, write_npz(ask.inputs))

    def outputs(self, reply: Reply, signature: Signature | None) -> Tensors:
        """The members, by name."""
        try:
            with np.load(io.BytesIO(reply.body), allow_pickle=False) as archive:
                return {name: from_file(archive[name]) for name in archive.files}
        except (ValueError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
            msg = f"the server's answer is no .npz: {error}"
            raise BadAnswer(msg) from None

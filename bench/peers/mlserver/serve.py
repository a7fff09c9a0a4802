"""MLServer: a custom runtime, which `mlserver start FOLDER` finds by the settings written here."""

import json
import os
import pathlib
import sys

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.peers.model import Model
from bench.peers.settings import MAX_BATCH_SIZE, WAIT, folder, port


class Runtime(MLModel):
    """One model, in MLServer's one worker process."""

    async def load(self) -> bool:
        """Load the model, in the worker."""
        self._model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The outputs of a batch, which MLServer has made one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        outputs = [NumpyCodec.encode_output("y", self._model(rows))]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def main() -> None:
    """Write the settings and serve until the end."""
    place = pathlib.Path(folder())
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port(),
        "grpc_port": port() + 1,
        "metrics_port": port() + 2,
        "parallel_workers": 1,
        "metrics_dir": str(place / "metrics"),
        "environments_dir": str(place / "environments"),
    }
    model = {
        "name": "m",
        "implementation": "bench.peers.mlserver.serve.Runtime",
        "max_batch_size": MAX_BATCH_SIZE,
        "max_batch_time": WAIT,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    }
    (place / "settings.json").write_text(json.dumps(server))
    (place / "model-settings.json").write_text(json.dumps(model))
    program = pathlib.Path(sys.executable).with_name("mlserver")
    os.execv(program, [program.name, "start", str(place)])


if __name__ == "__main__":
    main()

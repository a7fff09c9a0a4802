"""FastAPI without batching: a plain function, which FastAPI calls in its pool of threads."""

from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.model import Model
from bench.peers.settings import port


class Row(BaseModel):
    """The body of a request."""

    x: list[Any]


def main() -> None:
    """Serve until the end."""
    model = Model()
    app = FastAPI()

    @app.post("/predict")
    def predict(row: Row) -> dict[str, list[float]]:
        outputs = model(np.asarray(row.x, np.float32)[None])
        return {"y": outputs[0].tolist()}

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port(),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

"""What an operator said in all places, made into one `Config`. Main thread.

    the command line's options      |
    TensorFlow Serving's flags      |
    environment variables           | layers, strongest first -> Config, origins, notes
    a TOML file                     |
    TensorFlow Serving's defaults   |
    built-in defaults               |

Each setting has one name, and everywhere what is given for it is what one would type: the option
`--batch-timeout-ms 2` is `BATCHER_BATCH_TIMEOUT_MS=2` and `batch_timeout_ms = 2`. So there is one
check for each, and every error names the place. What was said of one model is stronger than what
was said of all, wherever it was said.
"""

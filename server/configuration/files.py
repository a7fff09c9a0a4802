"""The text of a file that the operator named. Main thread."""

from pathlib import Path

from server.config import ConfigError


def text_of(file: Path) -> str:
    """The text of a file, without a byte order mark. ConfigError names the file."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"{file}: it cannot be read: {error.strerror or error}"
        raise ConfigError(msg) from None
    except UnicodeDecodeError:
        msg = f"{file}: it is not UTF-8 text"
        raise ConfigError(msg) from None

"""What onekey is measured against: the same files in plaintext, the same bodies unsealed, under the same gunicorn."""

import os
import secrets
from pathlib import Path

from flask import Flask, Response, request, send_file

app = Flask(__name__)
_FOLDER = Path(os.environ["BENCH_FOLDER"])


@app.get("/<name>")
def get(name: str) -> Response:
    """A file of the folder, as Flask sends it."""
    return send_file(_FOLDER / Path(name).name, mimetype="image/png")


@app.post("/")
def post() -> str:
    """Write the body as it comes, a form's framing and all, and flush it to the disk."""
    path = _FOLDER / f"upload-{secrets.token_hex(8)}"
    with path.open("wb") as file:
        while piece := request.stream.read(1 << 20):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    return "ok\n"

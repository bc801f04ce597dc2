"""The process that runs one evaluation command, and answers with the last line that it printed.

It is a child of `effcalc.base.process`: it and the command end with the process that asked.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import Any

from effcalc.base.process import serve

_TAIL = 4096


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run `args` without a shell; answer with `code`, and the last lines of stdout and stderr."""
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if request["pythonpath"] is not None:  # the caller's own, not the one of this process
        environment["PYTHONPATH"] = request["pythonpath"]
    last = b""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                request["args"], stdout=subprocess.PIPE, stderr=errors, env=environment
            )
        except OSError as error:
            return {"error": f"cannot run {request['args'][0]!r}: {error.strerror}"}
        assert process.stdout is not None
        tail = b""
        while data := os.read(process.stdout.fileno(), 1 << 16):
            tail = (tail + data)[-_TAIL:]
        last = _last_line(tail)
        code = process.wait()
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL))
        message = _last_line(errors.read())
    return {
        "code": code,
        "last": last.decode(errors="replace"),
        "message": message.decode(errors="replace"),
    }


def _last_line(data: bytes) -> bytes:
    lines = [line for line in data.replace(b"\r", b"\n").split(b"\n") if line.strip()]
    return lines[-1].strip() if lines else b""


if __name__ == "__main__":
    serve(answer)

"""A child for `test_process.py` that does as it is told, well or badly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from effcalc.base import process
from effcalc.base.errors import InputError


def answer(request):
    if "pid_file" in request:
        Path(request["pid_file"]).write_text(str(os.getpid()))
    while "wait_for" in request and not Path(request["wait_for"]).exists():
        time.sleep(0.01)
    match request["do"]:
        case "meet":
            while not Path(request["other"]).exists():
                time.sleep(0.01)
            return {"value": 2}
        case "echo":
            return {"value": request["value"]}
        case "chat":
            for _ in range(50):
                print('{"value": "not the answer"}' * 4000)  # 5 MB in all, a full pipe and more
            print("the last word", file=sys.stderr)
            return {"value": request["value"]}
        case "refuse":
            raise InputError("no such thing; write another")
        case "raise":
            raise ValueError("two\nlines")
        case "exit":
            print("the reason", flush=True)
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(600)
        case "hog":
            held = []
            for _ in range(400):  # 4 GB at most, a page written in each 4 KiB
                held.append(bytearray(10**7))
                held[-1][::4096] = b"x" * len(held[-1][::4096])
                time.sleep(0.005)
        case "prompt":
            return {"value": sys.stdin.readline()}
        case "spawn":
            child = subprocess.Popen(["sleep", "600"])
            Path(request["pid_file"]).write_text(str(child.pid))
            return {"value": 1}
        case "modules":
            return {"value": sys.path}
    return {}


if __name__ == "__main__":
    process.serve(answer)

import json
import os
import subprocess

import pytest


@pytest.fixture(scope="session")
def web():
    """The outputs of web.yaml: of `malleus with` where it runs us, else of an environment of our own."""
    if "MALLEUS_OUTPUTS" in os.environ:
        with open(os.environ["MALLEUS_OUTPUTS"]) as file:
            yield json.load(file)
        return
    name = f"web-{os.getpid()}"
    up = ["malleus", "up", "web.yaml", "--name", name, "--out", "json"]
    outputs = subprocess.run(up, check=True, stdout=subprocess.PIPE).stdout
    try:
        yield json.loads(outputs)
    finally:
        subprocess.run(["malleus", "down", name], check=True)

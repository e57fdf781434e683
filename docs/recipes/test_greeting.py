import subprocess


def test_greeting(web):
    command = ["malleus", "exec", web["instance"], "--", "cat", "/greeting"]
    greeting = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert greeting == "hello"

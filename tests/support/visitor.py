"""What a person does in the browser, with nothing but the standard library.

  visitor.py URL login PASSWORD...         tries to log in with each: prints "in" or "out"
  visitor.py URL kernel PASSWORD           logs in and starts a kernel: prints its id
  visitor.py URL run PASSWORD CODE         the same and runs CODE in it until that
                                           prints something: prints that
  visitor.py URL terminal PASSWORD LINE    logs in, types LINE into a terminal and waits
                                           until a line of it is "up": prints "up"
  visitor.py URL come PASSWORD FILE        logs in and keeps the cookies in FILE: "in"
  visitor.py URL again FILE                comes back with the cookies: "in" or "out"
  visitor.py URL save PASSWORD PATH        logs in and saves a file: prints its path
  visitor.py URL api                       prints the status of GET /api
"""

import base64
import http.cookiejar
import json
import os
import re
import socket
import ssl
import struct
import sys
import urllib.error
import urllib.parse
import urllib.request

import jupyter_kernel

url, verb, *words = sys.argv[1:]
# In seconds; a machine that is emulated needs more.
PATIENCE = int(os.environ.get("AI_LAB_PATIENCE", 30))
cookies = http.cookiejar.LWPCookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))


def cookie(name):
    return next(c.value for c in cookies if c.name == name)


def ask(path, data=None, headers=None):
    request = urllib.request.Request(url + path, data, headers or {})
    try:
        with browser.open(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def login(password):
    ask("/login")
    form = {"password": password, "_xsrf": cookie("_xsrf")}
    ask("/login", urllib.parse.urlencode(form).encode())
    return known()


def known():
    return ask("/api/status")[0] == 200


def post(path):
    status, body = ask(path, b"{}", {"X-XSRFToken": cookie("_xsrf")})
    assert status in (200, 201), (status, body)
    return json.loads(body)


class WebSocket:
    """RFC 6455, as much of it as Jupyter's text messages need."""

    def __init__(self, path):
        place = urllib.parse.urlsplit(url)
        link = socket.create_connection((place.hostname, place.port), timeout=2 * PATIENCE)
        if place.scheme == "https":
            link = ssl.create_default_context().wrap_socket(link, server_hostname=place.hostname)
        held = "; ".join(f"{c.name}={c.value}" for c in cookies)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {place.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Cookie: {held}",
        ]
        link.sendall("\r\n".join([*lines, "", ""]).encode())
        self.link, self.stream = link, link.makefile("rb")
        status = self.stream.readline()
        assert b" 101 " in status, status
        while self.stream.readline().strip():
            pass

    def send(self, message):
        data = json.dumps(message).encode()
        # Masked with zeros: masking is for proxies, and there is none.
        self.link.sendall(struct.pack("!BBQ4x", 0x81, 0xFF, len(data)) + data)

    def receive(self):
        while True:
            kind, length = self.stream.read(2)
            if length > 125:
                form = "!H" if length == 126 else "!Q"
                (length,) = struct.unpack(form, self.stream.read(struct.calcsize(form)))
            data = self.stream.read(length)
            if kind == 0x81:
                return json.loads(data)
            assert kind in (0x89, 0x8A), (kind, data)


def new_kernel():
    return post("/api/kernels")["id"]


def run(code):
    link = WebSocket(f"/api/kernels/{new_kernel()}/channels")
    link.send(jupyter_kernel.execute(code))
    while True:
        message = link.receive()
        assert message["msg_type"] != "error", message
        if message["msg_type"] == "stream":
            return message["content"]["text"].strip()


def terminal(line):
    link = WebSocket(f"/terminals/websocket/{post('/api/terminals')['name']}")
    link.send(["stdin", line + "\r"])
    said = ""
    # A line of its own, between what colours the prompt and asks for pasted text.
    while not re.search(r"[\r\n]up\r", said):
        kind, *rest = link.receive()
        said += rest[0] if kind == "stdout" else ""
    return "up"


if verb == "api":
    print(ask("/api")[0])
elif verb == "login":
    for password in words:
        cookies.clear()
        print("in" if login(password) else "out")
elif verb == "kernel":
    assert login(words[0])
    print(new_kernel())
elif verb == "run":
    assert login(words[0])
    print(run(words[1]))
elif verb == "terminal":
    assert login(words[0])
    print(terminal(words[1]))
elif verb == "come":
    print("in" if login(words[0]) else "out")
    cookies.save(words[1], ignore_discard=True)
elif verb == "again":
    cookies.load(words[0], ignore_discard=True)
    print("in" if known() else "out")
elif verb == "delete":
    assert login(words[0])
    request = urllib.request.Request(
        f"{url}/api/contents/{words[1]}", headers={"X-XSRFToken": cookie("_xsrf")}, method="DELETE"
    )
    with browser.open(request, timeout=PATIENCE) as answer:
        print(answer.status)
elif verb == "save":
    assert login(words[0])
    model = {"type": "file", "format": "text", "content": "mine"}
    if words[1].endswith(".ipynb"):
        empty = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        model = {"type": "notebook", "content": empty}
    text = json.dumps(model).encode()
    request = urllib.request.Request(
        f"{url}/api/contents/{words[1]}",
        text,
        {"X-XSRFToken": cookie("_xsrf")},
        method="PUT",
    )
    with browser.open(request, timeout=PATIENCE) as answer:
        print(json.loads(answer.read())["path"])

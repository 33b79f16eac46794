"""A person at a hub. Runs with the Python of the hub's venv."""

import json

import jupyter_kernel
import requests
import websocket


class Person:
    """A browser with nothing but cookies: it follows the hub's login and OAuth."""

    def __init__(self, url, name, page="/hub/"):
        """Logs in, and arrives at `page`: the hub's first one starts a server."""
        self.url, self.name = url, name
        self.browser = requests.Session()
        self.ask("GET", "/hub/login")
        form = {"username": name, "password": "", "_xsrf": self.xsrf("/hub/")}
        self.ask("POST", "/hub/login", params={"next": page}, data=form)

    def ask(self, method, path, **options):
        return self.browser.request(method, self.url + path, timeout=120, **options)

    def xsrf(self, path):
        jar = self.browser.cookies
        return next(c.value for c in jar if (c.name, c.path) == ("_xsrf", path))

    def run(self, server, code):
        base = f"/user/{server}/"
        self.ask("GET", base)
        header = {"X-XSRFToken": self.xsrf(base)}
        kernel = self.ask("POST", base + "api/kernels", json={}, headers=header).json()
        return self.execute(base, kernel["id"], code)

    def execute(self, base, kernel, code):
        place = f"{self.url}{base}api/kernels/{kernel}/channels"
        # The cookies that a request to the same place would have.
        request = self.browser.prepare_request(requests.Request("GET", place))
        link = websocket.create_connection(
            place.replace("http", "ws", 1),
            cookie=request.headers["Cookie"],
            timeout=120,
        )
        link.send(json.dumps(jupyter_kernel.execute(code)))
        while True:
            message = json.loads(link.recv())
            assert message["msg_type"] != "error", message
            if message["msg_type"] == "stream":
                return message["content"]["text"].strip()

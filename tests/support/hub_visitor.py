"""What an administrator asks of a hub, and what a person does there in the browser.
Runs with the Python of the hub's venv.

  hub_visitor.py URL TOKEN start SERVER...  as the administrator: asks for the servers, all
                                            at once, and waits; prints for each "ready",
                                            or what the hub says
  hub_visitor.py URL TOKEN stop SERVER...   the same, for their end: prints "stopped"
  hub_visitor.py URL TOKEN servers          prints the names of the servers there are
  hub_visitor.py URL TOKEN page SERVER      logs in and opens the server: prints the path
                                            of the page that comes
  hub_visitor.py URL TOKEN run SERVER CODE  logs in, runs CODE in a new kernel until it
                                            prints something: prints that
  hub_visitor.py URL TOKEN files SERVER     logs in and prints the names of the files
  hub_visitor.py URL TOKEN peek USER SERVER logs in as USER and asks SERVER for its files:
                                            prints the status

SERVER is USER, or USER/NAME for a named one.
"""

import json
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import hub_person
import requests

url, token, verb, *words = sys.argv[1:]


class Administrator:
    def __init__(self, server):
        self.user, _, name = server.partition("/")
        self.server = f"{self.user}/servers/{name}" if name else f"{self.user}/server"

    def ask(self, method, path, **options):
        headers = {"Authorization": f"token {token}"}
        place = f"{url}/hub/api/users/{path}".rstrip("/")
        return requests.request(method, place, headers=headers, timeout=120, **options)

    def start(self):
        self.ask("POST", self.user)
        answer = self.ask("POST", self.server)
        if 400 <= answer.status_code < 500:
            return answer.json()["message"]
        # One event a line, until the server is ready or has failed. The hub goes on
        # trying also after a 500, and after the proxy gave up waiting for more (503).
        for _ in range(10):
            with self.ask("GET", self.server + "/progress", stream=True) as events:
                for line in events.iter_lines() if events.ok else ():
                    event = json.loads(line.removeprefix(b"data: ") or "{}")
                    if event.get("ready"):
                        return "ready"
                    if event.get("failed"):
                        return event["message"]
        return "the hub says nothing more"

    def stop(self):
        answer = self.ask("DELETE", self.server)
        return "stopped" if answer.status_code == 204 else answer.text


def of(server):
    return server.partition("/")[0]


def path(answer):
    return urllib.parse.urlsplit(answer.url).path


def contents(person, server):
    # The first page lets the person in at this server; only then has it files to show.
    person.ask("GET", f"/user/{server}/")
    return person.ask("GET", f"/user/{server}/api/contents")


if verb in ("start", "stop"):
    with ThreadPoolExecutor() as at_once:
        print(*at_once.map(lambda server: getattr(Administrator(server), verb)(), words))
elif verb == "servers":
    users = Administrator("").ask("GET", "").json()
    found = [it["url"] for user in users for it in user["servers"].values()]
    print(*sorted(name.removeprefix("/user/").strip("/") for name in found))
elif verb == "page":
    print(path(hub_person.Person(url, of(words[0])).ask("GET", f"/user/{words[0]}/")))
elif verb == "run":
    print(hub_person.Person(url, of(words[0])).run(*words))
elif verb == "files":
    listed = contents(hub_person.Person(url, of(words[0])), words[0]).json()["content"]
    print(*sorted(entry["name"] for entry in listed))
elif verb == "peek":
    print(contents(hub_person.Person(url, words[0]), words[1]).status_code)

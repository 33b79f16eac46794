#!/usr/bin/env python3
"""A server that behaves like Jupyter's, or as badly as $FAKE says, and tells each step.

As the Python of a rescue it does what $FAKE_RESCUE says, and listens as its configuration file
says. FAKE is a list of words:
  silent     never prints the ready line
  mtls       lets only those in who have a certificate
  unbound    prints the ready line and never listens
  deaf       ignores TERM
  distracted misses the first TERM
  dies       says some last words and exits with 3 before it listens
  leaves     does so with 5
  reluctant  exits with 3 before it listens, the first time
  tardy      is ready only after it got TERM, the first time, and does not end then
  quotes     says what the file quoted in HOME says
  crash      exits with 4 at GET /crash, after a notebook has printed an error
  orphan     leaves a process behind that ignores TERM
  cleaner    leaves a process behind that needs half a second to end after TERM
  kernel     starts a session whose leader ends and leaves two processes behind, one deaf
  zombies    leaves 100 orphans that end at once
  breeds     leaves 100 such orphans at USR1, and then the file bred in HOME
  flood      prints without end as soon as it is ready
  moody      from the first USR1 on answers 503, from the second one on never, and
             after the third one does not listen any more
"""

# It is started a thousand times: what is imported here costs that often. `http.server` alone takes
# as long as everything else together.
import os
import signal
import socketserver
import sys
import threading

RESCUED = "-I" in sys.argv
FAKE = os.environ.get("FAKE_RESCUE" if RESCUED else "FAKE", "").split()
VALUES = dict(arg.removeprefix("--").split("=", 1) for arg in sys.argv[1:] if "=" in arg)
if RESCUED:
    import json

    with open(VALUES["config"]) as file:
        VALUES = {f"ServerApp.{k}": v for k, v in json.load(file)["ServerApp"].items()}
PORT = int(VALUES.get("ServerApp.port", 8888))
BASE = VALUES.get("ServerApp.base_url", "/").strip("/")
BASE = f"/{BASE}/" if BASE else "/"
if HUB := os.environ.get("JUPYTERHUB_SERVICE_URL"):
    from urllib.parse import urlsplit

    HUB = urlsplit(HUB)
    PORT, BASE = HUB.port, HUB.path
moods = []
SCHEME = "https" if VALUES.get("ServerApp.certfile") else "http"


def say(text):
    # Not sys.stderr: a handler may run in the middle of a write, and may not enter it again.
    os.write(2, (text + "\n").encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        # Whoever only connects says nothing.
        _, path, *_ = self.rfile.readline().decode().split() or ("", "")
        while self.rfile.readline().strip():
            pass
        if path == "/crash" and "crash" in FAKE:
            say("OSError: [Errno 28] No space left on device")
            os._exit(4)
        if len(moods) > 1:
            threading.Event().wait()
        status = "200 OK" if path == BASE + "api" else "404 Not Found"
        if moods:
            status = "503 Service Unavailable"
        self.wfile.write(f"HTTP/1.0 {status}\r\n\r\n".encode())


def term(*_):
    if "deaf" in FAKE:
        say("fake: deaf to TERM")
        return
    if "distracted" in FAKE:
        FAKE.remove("distracted")
        say("fake: missed TERM")
        return
    say("fake: got TERM")
    os._exit(0)


def helper(code):
    """Starts a process of its own session, which hand-shakes, and orphans it."""
    import subprocess

    child = "import os,subprocess,sys;subprocess.Popen([sys.executable,'-c',%r],start_new_session=True)"
    subprocess.run([sys.executable, "-c", child % code], check=True)


def leave_orphans():
    for _ in range(100):
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()


def breed(*_):
    leave_orphans()
    open(os.environ["HOME"] + "/bred", "w").close()


# A handler runs as soon as the main thread comes back to Python. What wakes it up must
# not be lost if the signal comes just before it waits, as it would be for pause(2).
woken, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
signal.signal(signal.SIGTERM, term)
for number in (signal.SIGUSR1, signal.SIGRTMIN + 5):
    signal.signal(number, lambda number, _: say(f"fake: got signal {int(number)}"))
if "breeds" in FAKE:
    signal.signal(signal.SIGUSR1, breed)


def sulk(*_):
    moods.append("worse")
    if len(moods) == 3:
        server.shutdown()
        server.server_close()
    say(f"fake: in mood {len(moods)}")


if "moody" in FAKE:
    signal.signal(signal.SIGUSR1, sulk)
say(f"fake: pid {os.getpid()} in {os.getcwd()} as {os.getuid()}")
say(f"fake: arguments {sys.argv[1:]}")
say(f"fake: environment {sorted(os.environ)}")
say(f"fake: stdin {os.readlink('/proc/self/fd/0')}")
# Two streams that end at one terminal do not always come line by line.
if "FAKE_MUTE" not in os.environ:
    print("fake: a line for stdout", flush=True)
if "quotes" in FAKE:
    with open(os.environ["HOME"] + "/quoted") as file:
        say(file.read())
if "dies" in FAKE or "leaves" in FAKE:
    say("fake: my last words")
    os._exit(5 if "leaves" in FAKE else 3)
if "reluctant" in FAKE and not os.path.exists(tried := os.environ["HOME"] + "/tried"):
    open(tried, "w").close()
    os._exit(3)
if "tardy" in FAKE and not os.path.exists(tried := os.environ["HOME"] + "/tried"):
    open(tried, "w").close()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    say("fake: waits for TERM")
    signal.sigwait({signal.SIGTERM})
    say("fake: got TERM too early")
if "orphan" in FAKE:
    helper("import signal,sys,time;signal.signal(15,signal.SIG_IGN);print('fake: orphan lives',file=sys.stderr,flush=True);time.sleep(1000)")
if "cleaner" in FAKE:
    helper(
        "import signal,sys,time\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK,{15})\n"
        "print('fake: cleaner lives',file=sys.stderr,flush=True)\n"
        "signal.sigwait({15})\n"
        "time.sleep(0.5)\n"
        "print('fake: cleaned up',file=sys.stderr,flush=True)"
    )
if "kernel" in FAKE:
    left = (
        "import os,signal,sys,threading\n"
        "deaf=signal.SIG_IGN if sys.argv[1]=='deaf' else None\n"
        "def end(*_):os.write(2,b'fake: the one left behind got TERM\\n');os._exit(0)\n"
        "signal.signal(15,deaf or end)\n"
        "os.write(2,f'fake: left behind, {sys.argv[1]}: {os.getpid()}\\n'.encode())\n"
        "threading.Event().wait()"
    )
    import subprocess

    kernel = "import subprocess,sys\nfor how in 'deaf','kind':subprocess.Popen([sys.executable,'-c',%r,how])"
    subprocess.run([sys.executable, "-c", kernel % left], check=True, start_new_session=True)
if "zombies" in FAKE:
    leave_orphans()
    say("fake: zombies were made")
if "unbound" not in FAKE:
    server = Server(("127.0.0.1", PORT), Handler)
    if certificate := VALUES.get("ServerApp.certfile"):
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, VALUES.get("ServerApp.keyfile"))
        if "mtls" in FAKE:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
if "silent" not in FAKE:
    say("[I 2026-01-01 00:00:00.000 ServerApp] Jupyter Server 2.0.0 is running at:")
    say(f"[I 2026-01-01 00:00:00.000 ServerApp] {SCHEME}://host:{PORT}{BASE}lab")
    say(f"[I 2026-01-01 00:00:00.000 ServerApp]     {SCHEME}://127.0.0.1:{PORT}{BASE}lab")
    say("[I 2026-01-01 00:00:00.000 ServerApp] Use Control-C to stop this server")
if "flood" in FAKE:
    lines = "\n".join(["x" * 1000] * 64)
    while True:
        print(lines, flush=True)
while True:
    os.read(woken, 1)

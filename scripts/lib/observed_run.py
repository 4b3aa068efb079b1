"""A real `agon serve`, a stream for it to read, callers who do right and wrong, and a Prometheus
that scrapes it: what check_observability.py looks at."""

import http.server
import itertools
import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

# In everything that a caller makes up; no label may have it.
MADE_UP = "made-up"
LINE_BYTES_MAX = 4096
STREAM_PAUSE_S = 0.02
EVENTS_A_CONNECTION = 150


class Stream(http.server.BaseHTTPRequestHandler):
    """Server-sent events without end: good, repeated, malformed, canaries, too long. Each
    connection is cut after a while."""

    numbers = itertools.count()
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(b"retry: 200\n\n")
            for number in itertools.islice(self.numbers, EVENTS_A_CONNECTION):
                text = f"id: {number}\ndata: {self.data(number)}\n\n"
                self.wfile.write(text.encode())
                time.sleep(STREAM_PAUSE_S)
        except OSError:
            pass  # The reader has gone.

    @staticmethod
    def data(number):
        if number % 50 == 7:
            # Of its own each time: the same bytes are one dead letter.
            return json.dumps({"title": f"no change {number}"})
        if number % 50 == 17:
            return '{"meta":{"dt":"2026-11-21T10:00:00Z","domain":"canary"}}'
        if number % 50 == 27:
            return "x" * (2 * LINE_BYTES_MAX)
        if number % 10 == 3:
            number -= 1  # The event before, once more.
        return json.dumps({
            "meta": {"dt": "2026-11-21T10:00:00Z", "id": f"{MADE_UP}-{number}"},
            "user": f"{MADE_UP}-{number % 40}", "server_name": f"{MADE_UP}-{number % 5}.example",
            "bot": number % 3 == 0, "type": "edit", "title": f"{MADE_UP} {number}",
        })

    def log_message(self, *_):
        pass


def start_stream():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/stream"


def ask(url, body=None, token=None):
    """Status and text of an answer, whatever it is."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        data, headers["content-type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(url, data=data, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def until(what, seconds, look):
    """What `look` finds once it finds something; ends with what it last said otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        found, said = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds} s: {said}")
        time.sleep(0.25)


class Agon:
    """A server with a demo, a live source and callers."""

    def __init__(self, binary, folder):
        self.said, self.data = Path(folder, "agon.log"), Path(folder, "data")
        command = [binary, "serve", "--demo", "--data", self.data, "--listen", "127.0.0.1:0",
                   "--source", "wikimedia", "--source-url", start_stream(),
                   "--source-line-bytes-max", str(LINE_BYTES_MAX), "--log-format", "json"]
        with open(self.said, "wb") as file:
            self.process = subprocess.Popen(command, stderr=file, stdin=subprocess.DEVNULL)
        self.base = until("agon", 60, self.listening)
        text = Path(self.data, "credentials").read_text("utf-8")
        credentials = dict(line.split(": ", 1) for line in text.splitlines())
        _, answer = ask(f"{self.base}/login", credentials)
        self.token = json.loads(answer)["access_token"]
        self.stopping = threading.Event()
        self.callers = [threading.Thread(target=self.call, args=(turn,), daemon=True)
                        for turn in (self.do_right, self.do_wrong)]
        for caller in self.callers:
            caller.start()

    def listening(self):
        said = self.said.read_text("utf-8")
        found = re.search(r"listens on (\S+)", said)
        return found and "  metrics " in said and found[1], said[-500:]

    def call(self, turn):
        for number in itertools.count():
            if self.stopping.wait(0.1):
                return
            try:
                turn(number)
            except OSError:
                if not self.stopping.is_set():
                    raise

    def do_right(self, number):
        for path in ("/leaderboard?environment=tic-tac-toe", "/stats", "/readyz", "/status"):
            ask(self.base + path, token=self.token)
        if number == 0:
            board = {"id": MADE_UP, "metric": "m", "direction": "higher", "aggregation": "best"}
            ask(f"{self.base}/api/v1/benchmarks", board, self.token)
        score = {"benchmark": MADE_UP, "agent": f"{MADE_UP}-{number % 50}", "metrics": {"m": 1}}
        ask(f"{self.base}/submissions", score, self.token)
        ask(f"{self.base}/leaderboard?benchmark={MADE_UP}")

    def do_wrong(self, number):
        players = [{"agent": f"{MADE_UP}-{n}", "placement": n} for n in (1, 2)]
        game = {"environment": f"{MADE_UP}-{number}", "players": players}
        ask(f"{self.base}/matches", game, self.token)
        ask(f"{self.base}/api/v1/recentchanges", {"title": f"{MADE_UP} {number}"}, self.token)
        ask(f"{self.base}/{MADE_UP}/{number}")
        ask(f"{self.base}/stats")
        # A position that is not reached: 504, after two seconds.
        log = json.loads(ask(f"{self.base}/status")[1])["log"][:8]
        board = f"{self.base}/leaderboard?environment=tic-tac-toe"
        ask(f"{board}&min_position={log}-m0.999999999")

    def stop(self):
        """Ends it as an operator would; answers its exit code."""
        self.stopping.set()
        for caller in self.callers:
            caller.join()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self):
        self.stopping.set()
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Prometheus:
    """A Prometheus that scrapes one address each second and evaluates our rules."""

    def __init__(self, folder, target, rules):
        config = Path(folder, "prometheus.yml")
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "agon", "static_configs": [{"targets": [target]}]}],
        }), "utf-8")
        port = free_port()
        self.base, self.said = f"http://127.0.0.1:{port}", Path(folder, "prometheus.log")
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
                   f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        with open(self.said, "wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        until("prometheus", 60, self.ready)

    def ready(self):
        try:
            status, _ = ask(f"{self.base}/-/ready")
        except OSError as error:
            status = str(error)
        return status == 200, f"{status}: {self.said.read_text('utf-8')[-500:]}"

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        _, text = ask(f"{self.base}/api/v1/{path}?{query}")
        answer = json.loads(text)
        if answer["status"] != "success":
            raise SystemExit(f"{path} {parameters}: {answer['error']}")
        return answer["data"]

    def samples(self, query):
        """Labels and numbers of a query's answer; what is no number is left out."""
        found = self.get("query", query=query)["result"]
        pairs = [(sample["metric"], float(sample["value"][1])) for sample in found]
        return [(labels, value) for labels, value in pairs if value == value]

    def kill(self):
        self.process.kill()
        self.process.wait()

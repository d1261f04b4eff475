"""A server with the flags of a KServe server, and a switch for every way to misbehave.

GET / tells how it was started; GET /fail/<path> makes that path answer 503 from then on; GET /exit/<code> ends it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--http_port", type=int, default=8080)
parser.add_argument("--grpc_port", type=int, default=8081)
parser.add_argument("--model_name", default="")
parser.add_argument("--model_dir", default="")
parser.add_argument("--predictor_host", default="")
parser.add_argument("--delay", type=float, default=0)
parser.add_argument("--ignore_sigterm", action="store_true")
parser.add_argument("--worker", action="store_true")
parser.add_argument("--say", default="")
parser.add_argument("--exit", type=int)
options = parser.parse_args()
failing = set()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        verb, _, rest = self.path.strip("/").partition("/")
        if verb == "fail":
            failing.add("/" + rest)
        if verb == "exit":
            os._exit(int(rest))
        body = json.dumps({"pid": os.getpid(), "options": vars(options), "environment": dict(os.environ)}).encode()
        self.send_response(503 if self.path in failing else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if options.say:
    sys.stdout.write(f"{options.say}\n")
    sys.stdout.flush()
if options.exit is not None:
    sys.exit(options.exit)
if options.ignore_sigterm:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if options.worker:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.stdout.write(f"worker {worker.pid}\n")
    sys.stdout.flush()
time.sleep(options.delay)
ThreadingHTTPServer((os.environ.get("BIND_HOST", "127.0.0.1"), options.http_port), Handler).serve_forever()

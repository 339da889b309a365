"""Asks other services in the background, and tells what they said."""

import asyncio
import concurrent.futures
import logging.config
import os
import queue
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import certifi
import httpx
import requests
import schedule
import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from dotenv import load_dotenv
from flask import Flask, jsonify
from tenacity import retry, stop_after_attempt, wait_none

load_dotenv()
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "structlog.stdlib.ProcessorFormatter", "processor": structlog.processors.JSONRenderer()}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["console"], "level": "ERROR"},
    }
)
app = Flask(__name__)
SEEN: "queue.Queue[str]" = queue.Queue()
TICKS = threading.Event()


class Other(BaseHTTPRequestHandler):
    """Another service; it runs here, so that the worker needs nobody."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f'{{"path": "{self.path}"}}'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments) -> None:
        pass


other = ThreadingHTTPServer(("127.0.0.1", 0), Other)
threading.Thread(target=other.serve_forever, daemon=True).start()
OTHER = f"http://localhost:{other.server_port}"


def loop() -> None:
    schedule.every(0.05).seconds.do(lambda: SEEN.put(requests.get(f"{OTHER}/tick", timeout=10).json()["path"]))
    while True:
        schedule.run_pending()
        time.sleep(0.02)


threading.Thread(target=loop, daemon=True).start()
scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(2)}, timezone="UTC")
scheduler.add_job(TICKS.set, "interval", seconds=0.1)
scheduler.start()


@app.get("/tick")
def tick():
    return jsonify(seen=SEEN.get(timeout=20), scheduled=TICKS.wait(20))


@app.get("/gather")
def gather():
    async def ask(count: int) -> list[str]:
        async with httpx.AsyncClient(base_url=OTHER) as client:
            answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(count)))
        return [answer.json()["path"] for answer in answers]

    with httpx.Client(base_url=OTHER, headers={"Accept-Encoding": "identity"}) as client:
        one = client.get("/sync", params={"a": "ä"}).json()["path"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        many = sorted(pool.map(lambda number: requests.get(f"{OTHER}/{number}", timeout=10).json()["path"], range(3)))
    return jsonify(asynchronous=asyncio.run(ask(3)), one=one, many=many)


@app.get("/authorities")
def authorities():
    context = ssl.create_default_context(cafile=certifi.where())
    default = ssl.create_default_context()
    return jsonify(
        certifi=len(context.get_ca_certs()) > 50,
        default=len(default.get_ca_certs()) > 50,
        exists=os.path.exists(requests.certs.where()),
        http=httpx.create_ssl_context().verify_mode == ssl.CERT_REQUIRED,
    )


@app.get("/refused")
def refused():
    @retry(stop=stop_after_attempt(2), wait=wait_none(), reraise=True)
    def ask() -> str:
        return requests.get("https://localhost:1/", timeout=5).text

    try:
        return ask()
    except requests.ConnectionError as error:
        structlog.get_logger().debug("refused")
        return jsonify(kind=type(error).__name__, attempts=ask.statistics["attempt_number"])

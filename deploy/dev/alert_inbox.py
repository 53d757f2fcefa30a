"""Where alerts arrive in development and in `./dev test`: Slack and a mail server that write down what they are sent.

    POST /slack      0001-slack-octoco-ops.txt     channel, title, text
    POST /watchdog   watchdog.txt                  when the dead man's switch was last heard, and with which token
    SMTP             0002-mail-ops.txt             who logged in, sender, recipient, subject, text

`python3 alert_inbox.py FOLDER HTTP_PORT SMTP_PORT` runs until it is ended. It keeps the newest 200 messages.
"""

import base64
import email
import email.policy
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

KEPT = 200


class Folder:
    """One file a message; a file that is there is whole."""

    def __init__(self, path):
        self.path, self.lock = Path(path), threading.Lock()
        self.path.mkdir(parents=True, exist_ok=True)
        self.count = max((int(file.name[:4]) for file in self.messages()), default=0)

    def messages(self):
        return sorted(self.path.glob("[0-9][0-9][0-9][0-9]-*.txt"))

    def keep(self, kind, whom, text):
        with self.lock:
            self.count = self.count % 9999 + 1
            self.write(f"{self.count:04}-{kind}-{re.sub(r'[^a-z0-9-]', '', whom.lower())}.txt", text)
            for old in sorted(self.messages(), key=lambda file: file.stat().st_mtime)[:-KEPT]:
                old.unlink()

    def write(self, name, text):
        new = self.path / f"{name}.new"
        new.write_text(text)
        new.rename(self.path / name)


class Slack(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/watchdog":
            token = self.headers.get("Authorization", "")
            self.server.folder.write("watchdog.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {token}\n")
        else:
            message = json.loads(body)
            parts = [f"{part.get('title', '')}\n{part.get('text', '')}" for part in message.get("attachments", [])]
            channel = message.get("channel", "")
            self.server.folder.keep("slack", channel, "\n".join([f"to {channel}", *parts]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Mail(StreamRequestHandler):
    """As much of SMTP as Alertmanager speaks."""

    timeout = 30

    def handle(self):
        self.user, self.to = "nobody", []
        self.say("220 alert inbox")
        while line := self.rfile.readline(4096):
            verb, _, rest = line.decode(errors="replace").strip().partition(" ")
            if verb.upper() == "QUIT":
                return self.say("221 bye")
            self.answer(verb.upper(), rest)
        return None

    def answer(self, verb, rest):
        if verb == "EHLO":
            return self.say("250-alert inbox\r\n250 AUTH PLAIN")
        if verb == "AUTH":
            _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
            self.user = f"{user} with {password}"
            return self.say("235 in")
        if verb == "RCPT":
            self.to.append(rest.partition("<")[2].partition(">")[0])
        elif verb == "DATA":
            self.say("354 go on")
            self.take(b"".join(iter(self.rfile.readline, b".\r\n")))
        return self.say("250 ok")

    def take(self, data):
        message = email.message_from_bytes(data, policy=email.policy.default)
        body = message.get_body(("plain",))
        text = f"user {self.user}\nfrom {message['From']}\nto {', '.join(self.to)}\nsubject {message['Subject']}\n\n"
        text += body.get_content() if body else ""
        self.server.folder.keep("mail", self.to[0].partition("@")[0] if self.to else "", text)
        self.to = []

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())


class Mails(ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def main(folder, http_port, smtp_port):
    servers = ThreadingHTTPServer(("127.0.0.1", int(http_port)), Slack), Mails(("127.0.0.1", int(smtp_port)), Mail)
    inbox = Folder(folder)
    for server in servers:
        server.folder = inbox
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""HTTP/1.1 as it is on the wire, over TCP or TLS: requests kept exactly as they came, in order and in their case.

Python's own http.server normalises what it parses. A test of what is sent needs what was sent.
"""

import json
import socket
import socketserver
import ssl
import threading

HEAD_BYTES_MAX = 1 << 20
BODY_BYTES_MAX = 64 << 20


class Malformed(Exception):
    """The request breaks RFC 9112."""


class Request:
    def __init__(self, line, headers, tls, listener):
        self.line = line
        parts = line.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise Malformed(f"not a request line: {line!r}")
        self.method, self.target, self.version = parts
        self.path, _, self.query = self.target.partition("?")
        self.headers = headers
        self.body = b""
        self.chunked = False
        self.trailers = []
        self.tls = tls
        self.listener = listener

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name):
        """The value of a header that may be there once."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{len(values)} headers {name}")
        return values[0] if values else None


class Answer:
    def __init__(self, status, body=b"", headers=(), chunks=None):
        self.status = status
        self.headers = list(headers)
        self.chunks = chunks
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            self.headers.insert(0, ("content-type", "application/json"))
        self.body = body


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    timeout = 60

    def setup(self):
        self.tls = None
        if self.server.tls is not None:
            # Here and not where it is accepted: a peer that says nothing holds up nobody else.
            self.request.settimeout(self.timeout)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            peer = self.request.getpeercert() or {}
            subject = [f"{key}={value}" for rdn in peer.get("subject", ()) for key, value in rdn]
            self.tls = {
                "version": self.request.version(),
                "sni": getattr(self.request, "sni", None),
                "client": ",".join(subject) or None,
            }
        super().setup()

    def handle(self):
        while True:
            try:
                request = self.read()
                if request is None:
                    return
                answer = self.server.answer(request)
            except Malformed as error:
                self.write(Answer(400, {"ok": False, "why": str(error)}), "GET")
                return
            self.write(answer, request.method)
            if (request.one("connection") or "").lower() == "close":
                return

    def read_line(self):
        line = self.rfile.readline(HEAD_BYTES_MAX)
        if line and not line.endswith(b"\r\n"):
            raise Malformed(f"a line that does not end in CRLF: {line[:80]!r}")
        return line[:-2].decode("latin-1")

    def read_headers(self):
        headers = []
        while line := self.read_line():
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Malformed(f"not a header: {line!r}")
            headers.append((name, value.strip(" \t")))
        return headers

    def read(self):
        line = self.read_line()
        if not line:
            return None
        request = Request(line, self.read_headers(), self.tls, self.server.name)
        length, coding = request.one("content-length"), request.one("transfer-encoding")
        if length is not None and coding is not None:
            raise Malformed("both Content-Length and Transfer-Encoding")
        if (request.one("expect") or "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if length is not None:
            if not length.isascii() or not length.isdigit() or int(length) > BODY_BYTES_MAX:
                raise Malformed(f"not a length: {length!r}")
            request.body = self.read_exactly(int(length))
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Malformed(f"not a transfer coding: {coding!r}")
            request.chunked = True
            request.body = self.read_chunks()
            request.trailers = self.read_headers()
        return request

    def read_exactly(self, length):
        body = self.rfile.read(length)
        if len(body) != length:
            raise Malformed(f"{len(body)} bytes of {length}")
        return body

    def read_chunks(self):
        body = b""
        while size := int(self.read_line().partition(";")[0], 16):
            body += self.read_exactly(size)
            if self.read_line():
                raise Malformed("a chunk without its end")
        return body

    def write(self, answer, method):
        head = [f"HTTP/1.1 {answer.status} Status"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        if answer.chunks is not None:
            head.append("transfer-encoding: chunked")
        elif answer.status != 204:
            head.append(f"content-length: {len(answer.body)}")
        text = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        if method == "HEAD" or answer.chunks is None:
            self.wfile.write(text if method == "HEAD" else text + answer.body)
            return
        self.wfile.write(text)
        for chunk in answer.chunks:
            if chunk:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, name, settings, answer):
        super().__init__(("127.0.0.1", 0), Connection)
        self.name, self.answer, self.tls = name, answer, None
        if "cert" in settings:
            self.tls = tls_context(settings)

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self.server_address[1]

    def handle_error(self, request, client_address):
        # Peers that break off or are refused in the handshake are what many tests are about.
        pass


def tls_context(settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["cert"], settings["key"])
    if "client_ca" in settings:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(settings["client_ca"])
    if "version_max" in settings:
        context.maximum_version = ssl.TLSVersion[settings["version_max"]]

    def remember(tls_socket, name, _context):
        tls_socket.sni = name

    context.sni_callback = remember
    return context

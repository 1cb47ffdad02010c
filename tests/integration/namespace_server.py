"""HTTP servers of a test in the namespace of an instance, which reaches nothing else."""
import ctypes
import http.server
import queue
import threading


class Server(http.server.ThreadingHTTPServer):
    """An HTTP server in the namespace: setns(2) moves the calling thread alone, and its listener with it."""
    daemon_threads = True

    @classmethod
    def begin(cls, instance, handler):
        ready = queue.Queue()

        def serve():
            with open(f"/run/netns/{instance.netns}") as namespace:
                assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) == 0
            server = cls(("0.0.0.0", 0), handler)  # of the namespace, which has a loopback alone
            server.seen = []
            ready.put(server)
            server.serve_forever(poll_interval=0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        server = ready.get(timeout=10)
        server.thread, server.host = thread, f"127.0.0.1:{server.server_port}"
        return server

    def end(self):
        self.shutdown()
        self.thread.join(10)
        self.server_close()


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for key, value in (("Content-Length", str(len(body))), *headers):
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

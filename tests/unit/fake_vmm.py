#!/usr/bin/env python3
"""A VMM for the tests of vmm/client: serves Firecracker's API like micro_http does, runs nothing.

Each request goes to <api-sock>.said as "METHOD path body"; what --id begins with chooses the behaviour:
  silent   never opens its socket        dies     says why on standard error and ends
  refuse   answers 400 to PUT /boot-source
"""
import argparse
import json
import os
import socket
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--api-sock", required=True)
parser.add_argument("--id", required=True)
parser.add_argument("--tap")
parser.add_argument("--log-path")
args = parser.parse_args()


def answer(method, path, state):
    """(status, body bytes or None)"""
    if path == "/boot-source" and args.id.startswith("refuse"):
        return 400, json.dumps({"fault_message": "Boot source error: The kernel file cannot be opened"}).encode()
    if path == "/actions":
        state["state"] = "Running"
    if method == "GET" and path == "/":
        return 200, json.dumps({"id": args.id, "state": state["state"], "app_name": "Firecracker"}).encode()
    return 204, None


def serve(connection, said, state):
    stream = connection.makefile("rb")
    while True:
        line = stream.readline().decode().split()
        if not line:
            return
        length = 0
        while (header := stream.readline().decode().strip()):
            name, _, value = header.partition(":")
            assert name.lower() != "transfer-encoding", "Firecracker does not decode chunks"
            if name.lower() == "content-length":
                length = int(value)
        body = stream.read(length).decode()
        said.write(" ".join([line[0], line[1], body]).rstrip() + "\n")
        said.flush()
        status, reply = answer(line[0], line[1], state)
        # micro_http: an interim answer may come first, the reason is empty
        head = "HTTP/1.1 100 \r\n\r\n" if length > 1000 else ""
        head += f"HTTP/1.1 {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
        if reply is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(reply)}\r\n"
        connection.sendall(head.encode() + b"\r\n" + (reply or b""))


def main():
    print("to standard output", flush=True)
    if args.id.startswith("dies"):
        print("first line\nno memory for this guest", file=sys.stderr)
        sys.exit(1)
    if args.id.startswith("silent"):
        time.sleep(60)
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(os.path.dirname(args.api_sock))  # longer paths than sun_path holds
    listener.bind(os.path.basename(args.api_sock))
    listener.listen(8)
    state = {"state": "Not started"}
    with open(os.path.basename(args.api_sock) + ".said", "w") as said:
        if args.tap:
            name, _, number = args.tap.partition("=")
            said.write(f"tap {name} {os.readlink('/proc/self/fd/' + number)}\n")
            said.flush()
        while True:
            connection, _ = listener.accept()
            serve(connection, said, state)


main()

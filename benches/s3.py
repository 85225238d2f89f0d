"""How fast archives go to a bucket and come back: pgcellar's store beside `aws s3 cp` and rclone, on one server."""

import filecmp
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from measure import ENVIRONMENT, measure, tool
from report import megabytes, seconds, table, version

SIZE = 1 << 30
BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "BENCHKEY", "AWS_SECRET_ACCESS_KEY": "bench-secret-0123456789", "AWS_REGION": "us-east-1"}
START_LIMIT = 60


class Server:
    """A SeaweedFS of our own; it ends when it is left."""

    def __init__(self, folder):
        self.folder = folder / "seaweedfs"
        self.weed = tool("weed")
        self.ports = free_ports(8)
        self.child = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.ports[6]}"

    def __enter__(self):
        self.folder.mkdir()
        identity = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
        identity = {"name": "bench", "credentials": [identity], "actions": ["Admin", "Read", "List", "Write", "Tagging"]}
        (self.folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
        ports = [f"-{name}={port}" for name, port in zip([*names, "s3.port", "s3.port.grpc"], self.ports)]
        options = [f"-dir={self.folder}", f"-s3.config={self.folder / 'identities.json'}", "-filer", "-s3", *ports]
        options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=100"]
        options += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-filer.localSocket={self.folder}/filer.sock"]
        # Should the bench be killed, the kernel ends the server.
        command = ["setpriv", "--pdeathsig", "KILL", self.weed, "server", *options]
        with open(self.folder / "log", "wb") as log:
            self.child = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, cwd=self.folder)
        self.wait_until_ready()
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def wait_until_ready(self):
        """Until it takes requests; a bucket it can make a moment later."""
        for _ in range(START_LIMIT * 10):
            try:
                urllib.request.urlopen(f"{self.url}/healthz")
                time.sleep(3)
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        sys.exit(f"bench: SeaweedFS does not start\n{(self.folder / 'log').read_text()[-2000:]}")


def free_ports(count):
    """Different ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Way:
    """One program that copies."""

    name: str
    up: list  # FILE and KEY take the place of these words
    down: list
    environment: dict
    runs: dict = field(default_factory=lambda: {"up": [], "down": []})

    def run(self, direction, file, key):
        """Once, measured."""
        # What the run before wrote goes to the disk in its time, not in this one's.
        os.sync()
        words = {"FILE": str(file), "KEY": key}
        command = [str(words.get(word, word)).replace("BUCKET/KEY", f"{BUCKET}/{key}") for word in getattr(self, direction)]
        measured = measure(command, **self.environment)
        self.runs[direction].append(measured)
        print(f"bench: {self.name} {direction}: {measured.summary()}", file=sys.stderr)

    def wall(self, direction):
        """Median of the runs, in seconds."""
        return median(run.wall for run in self.runs[direction])

    def row(self):
        """Of the table."""
        largest = max(run.largest()[1] for runs in self.runs.values() for run in runs)
        cpu = [median(run.cpu for run in self.runs[direction]) for direction in ("up", "down")]
        return [self.name, *(seconds(self.wall(way)) for way in ("up", "down")), *map(seconds, cpu), megabytes(largest)]


def ways(bench, server):
    """The three that are compared, each as it comes."""
    copy = bench.pgcellar.parent / "examples/s3_copy"
    ours = KEYS | {"AWS_S3_BUCKET": BUCKET, "AWS_S3_PREFIX": "", "AWS_ENDPOINT_URL": server.url}
    aws = [tool("aws"), "--endpoint-url", server.url, "s3"]
    rclone = ["rclone", "--config", "/dev/null"]
    remote = ":s3:BUCKET/KEY"
    rclone_keys = {
        "RCLONE_S3_PROVIDER": "SeaweedFS",
        "RCLONE_S3_ENDPOINT": server.url,
        "RCLONE_S3_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"],
        "RCLONE_S3_SECRET_ACCESS_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
        "RCLONE_S3_FORCE_PATH_STYLE": "true",
    }
    plain = KEYS | {"AWS_DEFAULT_REGION": KEYS["AWS_REGION"]}
    return [
        Way("pgcellar", [copy, "up", "FILE", "KEY"], [copy, "down", "KEY", "FILE"], ours),
        Way("`aws s3 cp`", [*aws, "cp", "FILE", "s3://BUCKET/KEY"], [*aws, "cp", "s3://BUCKET/KEY", "FILE"], plain),
        Way("rclone", [*rclone, "copyto", "FILE", remote], [*rclone, "copyto", remote, "FILE"], rclone_keys),
    ]


def run(bench):
    """The table of doc/figures.md."""
    source = bench.folder / "archive"
    with open(source, "wb") as out:
        for _ in range(SIZE >> 20):
            out.write(os.urandom(1 << 20))
    with Server(bench.folder) as server:
        all_ways = ways(bench, server)
        make_bucket(all_ways[1], server)
        for number in range(bench.rounds):
            print(f"bench: round {number + 1} of {bench.rounds}", file=sys.stderr)
            # Each is first in a round of its own: nobody always has the server fresh, or what the one before has left.
            turn = number % len(all_ways)
            for place, way in enumerate(all_ways[turn:] + all_ways[:turn]):
                # Bytes that were written just now are in the memory of the machine: all read their own.
                key, target = f"{place}-{number}", bench.folder / "target"
                way.run("up", source, key)
                way.run("down", target, key)
                if not filecmp.cmp(source, target, shallow=False):
                    sys.exit(f"bench: {way.name} brought other bytes back")
                target.unlink()
        report(bench, all_ways)


def make_bucket(way, server):
    """Makes the bucket with awscli, which every round uses."""
    command = [tool("aws"), "--endpoint-url", server.url, "s3", "mb", f"s3://{BUCKET}"]
    subprocess.run(command, env=ENVIRONMENT | way.environment, check=True, stdout=subprocess.DEVNULL)


def report(bench, all_ways):
    """Prints the table."""
    head = ["program", "upload", "download", "CPU up", "CPU down", "largest process"]
    print(table(head, [way.row() for way in all_ways]))
    print()
    print(
        f"1 GiB of random bytes, medians of {bench.rounds} runs, interleaved, to and from SeaweedFS on the same machine; each "
        f"program as it comes. {version([tool('aws'), '--version'])}, {version(['rclone', '--version'])}."
    )

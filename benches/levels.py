"""What each level of gzip costs and gains."""

from backup import Ways, compare
from postgres import Cluster


def run(bench):
    """The levels around the default."""
    with Cluster(bench.folder) as cluster:
        ways = Ways(bench, cluster)
        levels = [
            ways.pgcellar(f"`BACKUP_COMPRESSION_LEVEL={level}`", "gzip -dc", f"--compression-level={level}")
            for level in range(4, 8)
        ]
        compare(bench, cluster, [ways.scripts(), ways.floor(), *levels])

"""What many photos cost: photos a second in one process and on a local Ray cluster, seconds to start it, bytes.

    python -m benchmarks.many_photos --photos DIR --out benchmarks/results/many_photos.json

The shipped model `light` and the shipped detector look at all photos of a folder and write a Parquet file. The variants
take turns within each round, and medians over rounds count. A cluster is started anew each time; what that takes,
loading the model in a worker included, is measured on a single photo. The process that began the run writes the journal
and makes the output of it: how many photos a second it can write is measured without looking at any, as it bounds how
many workers are of use.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.data_loading import Row, machine, rows_of, seconds, take_turns
from knuckle.predict import load
from knuckle.predict.files import Task, keep_found, look, predict_files
from knuckle.predict.journal import Entry
from knuckle.predict.on_ray import Cluster, predict_files_on_ray
from knuckle.predict.sinks import Output
from knuckle.predict.sources import find_images


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes of the cluster")
    parser.add_argument("--runs", type=int, default=3, help="rounds; the median counts")
    options = parser.parse_args()
    images = find_images([options.photos])
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(images, options.workers, options.runs, Path(folder))
    result = {
        "command": f"python -m benchmarks.many_photos --photos DIR --out OUT --workers {options.workers}",
        "machine": machine(),
        "photos": len(images),
        "rows": [asdict(row) for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(f"{row.name:52} {row.median:10.4g} {row.unit}\n")


def measure(images: Sequence[Path], workers: Sequence[int], runs: int, folder: Path) -> list[Row]:
    """All rows."""
    output = Output.of(folder / "hands.parquet")
    load_one = partial(load, "light", threads=1)
    alone, entries = load_one(), list(look(load_one(), Task(None), images, output.root))

    def written(rest: Sequence[Path], _: Path) -> Iterator[Entry]:
        assert len(rest) == len(entries)
        yield from entries

    whole: dict[str, Callable[[], object]] = {
        "one process, one thread": lambda: predict_files(alone, images, None, output=output),
        "writing alone": lambda: keep_found(written, images, output=output),
    }
    starts: dict[str, Callable[[], object]] = {}
    start_of: dict[str, str] = {}
    for count in workers:
        spread = partial(predict_files_on_ray, load_one, boxes=None, cluster=Cluster(workers=count), output=output)
        name, start = f"Ray, {count} workers, cluster and models ready", f"Ray, {count} workers, to start"
        whole[name], starts[start], start_of[name] = partial(spread, images), partial(spread, images[:1]), start
    took = take_turns({name: partial(seconds, run) for name, run in (starts | whole).items()}, runs)
    for name in whole:
        begun = took[start_of[name]] if name in start_of else [0.0] * runs
        took[name] = [len(images) / (all_of_it - first) for all_of_it, first in zip(took[name], begun, strict=True)]
    rows = rows_of({name: took[name] for name in whole}, "photos/s", {})
    rows += rows_of({name: took[name] for name in starts}, "s", {})
    size = output.path.stat().st_size / len(images)
    return [*rows, Row("Parquet", "bytes/photo", size, [size])]


if __name__ == "__main__":
    main()

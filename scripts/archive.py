"""Pack whole run folders (reports, all figures, columnar records, weights) into the archive of a release.

    python scripts/archive.py DIR --out ncbench-records-0.2.0.tar.gz     DIR holds NAME/ for every experiment
    python scripts/archive.py DIR --out FILE --checkpoints               only what measuring the trained networks needs
    python scripts/archive.py --check ARCHIVE                            compare an archive with its manifest

docs/results keeps only light records; what they were made of is in the archive, whose SHA-256, size and content stand
in docs/results/MANIFEST.json, with the records whose runs are not in it. With --checkpoints it is a small one, of each
run's configuration, run.json, verdicts and last weights: `python -m ncbench.measure` and `load_run` read its folders;
its manifest is docs/results/CHECKPOINTS.json. The same folders give the same archive, byte for byte.
"""

import argparse
import gzip
import hashlib
import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
SKIPPED = (".lock", "previous.ckpt")  # of one machine and one moment
# What a trained network is measured from, with the verdicts on it.
OF_CHECKPOINTS = ("run.json", "config.yaml", "claims.json", "checkpoints/last.ckpt", "checkpoints/checksums.json")


def main() -> int:
    """Write the archive and its manifest, or compare the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR", nargs="?")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the archive to write, ending in .tar.gz")
    parser.add_argument("--checkpoints", action="store_true", help="a small archive of weights and configurations")
    parser.add_argument("--check", type=Path, metavar="ARCHIVE")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="default: the archive's own in docs/results")
    arguments = parser.parse_args()
    listed: Path = arguments.manifest or RESULTS / ("CHECKPOINTS.json" if arguments.checkpoints else "MANIFEST.json")
    if (arguments.check is None) == (arguments.directory is None):
        parser.error("either DIR with --out, or --check ARCHIVE")
    try:
        if arguments.check is not None:
            return check(arguments.check, listed)
        if arguments.out is None or not arguments.out.name.endswith(".tar.gz"):
            parser.error(f"--out={arguments.out}: needs a file name that ends in .tar.gz")
        manifest = pack(arguments.directory, arguments.out, OF_CHECKPOINTS if arguments.checkpoints else None)
        if not arguments.checkpoints:
            manifest["records_without_runs"] = records_without_runs(manifest)
    except (ValueError, OSError) as error:
        print(f"archive: {error}", file=sys.stderr)
        return 2
    write_manifest(manifest, listed)
    print(f"{arguments.out}: {manifest['bytes'] / 1e6:.1f} MB, SHA-256 {manifest['sha256']}; {listed}")
    return 0


def pack(directory: Path, archive: Path, only: Sequence[str] | None = None) -> dict[str, Any]:
    """Writes the archive of all finished runs below `directory`; returns its manifest.

    `only` names the files of each run folder that are packed (default: all). Raises ValueError where there is no run,
    or one that is not done.
    """
    infos = {path.parent: json.loads(path.read_text()) for path in sorted(directory.rglob("run.json"))}
    if not infos:
        raise ValueError(f"{directory}: holds no run; a run is a folder with run.json in it")
    for run, info in infos.items():
        if info.get("status") != "done":
            raise ValueError(f"{run}: its status is {info.get('status')}; only finished runs are packed")
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name not in SKIPPED]
    if only is not None:
        wanted = {folder / name for run in infos for name in only for folder in (run, run.parent)}
        files = [path for path in files if path in wanted]
    # Neither the time of packing nor the owner of a file may reach the archive.
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in files:
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as content:
                tar.addfile(entry, content)
    runs = {
        run.relative_to(directory).as_posix(): {"name": info["name"], "config_hash": info["config_hash"]}
        for run, info in infos.items()
    }
    size = archive.stat().st_size
    return {"archive": archive.name, "sha256": digest(archive), "bytes": size, "files": len(files), "runs": runs}


def records_without_runs(manifest: dict[str, Any], results: Path = RESULTS) -> list[str]:
    """The records of docs/results whose run folders are not in the archive: made elsewhere, or before it."""
    packed = {run["config_hash"] for run in manifest["runs"].values()}
    names = []
    for claims in sorted(results.rglob("claims.json")):
        hashes = {json.loads(path.read_text())["config_hash"] for path in claims.parent.rglob("run.json")}
        if not hashes <= packed:
            names.append(claims.parent.relative_to(results).as_posix())
    return names


def write_manifest(manifest: dict[str, Any], path: Path = RESULTS / "MANIFEST.json") -> None:
    """Write it in its one form."""
    path.write_text(json.dumps(manifest, indent=1) + "\n")


def check(archive: Path, manifest: Path) -> int:
    """0 where the archive is the manifest's; 1, with a line, where it is another."""
    expected = json.loads(manifest.read_text())["sha256"]
    computed = digest(archive)
    same = computed == expected
    print(
        f"{archive}: {'is the archive of the manifest' if same else f'SHA-256 {computed}, the manifest has {expected}'}"
    )
    return 0 if same else 1


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

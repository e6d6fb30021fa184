"""One way each of damaging a file of a run folder: functions of the folder, made of the file's name in it."""

import json
import shutil

LAST, PREVIOUS, SUMS = (f"checkpoints/{name}" for name in ("last.ckpt", "previous.ckpt", "checksums.json"))
OVERWRITTEN, BINARY = b"\0" * 200, b"\xff\xfe\0"
DEEP = "[" * 200_000  # deeper than Python's own stack


def bit(name, at=0.5):
    def damage(run):
        content = bytearray((run / name).read_bytes())
        content[int(at * len(content))] ^= 1
        (run / name).write_bytes(content)

    return damage


def short(name):
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-20])


def holds(name, content):
    def damage(run):
        (run / name).unlink(missing_ok=True)
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def gone(name):
    def damage(run):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def folder(name):
    def damage(run):
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return damage


def both(*damages):
    return lambda run: [damage(run) for damage in damages]


def without(key):
    def damage(run):
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({name: value for name, value in info.items() if name != key}))

    return damage

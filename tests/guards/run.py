#!/usr/bin/env python3
"""Shows that the tests of the promises need their guards: takes each guard of guards.json away, and wants its tests red.

The working tree is copied into `guards/tree` of cargo's target folder and built once, into `guards/build`. In the copy
every guard can be removed by an environment variable: GUARD_IS_REMOVED in a replacement becomes the question whether it
names that guard. So each one is removed alone, and the same build shows that the tests pass with all of them in place.
A guard that a test looks for in the source (`by_source`) is edited in the copy for the time of that test.

With arguments, only guards of these ids. Nothing outside of `guards` is changed.
"""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATIENCE = 300  # seconds, for a test with every guard in place
PATIENCE_REMOVED = 45  # a test that hangs without its guard is red too; or four times what it took with it


def fail(message):
    sys.exit(f"openact: {message}")


def spots(guards):
    """Where each edit goes: file -> [(from, to, replacement)], and the same for the guards that are seen in the source."""
    built, by_source = {}, {}
    for guard in guards:
        into = by_source.setdefault(guard["name"], {}) if guard.get("by_source") else built
        condition = f'std::env::var_os("GUARD_IS_REMOVED").is_some_and(|name| name == "{guard["name"]}")'
        for edit in guard["edits"]:
            text = (ROOT / edit["file"]).read_text()
            if text.count(edit["find"]) != 1:
                fail(f'{guard["name"]}: {edit["find"]!r} is {text.count(edit["find"])} times in {edit["file"]}')
            at = text.index(edit["find"])
            new = edit["replace"].replace("GUARD_IS_REMOVED", condition)
            into.setdefault(edit["file"], []).append((at, at + len(edit["find"]), new))
    return built, by_source


def edited(file, edits):
    text = (ROOT / file).read_text()
    edits = sorted(edits, reverse=True)
    for later, earlier in zip(edits, edits[1:]):
        if earlier[1] > later[0]:
            fail(f"two guards are at one place of {file}: {text[earlier[0]:later[1]]!r}")
    for start, end, new in edits:
        text = text[:start] + new + text[end:]
    return text.encode()


def copy(tree, edits):
    """Makes `tree` the working tree with the edits. What is the same is left alone, so that cargo does not build it again."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True)
    wanted = {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()}
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        if str(path.relative_to(tree)) not in wanted:
            path.unlink()
    for name in wanted:
        source, target = ROOT / name, tree / name
        content = edited(name, edits[name]) if name in edits else source.read_bytes()
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(source.stat().st_mode)


def build(tree, folder):
    """The test programs: crate -> (program, folder it is run in)."""
    command = ["cargo", "test", "--locked", "--no-run", "--workspace", "--lib", "--test", "it", "--test", "contract",
               "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=tree, env={**os.environ, "CARGO_TARGET_DIR": str(folder)}, stdout=subprocess.PIPE)
    if done.returncode:
        fail("the copy does not build: the reason is above")
    programs = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            programs[message["target"]["name"]] = (message["executable"], pathlib.Path(message["manifest_path"]).parent)
    return programs


def run(programs, test, removed, patience):
    """`passed`, `failed`, `hangs` or what else went wrong; and how long it took."""
    crate, name = test.split()
    program, folder = programs[crate]
    env = {**os.environ, "RUST_BACKTRACE": "0", "GUARD_IS_REMOVED": removed}
    started = time.monotonic()
    test = subprocess.Popen([program, "--exact", name], cwd=folder, env=env, start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = test.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        # As an interrupt at a terminal: a command that the test had started ends as well.
        os.killpg(test.pid, signal.SIGINT)
        test.kill()
        test.communicate()
        return "hangs", patience, b""
    took = time.monotonic() - started
    if b"running 1 test\n" not in output:
        return "is not there", took, output
    return "passed" if test.returncode == 0 else "failed", took, output


def main():
    guards = json.loads((HERE / "guards.json").read_text())
    for guard in guards:
        same = [other for other in guards if other["id"] == guard["id"]]
        guard["name"] = guard["id"] if len(same) == 1 else f'{guard["id"]}.{same.index(guard) + 1}'
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    tree, own = folder / "guards" / "tree", folder / "guards" / "build"
    for path in (tree, own):
        path.mkdir(parents=True, exist_ok=True)
    # Cargo marks a folder only when it makes it; the tests find their servers beside the mark.
    (own / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    if not (own / "test-servers").exists():
        (own / "test-servers").symlink_to(folder / "test-servers")

    built, by_source = spots(guards)
    copy(tree, built)
    programs = build(tree, own)
    chosen = [guard for guard in guards if not sys.argv[1:] or guard["id"] in sys.argv[1:]]
    problems = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        tests = sorted({test for guard in chosen for test in guard["tests"]})
        whole = dict(zip(tests, pool.map(lambda test: run(programs, test, "", PATIENCE), tests)))
        for test, (outcome, _, output) in whole.items():
            if outcome != "passed":
                problems.append(f"{test} {outcome} with every guard in place\n{output.decode(errors='replace')}")

        def without(pair):
            guard, test = pair
            return run(programs, test, guard["name"], max(PATIENCE_REMOVED, 4 * whole[test][1]))

        pairs = [(guard, test) for guard in chosen if not guard.get("by_source") for test in guard["tests"]]
        outcomes = list(zip(pairs, pool.map(without, pairs)))
    for guard in chosen:
        if guard.get("by_source"):
            kept = {}
            for file, edits in by_source[guard["name"]].items():
                path = tree / file
                kept[path] = (path.read_bytes(), path.stat())
                path.write_bytes(edited(file, edits))
            for test in guard["tests"]:
                outcomes.append(((guard, test), run(programs, test, "", PATIENCE)))
            for path, (content, stat) in kept.items():
                path.write_bytes(content)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    for (guard, test), (outcome, took, _) in outcomes:
        is_red = outcome in ("failed", "hangs")
        print(f'{"red  " if is_red else "GREEN"} {guard["name"]:8} {outcome:6} {took:5.1f} s  {test}  without: {guard["guard"]}')
        if not is_red:
            problems.append(f'{guard["name"]}: without its guard ({guard["guard"]}) {test} {outcome}')
    for problem in problems:
        print(f"openact: {problem}", file=sys.stderr)
    print(f"{len(chosen)} guards, {len(outcomes)} tests, {len(problems)} problems")
    sys.exit(bool(problems))


main()

"""Runs a server for as long as standard input stays open, then ends it and all it started, and removes its folder.

    keep.py FOLDER COMMAND [ARGUMENT]...

The test process holds the other end of standard input. However that process ends, the system closes it, so that no
server outlives the tests. If it wrote `stop` or `kill` before, the folder stays, for the server to be started there
again; `kill` does not ask first. KEEP_SIGNAL=INT is another signal to ask with than TERM. Ends with the server's own exit code if the server ends first; its folder stays until then.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading

folder, command = sys.argv[1], sys.argv[2:]
# An interrupt at the terminal is for the test process; its end is seen here.
signal.signal(signal.SIGINT, signal.SIG_IGN)
server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def end_the_group():
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def end_with_the_tests():
    word = b""
    while part := os.read(0, 4096):
        word += part
    if word != b"kill":
        # Asked first: Squid removes its shared memory then.
        server.send_signal(signal.Signals["SIG" + os.environ.get("KEEP_SIGNAL", "TERM")])
        try:
            server.wait(timeout=20 if word == b"stop" else 3)
        except subprocess.TimeoutExpired:
            pass
    end_the_group()
    server.wait()
    if not word:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


threading.Thread(target=end_with_the_tests, daemon=True).start()
code = server.wait()
# What it left of itself would hold its port. Its log is still wanted by the test process.
end_the_group()
print(f"the server ended with {code}", flush=True)
threading.Event().wait()
